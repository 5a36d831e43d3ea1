"""Where money stands, and the moves between.

Each takes cents from one account to another, so nothing is ever left over.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class BookAccount(StrEnum):
    """A place where cents stand. The first two are what we have, the next three what we owe, the others the result."""

    STRIPE = "stripe"
    HELD = "held"  # by banks, in open disputes
    TAX = "tax"
    DEFERRED = "deferred"  # the value of paid credits that are unspent
    FROZEN = "frozen"  # the value of credits that open disputes have taken
    RECOGNISED = "recognised"
    REVERSED = "reversed"
    BREAKAGE = "breakage"
    ADJUSTED = "adjusted"
    LOSSES = "losses"


class Cause(StrEnum):
    """Why money moves: one for each kind of fact that may move some."""

    RECEIVED = "received"
    USED = "used"
    TAKEN_BACK = "taken back"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    DISPUTE_CLOSED = "dispute closed"
    ADJUSTED = "adjusted"
    OTHER = "other"


class Move(NamedTuple):
    """So many cents are added to `debit` and taken from `credit`; fewer than none is the other way round.

    `feature` is what recognised money was earned with; None for a debt that was paid.
    """

    debit: BookAccount
    credit: BookAccount
    cents: int
    feature: str | None = None


class Booking(NamedTuple):
    """What one fact moves, in one currency.

    Attributes:
        recorded_at: when the fact was stored; it decides about the month.
        worked_at: when the work was done, for usage and for what was taken back of it.
        payment: the payment intent, where the fact is about one.
    """

    team_id: str
    shard: int
    position: int
    recorded_at: datetime
    currency: str
    cause: Cause
    moves: tuple[Move, ...]
    worked_at: datetime | None = None
    payment: str | None = None
