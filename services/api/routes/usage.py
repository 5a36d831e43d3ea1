"""`GET /v1/teams/{team}/usage`: what was used, added up for the charts."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from projections.balance.state import ActivityKind
from projections.usage import Cells, UsageRow, add, rows
from projections.usage_by_attribute import COUNTED, AttributeCells, AttributeRow
from projections.usage_by_attribute import ROWS as ATTRIBUTE_ROWS
from projections.usage_by_attribute import add as add_by_attribute
from projections.usage_by_attribute import rows as attribute_rows
from projections.versions import live
from schemas.cycles import load_zone
from schemas.facts import Name, UsageVoided
from schemas.places import Place
from services.api.access import AllowedRequest, route, unknown_team
from services.api.answers import answer
from services.api.models.reads import Usage
from services.api.openapi.codes import PRICED
from services.api.routes.activity import Days
from services.api.tokens import TokenRole
from services.api.wording.usage_sums import By, DayOfUse, add_up, by_feature, by_value
from services.read_models.attributes import attributes_of
from services.read_models.balances import StoredEntry
from services.read_models.unfolded import Unfolded, read_unfolded
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.shards import shard_of

ZONE = live(f"SELECT zone, ({COUNTED}) AS counted FROM teams WHERE shard = $1 AND team_id = $2")
ROWS = live("""
    SELECT shard, team_id, day, feature, member_id, credits, uses FROM usage_v0
    WHERE shard = $1 AND team_id = $2 AND day >= $3
""")
OF_ATTRIBUTE = live(f"{ATTRIBUTE_ROWS} WHERE u.shard = $1 AND u.team_id = $2 AND u.day >= $3 AND u.name = $4")

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/usage", TokenRole.MEMBER, gives=Usage, tags=["credits"],
    fails=("catching_up", "not_counted", *PRICED),
)  # fmt: skip
async def get_usage(
    ask: AllowedRequest,
    by: Annotated[By, Query(description="What to add up by.")] = "feature",
    days: Days = "30",
    member: Annotated[Name | None, Query(description="Only this member's.")] = None,
    attribute: Annotated[
        Name | None, Query(description="Tell its values apart, too; `by=attribute` needs one.")
    ] = None,
    value: Annotated[Name | None, Query(description="Only usage with this value of the attribute.")] = None,
) -> Response:
    """Credits and uses of the last days, today included; days are those of the team's zone."""
    if attribute is None and (by == "attribute" or value is not None):
        raise Refused(
            "invalid_request", "`by=attribute` and `value` are about an attribute: add `attribute=` with its name"
        )
    shard = shard_of(ask.team_id)
    card = (await ask.context.cards.current()).in_force(ask.context.clock())
    async with ask.snapshot() as connection:
        team = await connection.fetchrow(ZONE, shard, ask.team_id)
        if team is None:
            raise unknown_team(ask.team_id)
        zone, counted = team
        if attribute not in (None, *counted):
            by_what = ", ".join(counted) or "no attribute"
            raise Refused("not_counted", f"usage is counted by {by_what}, not by {attribute}")
        since = first_day(zone, ask.context.clock(), int(days))
        unfolded = await read_unfolded(connection, ask.team_id)
        uses = await _uses(connection, unfolded, zone, attribute, since)
    items = add_up(_selected(uses, since, member, value), by, card)
    return answer(
        {
            "by": by,
            "attribute": attribute,
            "attributes": counted,
            "days": int(days),
            "since": str(since),
            "items": items,
            "position": str(Place(shard, unfolded.position)),
        }
    )


def first_day(zone: str, now: datetime, days: int) -> date:
    """The first of the last so many days, as the team's zone shows them."""
    return now.astimezone(UTC).astimezone(load_zone(zone)).date() - timedelta(days=days - 1)


async def _uses(
    connection: Connection, unfolded: Unfolded, zone: str, attribute: str | None, since: date
) -> Iterator[DayOfUse]:
    """All usage since a day, and of what is not folded yet also what was before; with values where one is asked for."""
    folded = await connection.fetch(ROWS, unfolded.shard, unfolded.team.team_id, since)
    used = (*(UsageRow(*row) for row in folded), *rows(_cells_of(unfolded, zone)))
    if attribute is None:
        return by_feature(used)
    return by_value(used, await _attributed(connection, unfolded, zone, attribute, since))


def _selected(uses: Iterable[DayOfUse], since: date, member: str | None, value: str | None) -> Iterator[DayOfUse]:
    for use in uses:
        if use.day >= since and member in (None, use.member_id) and value in (None, use.value):
            yield use


def _cells_of(unfolded: Unfolded, zone: str) -> Cells:
    cells = Cells()
    for used in _usages(unfolded):
        stored, _, entry = used
        add(cells, stored.shard, stored.team_id, zone, entry, _happened_at(used))
    return cells


async def _attributed(
    connection: Connection, unfolded: Unfolded, zone: str, attribute: str, since: date
) -> list[AttributeRow]:
    """The usage that names an attribute: what the projections have, and what they do not have yet."""
    cells = AttributeCells()
    for used in _usages(unfolded):
        stored, fact, entry = used
        attributes = await attributes_of(connection, stored.shard, fact)
        team_key = stored.shard, stored.team_id
        add_by_attribute(cells, (attribute,), team_key, zone, entry, _happened_at(used), attributes)
    folded = await connection.fetch(OF_ATTRIBUTE, unfolded.shard, unfolded.team.team_id, since, attribute)
    return [*(AttributeRow(*row) for row in folded), *attribute_rows(cells)]


def _usages(unfolded: Unfolded) -> Iterator[StoredEntry]:
    """What was used and taken back, that the projections do not have yet."""
    for used in unfolded.entries:
        if used.entry.kind in (ActivityKind.USAGE, ActivityKind.USAGE_VOIDED):
            yield used


def _happened_at(used: StoredEntry) -> datetime:
    """When the work was done, also of what takes it back."""
    return used.fact.usage_occurred_at if isinstance(used.fact, UsageVoided) else used.stored.occurred_at
