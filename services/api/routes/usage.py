"""`GET /v1/teams/{team}/usage`: what was used, added up by feature, member or day, for the charts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from projections.balance.state import ActivityKind
from projections.usage import Cells, UsageRow, add, rows
from projections.versions import live
from schemas.credits import format_credits
from schemas.cycles import load_zone
from schemas.facts import Name, UsageVoided
from schemas.places import Place
from schemas.pricing import CompiledCard
from services.api.access import AllowedRequest, route, unknown_team
from services.api.answers import Json, answer
from services.api.models.reads import Usage
from services.api.openapi.codes import PRICED
from services.api.routes.activity import Days
from services.api.tokens import TokenRole
from services.read_models.unfolded import Unfolded, read_unfolded
from services.store.shards import shard_of

By = Literal["feature", "member", "day"]

ZONE = "SELECT zone FROM teams WHERE shard = $1 AND team_id = $2"
ROWS = live("""
    SELECT shard, team_id, day, feature, member_id, credits, uses FROM usage_v0
    WHERE shard = $1 AND team_id = $2 AND day >= $3
""")

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/usage", TokenRole.MEMBER, gives=Usage, tags=["credits"],
    fails=("catching_up", *PRICED),
)  # fmt: skip
async def get_usage(
    ask: AllowedRequest,
    by: Annotated[By, Query(description="What to add up by.")] = "feature",
    days: Days = "30",
    member: Annotated[Name | None, Query(description="Only this member's.")] = None,
) -> Response:
    """Credits and uses of the last days, today included; days are those of the team's zone."""
    shard = shard_of(ask.team_id)
    card = (await ask.context.cards.current()).in_force(ask.context.clock())
    async with ask.snapshot() as connection:
        zone = await connection.fetchval(ZONE, shard, ask.team_id)
        if zone is None:
            raise unknown_team(ask.team_id)
        since = first_day(zone, ask.context.clock(), int(days))
        unfolded = await read_unfolded(connection, ask.team_id)
        folded = [UsageRow(*row) for row in await connection.fetch(ROWS, shard, ask.team_id, since)]
    fresh = (row for row in rows(_cells_of(unfolded, zone)) if row.day >= since)
    selected = (row for row in (*folded, *fresh) if member is None or row.member_id == member)
    items = add_up(selected, by, card)
    return answer(
        {
            "by": by,
            "days": int(days),
            "since": str(since),
            "items": items,
            "position": str(Place(shard, unfolded.position)),
        }
    )


def first_day(zone: str, now: datetime, days: int) -> date:
    """The first of the last so many days, as the team's zone shows them."""
    return now.astimezone(UTC).astimezone(load_zone(zone)).date() - timedelta(days=days - 1)


def _cells_of(unfolded: Unfolded, zone: str) -> Cells:
    cells = Cells()
    for stored, fact, entry in unfolded.entries:
        if entry.kind in (ActivityKind.USAGE, ActivityKind.USAGE_VOIDED):
            happened_at = fact.usage_occurred_at if isinstance(fact, UsageVoided) else stored.occurred_at
            add(cells, stored.shard, stored.team_id, zone, entry, happened_at)
    return cells


def add_up(used: Iterable[UsageRow], by: By, card: CompiledCard) -> list[Json]:
    """The sums, the largest first; days in their order, each with its features and its members ("" is nobody)."""
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    features: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    members: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in used:
        key = {"feature": row.feature, "member": row.member_id, "day": str(row.day)}[by]
        sums[key][0] += row.credits
        sums[key][1] += row.uses
        features[key][row.feature] += row.credits
        members[key][row.member_id] += row.credits
    ordered = sorted(sums, key=(lambda key: key) if by == "day" else (lambda key: (-sums[key][0], key)))
    return [
        {**_key(by, key, card), "credits": format_credits(sums[key][0]), "uses": sums[key][1],
         "features": _shown(features[key]), "members": _shown(members[key])}
        for key in ordered
    ]  # fmt: skip


def _shown(sums: Mapping[str, int]) -> dict[str, str]:
    return {name: format_credits(credits) for name, credits in sorted(sums.items())}


def _key(by: By, key: str, card: CompiledCard) -> Json:
    match by:
        case "feature":
            feature = card.features.get(key)
            return {"feature": key, "name": feature.feature.name if feature else key}
        case "member":
            return {"member_id": key or None}
        case "day":
            return {"day": key}
