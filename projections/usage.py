"""Usage aggregates: credits and uses per day, member and feature.

The day is the team's own: the one that its zone shows at the moment of the work. A row holds what one member used on one day,
with all features in it: a batch of facts touches few such rows, and would touch nearly as many rows by feature as it has facts.
The view `usage` shows each feature by itself.
"""

from collections.abc import Collection, Iterator
from datetime import date, datetime
from typing import NamedTuple

import msgspec

from projections.balance.state import Entry, Kind
from projections.copying import EPOCH, MICROSECOND, microseconds
from schemas.cycles import load_zone

QUARTER = 15 * 60 * 1_000_000  # microseconds

VIEW = """
    SELECT u.shard, u.team_id, u.day, f.key AS feature, u.member_id,
           (f.value ->> 0)::bigint AS credits, (f.value ->> 1)::bigint AS uses
    FROM usage_v0 u CROSS JOIN LATERAL jsonb_each(u.features) f
"""

LOAD = """
    SELECT u.shard, u.team_id, u.day, u.member_id, u.features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[]) AS wanted (shard, team_id, day, member_id)
    JOIN usage_v0 u USING (shard, team_id, day, member_id)
"""

SAVE = """
    INSERT INTO usage_v0 (shard, team_id, day, member_id, features)
    SELECT shard, team_id, day, member_id, features
    FROM unnest($1::smallint[], $2::text[], $3::date[], $4::text[], $5::jsonb[])
        AS u (shard, team_id, day, member_id, features)
    ON CONFLICT (shard, team_id, day, member_id) DO UPDATE SET features = excluded.features
"""

MemberDay = tuple[int, str, date, str]  # shard, team, day, member: empty where the work was nobody's in particular
Used = tuple[int, int]  # credits and uses of one feature
NOTHING = (0, 0)


class Row(NamedTuple):
    """What the view `usage` shows, and in this order."""

    shard: int
    team_id: str
    day: date
    feature: str
    member_id: str
    credits: int
    uses: int


Cells = dict[MemberDay, dict[str, Used]]


def add(cells: Cells, shard: int, team_id: str, zone: str, entry: Entry, happened_at: datetime) -> None:
    """Count a usage or its void; `happened_at` is when the work was done, also for a void of it."""
    member_day = (shard, team_id, day_of(zone, happened_at), entry.member_id or "")
    features = cells.get(member_day)
    if features is None:
        features = cells[member_day] = {}
    feature = entry.feature or ""
    credits, uses = features.get(feature, NOTHING)
    features[feature] = (credits - entry.included - entry.additional, uses + (1 if entry.kind is Kind.USAGE else -1))


def rows(cells: Cells) -> Iterator[Row]:
    """Each feature by itself."""
    for (shard, team_id, day, member_id), features in cells.items():
        for feature, used in features.items():
            yield Row(shard, team_id, day, feature, member_id, *used)


def merge(cells: Cells, more: Cells) -> None:
    """Add `more` to what `cells` say about the same members and days."""
    for member_day, fresh in more.items():
        features = cells.setdefault(member_day, {})
        for feature, (credits, uses) in fresh.items():
            credits_before, uses_before = features.get(feature, NOTHING)
            features[feature] = (credits_before + credits, uses_before + uses)


def keys(member_days: Collection[MemberDay]) -> list[list[object]]:
    """The arguments of `LOAD`."""
    return [list(column) for column in zip(*member_days, strict=True)]


def columns(cells: Cells, member_days: Collection[MemberDay]) -> list[list[object]]:
    """The arguments of `SAVE`, in the order of the primary key: two writers never wait for each other in a circle."""
    ordered = sorted(member_days)
    return [*keys(ordered), [encode(cells[member_day]).decode() for member_day in ordered]]


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(dict[str, Used]).decode

_quarters: dict[str, tuple[datetime, datetime, date]] = {}  # the one last asked about, of each zone


def day_of(zone: str, instant: datetime) -> date:
    """The day that a zone shows. Every zone's days begin at a quarter of an hour, the largest step with one answer."""
    begins_at, ends_at, day = _quarters.get(zone, (EPOCH, EPOCH, date.min))
    if not begins_at <= instant < ends_at:
        quarter = microseconds(instant) // QUARTER
        begins_at, ends_at = (EPOCH + number * QUARTER * MICROSECOND for number in (quarter, quarter + 1))
        day = begins_at.astimezone(load_zone(zone)).date()
        _quarters[zone] = begins_at, ends_at, day
    return day
