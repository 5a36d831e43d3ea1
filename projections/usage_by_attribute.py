"""Usage by attribute: credits and uses per day, member and value of each attribute that is counted.

Which attributes are counted is written down with the tables, in `usage_counted`: so all who fold the same facts into
them come to the same rows. Where none is, nothing of this runs. Usage that does not name an attribute has no row of it:
it is what `usage` has beyond these rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from projections.balance.state import ActivityKind, BalanceEntry
from projections.usage import NOTHING, FeatureUse, TeamDay, day_of
from schemas.credits import MicroCredits

COUNTED = "SELECT array(SELECT name FROM usage_counted_v0 ORDER BY name)"

# Each feature by itself, in the order of `AttributeRow`; team and attribute are given.
ROWS = """
    SELECT u.shard, u.team_id, u.day, u.member_id, u.name, u.value, f.key COLLATE "C" AS feature,
           (f.value ->> 0)::bigint AS credits, (f.value ->> 1)::bigint AS uses
    FROM usage_attributes_v0 u CROSS JOIN LATERAL jsonb_each(u.features) f
"""

AttributeDay = tuple[int, str, date, str, str, str]  # shard, team, day, member (empty: nobody), attribute, value
AttributeCells = dict[AttributeDay, dict[str, FeatureUse]]
Attributes = Mapping[str, str] | None
PlainUse = tuple[str | None, str, MicroCredits, Attributes]  # member, feature, credits, attributes


class AttributeRow(NamedTuple):
    """What `ROWS` shows, and in this order."""

    shard: int
    team_id: str
    day: date
    member_id: str
    name: str
    value: str
    feature: str
    credits: MicroCredits
    uses: int


def add(
    cells: AttributeCells,
    counted: Sequence[str],
    team_key: tuple[int, str],
    zone: str,
    entry: BalanceEntry,
    happened_at: datetime,
    attributes: Attributes,
) -> None:
    """Count a usage or its void; `attributes` are the usage's, also for a void of it. `team_key`: shard and team."""
    uses = 1 if entry.kind is ActivityKind.USAGE else -1
    used = entry.member_id, entry.feature or "", -entry.included - entry.additional, attributes
    _count(cells, counted, (*team_key, day_of(zone, happened_at)), used, uses)


def add_plainly(cells: AttributeCells, counted: Sequence[str], team_day: TeamDay, usages: Iterable[PlainUse]) -> None:
    """Count usages of a team on one day."""
    for used in usages:
        _count(cells, counted, team_day, used, 1)


def _count(cells: AttributeCells, counted: Sequence[str], team_day: TeamDay, used: PlainUse, uses: int) -> None:
    member_id, feature, credits, attributes = used
    if not attributes:
        return
    for name in counted:
        if value := attributes.get(name):
            features = cells.setdefault((*team_day, member_id or "", name, value), {})
            credits_before, uses_before = features.get(feature, NOTHING)
            features[feature] = credits_before + credits, uses_before + uses


def merge(cells: AttributeCells, more: AttributeCells) -> None:
    """Add `more` to what `cells` say about the same."""
    for attribute_day, fresh in more.items():
        features = cells.setdefault(attribute_day, {})
        for feature, (credits, uses) in fresh.items():
            credits_before, uses_before = features.get(feature, NOTHING)
            features[feature] = credits_before + credits, uses_before + uses


def rows(cells: AttributeCells) -> Iterator[AttributeRow]:
    """Each feature by itself."""
    for attribute_day, features in cells.items():
        for feature, used in features.items():
            yield AttributeRow(*attribute_day, feature, *used)
