"""Limits of members: what each may use per day and per month.

Hard ones refuse quotes and holds, soft ones mark them.
"""

from fastapi import APIRouter
from starlette.responses import Response

from projections.entitlement import Limit
from schemas.credits import format_credits
from schemas.places import Place
from services.api.access import AllowedRequest, route, unknown_team
from services.api.answers import Json, answer
from services.api.idempotency import KEYED, CommandAnswer, Key, answer_once
from services.api.models.work import LimitBody, MemberLimit, MemberSpending
from services.api.routes.teams import LINKS, MemberId
from services.api.tokens import TokenRole
from services.api.wording.amounts import micro_if_any, shown
from services.credits.limits import read_spending, set_limit
from services.read_models.balances import read_balance
from services.store.connect import Connection

PATH = "/v1/teams/{team}/members/{member}/limit"

routes = APIRouter()


@route(routes, "GET", PATH, TokenRole.MEMBER, gives=MemberSpending, tags=["entitlement"], fails=("catching_up",))
async def get_limit(ask: AllowedRequest, member_id: MemberId) -> Response:
    """What a member may use, and what counts against it now. Days and months are those of the team's zone."""
    now = ask.context.clock()
    exact = await read_balance(ask.quick_read(), ask.team_id, now)
    if exact is None:
        raise unknown_team(ask.team_id)
    spending_by_member = await read_spending(
        ask.quick_read(), ask.team_id, [member_id], exact.team.zone, now, without_limit=True
    )
    spending = spending_by_member[member_id]
    return answer({
        **_limit_answer(member_id, spending.limit), "used_today": format_credits(spending.today),
        "used_this_month": format_credits(spending.month), "held": format_credits(spending.held),
        "position": str(Place(exact.shard, exact.position)),
    })  # fmt: skip


@route(
    routes, "PUT", PATH, TokenRole.OPERATOR, TokenRole.ADMIN, gives=MemberLimit, tags=["entitlement"],
    fails=("invalid_limit", "invalid_credits", *KEYED), links=LINKS,
)  # fmt: skip
async def put_limit(ask: AllowedRequest, member_id: MemberId, body: LimitBody, key: Key = None) -> Response:
    """Limit what a member may use, or lift the limit; it counts from the next quote or hold on."""
    limit = Limit(micro_if_any(body.daily), micro_if_any(body.monthly), body.hard)

    async def put(connection: Connection, _: str) -> CommandAnswer:
        at = await set_limit(connection, ask.team_id, member_id, limit, limited_by=ask.caller.sub)
        return CommandAnswer({**_limit_answer(member_id, limit), "position": str(at)})

    return await answer_once(ask, key, put)


def _limit_answer(member_id: str, limit: Limit) -> Json:
    return {
        "member_id": member_id, "daily": shown(limit.daily), "monthly": shown(limit.monthly), "hard": limit.hard,
    }  # fmt: skip
