"""Usage aggregates: credits and uses per day, feature and member.

The day is the team's own: the one that its zone shows at the moment of the work.
"""

from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

from projections.activity import EPOCH, MICROSECOND, microseconds
from projections.balance import Entry, Kind
from schemas.cycles import load_zone

QUARTER = 15 * 60 * 1_000_000  # microseconds

SAVE = """
    INSERT INTO usage_v0 (shard, team_id, day, feature, member_id, credits, uses)
    SELECT shard, team_id, day, feature, member_id, credits, uses
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
        AS u (shard, team_id, day, feature, member_id, credits, uses)
    ON CONFLICT (shard, team_id, day, feature, member_id) DO UPDATE
    SET credits = usage_v0.credits + excluded.credits, uses = usage_v0.uses + excluded.uses
"""


class Cell(NamedTuple):
    """What usage is added up by."""

    shard: int
    team_id: str
    day: date
    feature: str
    member_id: str


Cells = dict[Cell, tuple[int, int]]  # credits and uses


def add(cells: Cells, shard: int, team_id: str, zone: str, entry: Entry, happened_at: datetime) -> None:
    """Count a usage or its void; `happened_at` is when the work was done, also for a void of it."""
    day = _day(zone, microseconds(happened_at) // QUARTER)
    cell = Cell(shard, team_id, day, entry.feature or "", entry.member_id or "")
    credits, uses = cells.get(cell, (0, 0))
    cells[cell] = credits - entry.included - entry.additional, uses + (1 if entry.kind is Kind.USAGE else -1)


def columns(cells: Cells) -> list[list[object]]:
    """The arguments of `SAVE`, in the order of the primary key: two writers never wait for each other in a circle."""
    return [list(column) for column in zip(*((*cell, *sums) for cell, sums in sorted(cells.items())), strict=True)]


@lru_cache(maxsize=100_000)
def _day(zone: str, quarter: int) -> date:
    """The day of a quarter of an hour: every zone's day begins at one, so it is the largest step with one answer."""
    return (EPOCH + quarter * QUARTER * MICROSECOND).astimezone(load_zone(zone)).date()
