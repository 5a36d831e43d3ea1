"""Money that came or went at Stripe, payment by payment: what the books of a month are tied out with."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from projections.books.accounts import BookAccount, Booking, Cause


class CashKind(StrEnum):
    """What kind of movement: money that was charged, went back, or was disputed; what fails or is won comes back."""

    CHARGED = "charged"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


# What of the log moves money at Stripe, and the reporting categories that say the same there.
CAUSES = {
    Cause.RECEIVED: CashKind.CHARGED, Cause.REFUNDED: CashKind.REFUNDED, Cause.DISPUTED: CashKind.DISPUTED,
    Cause.DISPUTE_CLOSED: CashKind.DISPUTED,
}  # fmt: skip
CATEGORIES = {
    "charge": CashKind.CHARGED, "charge_failure": CashKind.CHARGED, "refund": CashKind.REFUNDED,
    "refund_failure": CashKind.REFUNDED, "dispute": CashKind.DISPUTED, "dispute_reversal": CashKind.DISPUTED,
}  # fmt: skip


class CashKey(NamedTuple):
    """One kind of movement of one payment, in one currency."""

    payment: str
    kind: CashKind
    currency: str


class CashMove(NamedTuple):
    """So many minor units came at this instant; fewer than none went. The log also says whose they are."""

    key: CashKey
    cents: int
    at: datetime
    team_id: str | None = None


class Boundary(NamedTuple):
    """A month's beginning or end that one side of a movement lies before and the other behind.

    `cents` is by how much Stripe was ahead of the log there; fewer than none, how much the log was ahead.
    """

    at: datetime
    cents: int
    at_stripe: datetime | None
    in_log: datetime | None


def cash_of(booking: Booking) -> CashMove | None:
    """What a booking moved at Stripe; None for one that moved nothing there."""
    kind, stripe = CAUSES.get(booking.cause), BookAccount.STRIPE
    if kind is None or booking.payment is None:
        return None
    cents = sum(((move.debit is stripe) - (move.credit is stripe)) * move.cents for move in booking.moves)
    key = CashKey(booking.payment, kind, booking.currency)
    return CashMove(key, cents, booking.recorded_at, booking.team_id) if cents else None


def sums(moves: Iterable[CashMove]) -> Counter[CashKey]:
    """What each kind of movement of each payment came to."""
    cents: Counter[CashKey] = Counter()
    for move in moves:
        cents[move.key] += move.cents
    return cents


def differing(at_stripe: Counter[CashKey], in_log: Counter[CashKey]) -> list[CashKey]:
    """Where the two sides do not say the same, sorted."""
    return sorted(key for key in at_stripe.keys() | in_log.keys() if at_stripe[key] != in_log[key])


def crossing(at: datetime, at_stripe: Sequence[CashMove], in_log: Sequence[CashMove]) -> Boundary | None:
    """What one side had before an instant and the other only after it; None where both had the same.

    Both have all movements of one key, in their order.
    """
    cents = sum(move.cents for move in at_stripe if move.at < at) - sum(move.cents for move in in_log if move.at < at)
    if not cents:
        return None
    if any(move.at >= at for move in in_log):
        return Boundary(at, cents, _last(at_stripe, at), _first(in_log, at))
    return Boundary(at, cents, _first(at_stripe, at), _last(in_log, at))


def _last(moves: Sequence[CashMove], before: datetime) -> datetime | None:
    return max((move.at for move in moves if move.at < before), default=None)


def _first(moves: Sequence[CashMove], since: datetime) -> datetime | None:
    return min((move.at for move in moves if move.at >= since), default=None)
