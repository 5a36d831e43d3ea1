"""Deferred money by the age of its lot and the time since the team's last use. Breakage itself is never estimated."""

from datetime import datetime, timedelta
from typing import NamedTuple

from projections.books.fold import TeamBooks
from projections.books.payments import share

DAY = timedelta(days=1)
BUCKETS = (
    (30, "under 30 days"), (90, "30 to 90 days"), (180, "90 to 180 days"), (365, "180 to 365 days"), (730, "1 to 2 years"),
    (1_095, "2 to 3 years"),
)  # fmt: skip
OLDEST, NEVER_USED = "3 years or more", "never"


class AgeingRow(NamedTuple):
    """What is deferred for one lot: how old its payment is, and how long ago the team used something."""

    team_id: str
    lot: int
    currency: str
    paid_at: datetime
    last_used_at: datetime | None
    age: str
    unused: str
    cents: int


def age(books: TeamBooks, at: datetime) -> list[AgeingRow]:
    """A row for each paid lot of a team with unspent credits. They are valued anew, from what is left of them."""
    last, rows = books.last_used_at, []
    unused = NEVER_USED if last is None else bucket(at - last)
    for number, valued_lot in books.valued_lots.items():
        lot, payment = valued_lot.lot, valued_lot.payment
        cents = 0 if lot.ended else share(valued_lot.net, lot.remaining, lot.gained)
        if cents:
            row = AgeingRow(
                books.team.team_id, number, payment.currency, payment.paid_at, last, bucket(at - payment.paid_at),
                unused, cents,
            )  # fmt: skip
            rows.append(row)
    return rows


def bucket(age: timedelta) -> str:
    """The name of an age, its lower end included."""
    return next((name for days, name in BUCKETS if age < days * DAY), OLDEST)
