"""Usage aggregates: credits and uses per day, member and feature.

The day is the team's own: the one that its zone shows at the moment of the work. A row holds what one member used on
one day, with all features in it: a batch of facts touches few such rows, and would touch nearly as many rows by feature
as it has facts. The view `usage` shows each feature by itself.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from projections.balance.state import ActivityKind, BalanceEntry
from schemas.credits import MicroCredits
from schemas.cycles import load_zone

QUARTER = timedelta(minutes=15)
MIDNIGHT = datetime(2000, 1, 1, tzinfo=UTC)  # any: quarters are counted from it

VIEW = """
    SELECT u.shard, u.team_id, u.day, f.key COLLATE "C" AS feature, u.member_id,
           (f.value ->> 0)::bigint AS credits, (f.value ->> 1)::bigint AS uses
    FROM usage_v0 u CROSS JOIN LATERAL jsonb_each(u.features) f
"""

TeamDay = tuple[int, str, date]  # with its shard
FeatureUse = tuple[int, int]  # credits and uses of one feature
NOTHING = (0, 0)


class UsageRow(NamedTuple):
    """What the view `usage` shows, and in this order."""

    shard: int
    team_id: str
    day: date
    feature: str
    member_id: str
    credits: MicroCredits
    uses: int


MembersUse = dict[str, dict[str, FeatureUse]]  # by member, empty where none is named, and by feature
Cells = dict[TeamDay, MembersUse]


def add(cells: Cells, shard: int, team_id: str, zone: str, entry: BalanceEntry, happened_at: datetime) -> None:
    """Count a usage or its void; `happened_at` is when the work was done, also for a void of it."""
    members = cells.setdefault((shard, team_id, day_of(zone, happened_at)), {})
    features = members.setdefault(entry.member_id or "", {})
    feature = entry.feature or ""
    credits, uses = features.get(feature, NOTHING)
    features[feature] = (
        credits - entry.included - entry.additional,
        uses + (1 if entry.kind is ActivityKind.USAGE else -1),
    )


def add_plainly(
    cells: Cells, loaded: Cells, team_day: TeamDay, usages: Iterable[tuple[str | None, str, MicroCredits]]
) -> set[str]:
    """Count usages of a team on one day, each by its member, its feature and its credits.

    In `loaded` where the member's day is there already, else in `cells`; which members those are.
    """
    loaded_members = loaded.get(team_day, {})
    by_member: dict[str | None, dict[str, FeatureUse]] = {}
    for member_id, feature, used in usages:
        features = by_member.get(member_id)
        if features is None:
            member = member_id or ""
            features = loaded_members.get(member)
            if features is None:
                features = cells.setdefault(team_day, {}).setdefault(member, {})
            by_member[member_id] = features
        credits, uses = features.get(feature, NOTHING)
        features[feature] = (credits + used, uses + 1)
    return {member_id or "" for member_id in by_member}


def rows(cells: Cells) -> Iterator[UsageRow]:
    """Each feature by itself."""
    for (shard, team_id, day), members in cells.items():
        for member_id, features in members.items():
            for feature, used in features.items():
                yield UsageRow(shard, team_id, day, feature, member_id, *used)


def merge(cells: Cells, more: Cells) -> None:
    """Add `more` to what `cells` say about the same members and days."""
    for team_day, members in more.items():
        sums = cells.setdefault(team_day, {})
        for member_id, fresh in members.items():
            features = sums.setdefault(member_id, {})
            for feature, (credits, uses) in fresh.items():
                credits_before, uses_before = features.get(feature, NOTHING)
                features[feature] = (credits_before + credits, uses_before + uses)


_quarters: dict[str, tuple[datetime, datetime, date]] = {}  # the one last asked about, of each zone


def day_of(zone: str, instant: datetime) -> date:
    """The day that a zone shows. Every zone's days begin at a quarter of an hour, the largest step with one answer."""
    begins_at, ends_at, day = _quarters.get(zone, (MIDNIGHT, MIDNIGHT, date.min))
    if not begins_at <= instant < ends_at:
        begins_at = MIDNIGHT + (instant - MIDNIGHT) // QUARTER * QUARTER
        ends_at = begins_at + QUARTER
        day = begins_at.astimezone(load_zone(zone)).date()
        _quarters[zone] = begins_at, ends_at, day
    return day
