"""Usage aggregates: credits and uses per day, feature and member.

The day is the team's own: the one that its zone shows at the moment of the work.
"""

from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

from projections.balance import Entry, Kind
from schemas.cycles import load_zone

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
    cell = Cell(shard, team_id, _day(zone, happened_at), entry.feature or "", entry.member_id or "")
    credits, uses = cells.get(cell, (0, 0))
    cells[cell] = credits - entry.credits, uses + (1 if entry.kind is Kind.USAGE else -1)


def columns(cells: Cells) -> list[list[object]]:
    """The arguments of `SAVE`."""
    return [list(column) for column in zip(*((*cell, *sums) for cell, sums in sorted(cells.items())), strict=True)]


def _day(zone: str, at: datetime) -> date:
    return _day_of_quarter(zone, at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0))


@lru_cache(maxsize=100_000)
def _day_of_quarter(zone: str, at: datetime) -> date:
    """Every zone's day begins at a quarter of an hour UTC, so a quarter is the largest step with one answer."""
    return at.astimezone(load_zone(zone)).date()
