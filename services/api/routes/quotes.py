"""`POST /v1/teams/{team}/quotes`: what would this work cost, and may the team do it?

Asked before work starts. It reserves nothing: work that runs long places a hold.
"""

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.responses import Response

from projections.entitlement import Permission, PlannedWork, Verdict, permit
from schemas.credits import format_credits
from schemas.places import Place
from services.api.access import AllowedRequest, route, unknown_team
from services.api.answers import Json, answer
from services.api.models.work import Item, Quote, QuoteBody
from services.api.openapi.codes import PRICED
from services.api.tokens import TokenRole
from services.credits.limits import read_spending
from services.read_models.balances import read_balance

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/quotes", TokenRole.MEMBER, TokenRole.SERVICE, gives=Quote, tags=["entitlement"],
    fails=("catching_up", *PRICED),
)  # fmt: skip
async def post_quote(ask: AllowedRequest, body: QuoteBody) -> Response:
    """Price and permission for a list of work.

    What a member or an admin asks about is their own work, unless it names somebody.
    """
    now = ask.context.clock()
    card = (await ask.context.cards.current()).in_force(now)
    own = ask.caller.sub if ask.caller.role in (TokenRole.MEMBER, TokenRole.ADMIN) else None
    requests = works(body.items, own)
    members = {work.member_id for work in requests if work.member_id is not None}
    exact = await read_balance(ask.quick_read(), ask.team_id, now)
    if exact is None:
        raise unknown_team(ask.team_id)
    spending = (
        await read_spending(ask.quick_read(), ask.team_id, members, exact.team.zone, now) if exact.limited else {}
    )
    permission = permit(requests, exact.team, exact.available, spending, card, ask.context.catalog)
    return answer({**quote_body(permission), "position": str(Place(exact.shard, exact.position))})


def works(items: Iterable[Item], member_id: str | None = None) -> list[PlannedWork]:
    """What is asked for; items that name nobody are `member_id`'s."""
    return [
        PlannedWork(item.feature, item.quantity, item.attributes, item.member_id or member_id, item.quantities)
        for item in items
    ]


def quote_body(permission: Permission) -> Json:
    """The answer for each item, in order, and for all of them together."""
    return {
        "credits": format_credits(permission.credits), "affordable": permission.affordable,
        "allowed": permission.reason is None, "reason": permission.reason, "warning": permission.warning,
        "items": [verdict_body(verdict) for verdict in permission.verdicts],
    }  # fmt: skip


def verdict_body(verdict: Verdict) -> Json:
    """The answer for one item."""
    return {
        "credits": None if verdict.credits is None else format_credits(verdict.credits),
        "allowed": verdict.reason is None, "reason": verdict.reason, "detail": verdict.detail, "warning": verdict.warning,
    }  # fmt: skip
