"""What each fact moves. The credits are those of the one fold; this says what its paid lots are worth.

A payment has `net = gross − tax` and brings so many credits. While x of them are unspent they are worth
`D(x) = round_half_up(net × x ÷ granted)`, which is deferred. A fact that takes them from a to b moves D(a) − D(b): the
parts always add up, and nothing is left when the last credit goes. Where to, is a matter of the fact: docs/revenue.md.

No clock, no randomness, no input or output. The state belongs to the caller and is changed in place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from projections.balance.fold import evolve
from projections.balance.state import BalanceEntry, Lot, LotPayment, TeamBalance
from projections.books.accounts import BookAccount, Booking, Cause, Move
from projections.books.payments import BookedPayment, share
from projections.reversals import Disputed
from schemas.facts import (
    AnyFact,
    AnyReversalFact,
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    HoldCaptured,
    ReversalFact,
    Stored,
    UsageRecorded,
    UsageVoided,
)

CAUSES: dict[type[AnyFact], Cause] = {
    CreditsPurchased: Cause.RECEIVED, CreditsToppedUp: Cause.RECEIVED, UsageRecorded: Cause.USED,
    HoldCaptured: Cause.USED, UsageVoided: Cause.TAKEN_BACK, ChargeRefunded: Cause.REFUNDED,
    ChargeDisputed: Cause.DISPUTED, DisputeClosed: Cause.DISPUTE_CLOSED, CreditsAdjusted: Cause.ADJUSTED,
}  # fmt: skip


@dataclass(slots=True)
class ValuedLot:
    """A lot that somebody paid for: by a payment, or by one that came back after a dispute or a refund that failed.

    `net` is what it was worth as it came, `value` what its unspent credits are worth now, both in cents.
    """

    lot: Lot
    payment: BookedPayment
    net: int
    value: int
    ended: bool = False


@dataclass(slots=True)
class TeamBooks:
    """A team's credits and what they are worth. `lots` has every lot there ever was."""

    team: TeamBalance
    lots: dict[int, Lot] = field(default_factory=dict)
    valued_lots: dict[int, ValuedLot] = field(default_factory=dict)
    payments: dict[int, BookedPayment] = field(default_factory=dict)  # by the lot that each brought
    last_used_at: datetime | None = None


def book(
    books: TeamBooks, stored: Stored, fact: AnyFact, paid: tuple[LotPayment, ...] = ()
) -> tuple[Sequence[BalanceEntry], list[Booking]]:
    """Take a team's books one fact further: what it did to the balance, and what money it moved.

    For `UsageVoided`, `paid` says which lots paid the usage. Raises KeyError where a reversal is about no payment.
    """
    team = books.team
    team.changed.clear()
    entries = evolve(team, stored, fact, paid, books.lots)
    books.lots.update(team.changed)
    moves: dict[str, list[Move]] = {}
    payment = None
    match fact:
        case CreditsPurchased() | CreditsToppedUp():
            payment = _receive(books, stored, fact)
            moves[payment.currency] = [
                Move(BookAccount.STRIPE, BookAccount.TAX, payment.tax), Move(BookAccount.STRIPE, BookAccount.DEFERRED, payment.net),
            ]  # fmt: skip
        case ReversalFact():
            payment = books.payments[fact.lot]
            moves[payment.currency] = _reverse(books, stored, fact, payment)
        case UsageRecorded() | HoldCaptured():
            books.last_used_at = max(books.last_used_at or stored.occurred_at, stored.occurred_at)
        case _:
            pass  # no money comes or goes; what its credits are worth may change
    for number in team.changed:
        if (valued_lot := books.valued_lots.get(number)) is not None:
            moves.setdefault(valued_lot.payment.currency, []).extend(_revalue(valued_lot, fact))
    if isinstance(fact, DisputeClosed) and payment is not None:
        moves[payment.currency] += payment.release(fact.dispute_id)
    return entries, [
        Booking(
            stored.team_id, stored.shard, stored.position, stored.recorded_at, currency, CAUSES.get(type(fact), Cause.OTHER), moved, _worked_at(stored, fact),
            payment.payment_intent_id if payment is not None else None,
        )
        for currency, some in moves.items() if (moved := tuple(move for move in some if move.cents))
    ]  # fmt: skip


def _receive(books: TeamBooks, stored: Stored, fact: CreditsPurchased | CreditsToppedUp) -> BookedPayment:
    lot = books.lots[stored.position]
    payment = BookedPayment(
        fact.payment_intent_id, fact.currency, fact.paid_at or stored.occurred_at, fact.charge_cents,
        fact.tax_cents or 0, fact.credits,
    )  # fmt: skip
    books.payments[lot.lot] = payment
    books.valued_lots[lot.lot] = ValuedLot(lot, payment, payment.net, payment.net)
    return payment


def _reverse(books: TeamBooks, stored: Stored, fact: AnyReversalFact, payment: BookedPayment) -> list[Move]:
    """What moves at Stripe, and what the credits carry that come back. What was taken of them is revalued later."""
    match fact:
        case ChargeRefunded():
            moves = payment.refund(fact.refunded_cents)
            value = payment.take_back(fact.clawed_credits, fact.reinstated_credits or 0)
            moves.append(Move(BookAccount.REVERSED, BookAccount.DEFERRED, value))
        case ChargeDisputed():
            moves = payment.dispute(fact.dispute_id, Disputed(fact.disputed_cents, "open"))
            value = payment.take_back(fact.frozen_credits, fact.reinstated_credits or 0)
            moves += payment.thaw(fact.dispute_id, value)
        case DisputeClosed():
            before = payment.disputes.get(fact.dispute_id, Disputed(0, "open"))
            cents = before.cents if fact.disputed_cents is None else fact.disputed_cents
            moves = payment.dispute(fact.dispute_id, Disputed(cents, fact.outcome))
            value = payment.take_back(0, fact.reinstated_credits)
            moves += payment.thaw(fact.dispute_id, value)
    if value:
        lot = books.lots[stored.position]
        books.valued_lots[lot.lot] = ValuedLot(lot, payment, value, value)
    return moves


def _revalue(valued_lot: ValuedLot, fact: AnyFact) -> list[Move]:
    """What a lot's unspent credits are worth now, and where the difference goes."""
    lot, moves = valued_lot.lot, []
    if lot.ended and not valued_lot.ended:
        valued_lot.ended = True
        moves.append(Move(BookAccount.DEFERRED, BookAccount.BREAKAGE, valued_lot.value))
    spent = valued_lot.value - share(valued_lot.net, lot.remaining, lot.gained)
    if not spent:
        return moves
    valued_lot.value -= spent
    target, feature = _target(valued_lot, fact)
    if isinstance(fact, ChargeDisputed) and target is BookAccount.FROZEN:
        valued_lot.payment.freeze(fact.dispute_id, spent)
    moves.append(Move(BookAccount.BREAKAGE if lot.ended else BookAccount.DEFERRED, target, spent, feature))
    return moves


def _target(valued_lot: ValuedLot, fact: AnyFact) -> tuple[BookAccount, str | None]:
    """Where the value of spent credits goes, and the feature that earned it."""
    match fact:
        case ChargeRefunded() if valued_lot.lot.lot in (fact.lot, *(fact.reinstated_lots or ())):
            return BookAccount.REVERSED, None
        case ChargeDisputed() if valued_lot.lot.lot in (fact.lot, *(fact.reinstated_lots or ())):
            return BookAccount.FROZEN, None
        case CreditsAdjusted():
            return BookAccount.ADJUSTED, None
        case UsageRecorded() | UsageVoided() | HoldCaptured():
            return BookAccount.RECOGNISED, fact.feature
        case _:
            return BookAccount.RECOGNISED, None  # a debt is paid, which is usage of before


def _worked_at(stored: Stored, fact: AnyFact) -> datetime | None:
    match fact:
        case UsageRecorded() | HoldCaptured():
            return stored.occurred_at
        case UsageVoided():
            return fact.usage_occurred_at
        case _:
            return None
