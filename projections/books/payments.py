"""What a payment brought, what of it went back, and what its unspent credits are worth."""

from dataclasses import dataclass, field
from datetime import datetime

from projections.books.accounts import BookAccount, Move
from projections.reversals import Disputed
from schemas.credits import MicroCredits

ASSET = {"open": BookAccount.HELD, "lost": BookAccount.LOSSES}  # where disputed money stands; won, it is at Stripe


def share(net: int, credits: MicroCredits, granted: MicroCredits) -> int:
    """What some of the granted credits are worth, in cents, rounded half up: the D(x) of docs/revenue.md."""
    return (2 * net * credits + granted) // (2 * granted) if granted else 0


@dataclass(slots=True)
class BookedPayment:
    """A payment, in cents of its currency, and what of it went back. `clawed` is what was taken of its credits."""

    payment_intent_id: str
    currency: str
    paid_at: datetime
    gross: int
    tax: int
    granted: MicroCredits
    clawed: MicroCredits = 0
    refunded: int = 0
    disputes: dict[str, Disputed] = field(default_factory=dict)
    frozen: dict[str, int] = field(default_factory=dict)

    @property
    def net(self) -> int:
        """What is ours of it."""
        return self.gross - self.tax

    @property
    def refunded_tax(self) -> int:
        """The tax in what was refunded, in proportion: all of it when everything was."""
        return share(self.tax, self.refunded, self.gross)

    @property
    def cash(self) -> int:
        """What is left of it at Stripe."""
        return self.gross - self.refunded - sum(dispute.away_cents for dispute in self.disputes.values())

    @property
    def held(self) -> int:
        """What banks hold of it."""
        return sum(dispute.cents for dispute in self.disputes.values() if dispute.course == "open")

    def take_back(self, clawed: MicroCredits, reinstated: MicroCredits) -> int:
        """Count what a reversal takes or gives back of the credits; the value of what it gives back.

        On the cumulative figures, so that part after part adds up to the whole.
        """
        before = self.clawed + clawed
        self.clawed = before - reinstated
        return share(self.net, before, self.granted) - share(self.net, self.clawed, self.granted)

    def refund(self, refunded: int) -> list[Move]:
        """Stripe has refunded so much in all; a refund that failed lowers it."""
        cents, tax = -self.refunded, -self.refunded_tax
        self.refunded = refunded
        cents, tax = cents + self.refunded, tax + self.refunded_tax
        return [
            Move(BookAccount.TAX, BookAccount.STRIPE, tax),
            Move(BookAccount.REVERSED, BookAccount.STRIPE, cents - tax),
        ]

    def dispute(self, dispute_id: str, after: Disputed) -> list[Move]:
        """A dispute stands like this now: the money goes to the bank, stays there for good, or comes back."""
        before = self.disputes.get(dispute_id, Disputed(0, "won"))
        self.disputes[dispute_id] = after
        moves = []
        if before.away_cents:
            moves.append(Move(ASSET.get(after.course, BookAccount.STRIPE), ASSET[before.course], before.away_cents))
        if after.away_cents:
            moves.append(Move(ASSET[after.course], BookAccount.STRIPE, after.away_cents - before.away_cents))
        return moves

    def freeze(self, dispute_id: str, value: int) -> None:
        """Unspent credits of this value were taken, until the dispute ends."""
        self.frozen[dispute_id] = self.frozen.get(dispute_id, 0) + value

    def thaw(self, dispute_id: str, value: int) -> list[Move]:
        """Credits of this value are given back: from what was frozen, the rest from revenue, which stayed."""
        frozen = self.frozen.get(dispute_id, 0)
        thawed = min(frozen, value)
        self.frozen[dispute_id] = frozen - thawed
        return [
            Move(BookAccount.FROZEN, BookAccount.DEFERRED, thawed),
            Move(BookAccount.RECOGNISED, BookAccount.DEFERRED, value - thawed),
        ]

    def release(self, dispute_id: str) -> list[Move]:
        """A closed dispute freezes nothing: what is left went to whatever keeps the credits now.

        Lost, it lowers the loss. Won, the credits are away all the same: through another dispute, or by a refund.
        """
        rest = self.frozen.pop(dispute_id, 0)
        courses = {other: dispute.course for other, dispute in self.disputes.items() if other != dispute_id}
        if self.disputes[dispute_id].course == "lost":
            return [Move(BookAccount.FROZEN, BookAccount.LOSSES, rest)]
        if still_open := next((other for other, course in courses.items() if course == "open"), None):
            self.freeze(still_open, rest)
            return []
        return [
            Move(BookAccount.FROZEN, BookAccount.LOSSES if "lost" in courses.values() else BookAccount.REVERSED, rest)
        ]
