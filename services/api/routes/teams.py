"""The directory of a team, and its plan: who it is, whom to ask, what is included."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from schemas.facts import Id, Text
from schemas.instants import instant
from schemas.places import Place
from services.api.access import AllowedRequest, TeamRequest, route, unknown_team
from services.api.answers import answer
from services.api.idempotency import KEYED, CommandAnswer, Key, answer_once
from services.api.models.operators import MemberBody, PlanAnswer, PlanBody, TeamBody
from services.api.models.parts import Moved
from services.api.models.reads import TeamAnswer
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.credits import directory
from services.credits.erasure import erase_member
from services.credits.plans import assign_plan, check_team_id
from services.store.connect import Connection
from services.store.read import head_of
from services.store.shards import shard_of

MEMBER = "/v1/teams/{team}/members/{member}"
LINKS = {"limit": link("get_limit", "What the member may use.", member="$request.path.member")}

MemberId = Annotated[Id, Path(alias="member", description="The member's id.")]

routes = APIRouter()


@route(routes, "GET", "/v1/teams/{team}", TokenRole.MEMBER, gives=TeamAnswer, tags=["teams"])
async def get_team(ask: AllowedRequest) -> Response:
    """A team, its members and its admins."""
    async with ask.transaction() as connection:
        team = await directory.read_directory(connection, ask.team_id)
    if team is None:
        raise unknown_team(ask.team_id)
    plan = ask.context.catalog.plans.get(team.plan)
    return answer({
        "id": team.team_id, "name": team.name, "zone": team.zone, "plan": team.plan,
        "plan_name": plan.name if plan else team.plan,
        "members": [{"id": one.member_id, "name": one.name, "role": one.role} for one in team.members],
        "admins": [{"id": one.member_id, "name": one.name} for one in team.admins], "erased": list(team.erased),
    })  # fmt: skip


@route(
    routes, "PUT", "/v1/teams/{team}", TokenRole.OPERATOR, gives=Moved, tags=["operators"],
    fails=("invalid_team", *KEYED),
)  # fmt: skip
async def put_team(ask: AllowedRequest, body: TeamBody, key: Key = None) -> Response:
    """Say what a team is called.

    The directory is no part of the log, so the position is the head of the team's shard.
    """
    check_team_id(ask.team_id)

    async def name(connection: Connection, _: str) -> CommandAnswer:
        await directory.name_team(connection, ask.team_id, body.name)
        return await _head(connection, ask)

    return await answer_once(ask, key, name)


@route(
    routes, "PUT", MEMBER, TokenRole.OPERATOR, gives=Moved, tags=["operators"], fails=("invalid_team", *KEYED),
    links=LINKS,
)  # fmt: skip
async def put_member(ask: AllowedRequest, member_id: MemberId, body: MemberBody, key: Key = None) -> Response:
    """Add a member to the directory, or change their name or role."""
    check_team_id(ask.team_id)

    async def put(connection: Connection, _: str) -> CommandAnswer:
        await directory.put_member(connection, ask.team_id, directory.DirectoryMember(member_id, body.name, body.role))
        return await _head(connection, ask)

    return await answer_once(ask, key, put)


@route(routes, "DELETE", MEMBER, TokenRole.OPERATOR, gives=Moved, tags=["operators"], fails=("unknown_member", *KEYED))
async def delete_member(
    ask: AllowedRequest,
    member_id: MemberId,
    key: Key = None,
    *,
    erase: Annotated[bool, Query(description="Also their limits, and answers to commands that named them.")] = False,
    reason: Annotated[Text | None, Query(description="Why, for whoever looks after it. It is in no log.")] = None,
) -> Response:
    """Erase what the directory knows of a member. Their id stays in the log, and means nobody any more.

    With `erase` whatever else names them goes, too, and somebody of whom the directory never knew is erased as well.
    """

    async def work(connection: Connection, _: str) -> CommandAnswer:
        place = await erase_member(connection, ask.team_id, member_id, wholly=erase, by=ask.caller.sub, reason=reason)
        if place is not None:
            return CommandAnswer({"position": str(place)})
        raise problem(404, "unknown_member", f"the directory does not know {member_id!r}")

    return await answer_once(ask, key, work)


async def _head(connection: Connection, ask: TeamRequest) -> CommandAnswer:
    shard = shard_of(ask.team_id)
    return CommandAnswer({"position": str(Place(shard, await head_of(connection, shard)))})


@route(
    routes, "PUT", "/v1/teams/{team}/plan", TokenRole.OPERATOR, gives=PlanAnswer, tags=["operators"],
    fails=("unknown_plan", "unknown_zone", "invalid_team", "invalid_anchor", "anchor_fixed", *KEYED),
)  # fmt: skip
async def put_plan(ask: AllowedRequest, body: PlanBody, key: Key = None) -> Response:
    """Give a team a plan, or what the catalog gives for its plan now.

    The first one brings the team into being; an upgrade counts at once, a downgrade from the next cycle, and so do
    other credits for the plan that the team has.
    """

    async def assign(connection: Connection, _: str) -> CommandAnswer:
        assigned = await assign_plan(
            connection, ask.context.catalog, ask.team_id, body.plan,
            anchor=body.anchor, zone=body.zone, assigned_by=ask.caller.sub,
        )  # fmt: skip
        return CommandAnswer({
            "plan": assigned.plan, "anchor": instant(assigned.anchor), "zone": assigned.zone, "position": str(assigned.place),
        })  # fmt: skip

    return await answer_once(ask, key, assign)
