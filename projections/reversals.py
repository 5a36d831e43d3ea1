"""Money that went back to who paid it, and what that means for the credits: one account for each payment.

Stripe's figures are cumulative and its news come in any order, more than once, or days late. So nothing is ever worked
out from a piece of news: what Stripe says of the payment *now* is compared with what the log says, and `fact_due` gives
what lies between the two, fact by fact. Told the same twice, there is none.

- Away is what was refunded, and what a bank holds or has kept in disputes, together at most the whole charge.
- `clawed = granted × away ÷ charged`, rounded down to a micro-credit, on the cumulative figures: part after part adds
  up to the same as all at once, and a charge that went back whole takes exactly what it brought, never more.
- A dispute that is opened freezes; won, it gives back; lost, the credits are gone for good. An inquiry only asks and
  takes nothing.
- The policy for credits that are spent already, also where they paid a debt: other credits that never end pay them, the
  oldest first. Only the rest is debt. Included credits and those that end are not touched. They are never absorbed in
  silence; the balance may be negative, and the activity says why. See `projections.balance.debt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from schemas.credits import MicroCredits
from schemas.facts import (
    AnyFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    Stored,
)

Course = Literal["open", "won", "lost"]


class Disputed(NamedTuple):
    """What a bank wants back of a charge, and how that stands. No inquiries."""

    cents: int
    course: Course
    reason: str = ""

    @property
    def away_cents(self) -> int:
        """What we do not have because of it."""
        return 0 if self.course == "won" else self.cents


class PaymentAtStripe(NamedTuple):
    """What Stripe says of a payment now: everything refunded so far, and every dispute by its id."""

    refunded_cents: int = 0
    disputes: Mapping[str, Disputed] = {}


@dataclass(frozen=True, slots=True)
class Account:
    """A payment, what it brought, and what the log says went back.

    Amounts are minor units, credits are micro-credits.
    """

    payment_intent_id: str
    lot: int
    granted: MicroCredits
    charge_cents: int
    currency: str
    refunded_cents: int = 0
    disputes: Mapping[str, Disputed] = field(default_factory=dict)
    clawed: MicroCredits = 0
    reinstated_lots: tuple[int, ...] = ()
    reversals: int = 0  # facts about what went back: also the number of the last one

    @property
    def away_cents(self) -> int:
        """What of the charge is not ours any more, or not now."""
        disputed = sum(dispute.away_cents for dispute in self.disputes.values())
        return min(self.charge_cents, self.refunded_cents + disputed)

    @property
    def owed(self) -> MicroCredits:
        """What must have been taken back of the credits, in all."""
        return self.granted * self.away_cents // self.charge_cents if self.charge_cents else 0


def open_account(stored: Stored, fact: CreditsPurchased | CreditsToppedUp) -> Account:
    """The account of a payment that was answered by credits."""
    return Account(fact.payment_intent_id, stored.position, fact.credits, fact.charge_cents, fact.currency)


def evolve(account: Account, stored: Stored, fact: AnyFact) -> Account:
    """Take an account one fact about what went back further."""
    match fact:
        case ChargeRefunded():
            account = replace(account, refunded_cents=fact.refunded_cents)
            clawed, back = fact.clawed_credits, fact.reinstated_credits or 0
        case ChargeDisputed():
            account = _with(account, fact.dispute_id, Disputed(fact.disputed_cents, "open"))
            clawed, back = fact.frozen_credits, fact.reinstated_credits or 0
        case DisputeClosed():
            dispute = account.disputes.get(fact.dispute_id, Disputed(0, "open"))
            cents = dispute.cents if fact.disputed_cents is None else fact.disputed_cents
            account = _with(account, fact.dispute_id, Disputed(cents, fact.outcome))
            clawed, back = 0, fact.reinstated_credits
        case _:
            return account
    lots = (*account.reinstated_lots, stored.position) if back else account.reinstated_lots
    return replace(
        account, clawed=account.clawed + clawed - back, reinstated_lots=lots, reversals=account.reversals + 1
    )


def fact_due(account: Account, at_stripe: PaymentAtStripe) -> ChargeRefunded | ChargeDisputed | DisputeClosed | None:
    """The next thing that the log has yet to say; None when it says what Stripe says.

    Fold the fact, stored, into the account before asking again: it may have made a lot that the next one takes from.
    """
    if at_stripe.refunded_cents != account.refunded_cents:
        return _refunded(account, at_stripe.refunded_cents)
    for dispute_id, dispute in sorted(at_stripe.disputes.items()):
        stored = account.disputes.get(dispute_id)
        away_cents = stored.away_cents if stored is not None else 0
        if dispute.course != "won" and dispute.cents != away_cents:
            return _disputed(account, dispute_id, dispute)
        if dispute.course != "open" and (stored is None or stored.course != dispute.course):
            return _closed(account, dispute_id, dispute, dispute.course)
    return None


def _refunded(account: Account, refunded_cents: int) -> ChargeRefunded:
    clawed, back = _change(account, replace(account, refunded_cents=refunded_cents))
    return ChargeRefunded(
        payment_intent_id=account.payment_intent_id, lot=account.lot, refunded_cents=refunded_cents,
        currency=account.currency, clawed_credits=clawed, charge_cents=account.charge_cents,
        reinstated_credits=back or None, reinstated_lots=account.reinstated_lots or None,
    )  # fmt: skip


def _disputed(account: Account, dispute_id: str, dispute: Disputed) -> ChargeDisputed:
    frozen, back = _change(account, _with(account, dispute_id, dispute._replace(course="open")))
    return ChargeDisputed(
        payment_intent_id=account.payment_intent_id, dispute_id=dispute_id, lot=account.lot,
        disputed_cents=dispute.cents, currency=account.currency, frozen_credits=frozen,
        charge_cents=account.charge_cents, reason=dispute.reason[:500] or None, reinstated_credits=back or None,
        reinstated_lots=account.reinstated_lots or None,
    )  # fmt: skip


def _closed(account: Account, dispute_id: str, dispute: Disputed, outcome: Literal["won", "lost"]) -> DisputeClosed:
    _, back = _change(account, _with(account, dispute_id, dispute))
    return DisputeClosed(
        payment_intent_id=account.payment_intent_id, dispute_id=dispute_id, lot=account.lot, outcome=outcome,
        reinstated_credits=back, disputed_cents=dispute.cents, currency=account.currency,
        charge_cents=account.charge_cents,
    )  # fmt: skip


def _change(before: Account, after: Account) -> tuple[int, int]:
    """What a step takes of the credits, and what it gives back; one of them is 0."""
    change = after.owed - before.clawed
    return max(0, change), max(0, -change)


def _with(account: Account, dispute_id: str, dispute: Disputed) -> Account:
    return replace(account, disputes={**account.disputes, dispute_id: dispute})
