"""`POST /v1/teams/{team}/quotes`: what would this work cost, and may the team do it?

Asked before work starts. It reserves nothing: work that runs long places a hold.
"""

from collections.abc import Iterable
from decimal import Decimal

from fastapi import APIRouter
from starlette.responses import Response

from projections.balance import TeamBalance
from schemas.catalog import Catalog
from schemas.credits import format_credits
from schemas.rates import CompiledCard, NotPriced
from services.api.access import Asked, route, unknown_team
from services.api.answers import Json, answer, place
from services.api.models import Item, Quote, QuoteBody, Reason
from services.store.balances import read_balance
from services.tokens import Role

# Beside yes, the answers in their order: what is the matter first comes first.
REASONS: tuple[Reason, ...] = ("unknown_feature", "plan_required", "top_ups_required", "member_limit", "exhausted")

routes = APIRouter()


@route(routes, "POST", "/v1/teams/{team}/quotes", Role.MEMBER, Role.SERVICE, gives=Quote, tags=["entitlement"])
async def post_quote(ask: Asked, body: QuoteBody) -> Response:
    """Price and permission for a list of work."""
    now = ask.world.clock()
    card = (await ask.world.cards.current()).in_force(now)
    async with ask.transaction() as connection:
        exact = await read_balance(connection, ask.team_id, now)
    if exact is None:
        raise unknown_team(ask.team_id)
    quoted = quote(body.items, card, ask.world.catalog, exact.team, exact.team.available(now))
    return answer({**quoted, "position": place(exact.shard, exact.position)})


def quote(items: Iterable[Item], card: CompiledCard, catalog: Catalog, team: TeamBalance, available: int) -> Json:
    """The answer for each item, in order, and for all of them together.

    Raises:
        NotPriced: too_large, the only thing that is wrong with the question rather than with the team.
    """
    total, answers = 0, []
    for item in items:
        credits, reason, why = _judge(item, card, catalog, team)
        total += credits or 0
        if reason is None and total > available:
            reason, why = "exhausted", f"{format_credits(max(0, available))} credits are available"
        cost = None if credits is None else format_credits(credits)
        answers.append({"credits": cost, "allowed": reason is None, "reason": reason, "detail": why})
    reasons = {one["reason"] for one in answers}
    return {
        "credits": format_credits(total), "affordable": total <= available, "allowed": reasons <= {None},
        "reason": next((reason for reason in REASONS if reason in reasons), None), "items": answers,
    }  # fmt: skip


def _judge(
    item: Item, card: CompiledCard, catalog: Catalog, team: TeamBalance
) -> tuple[int | None, Reason | None, str | None]:
    """The price of an item, and what its team lacks whatever the balance."""
    try:
        credits = card.price(item.feature, Decimal(item.quantity), item.attributes)
        needed = card.requirements(item.feature, item.attributes)
    except NotPriced as not_priced:
        if not_priced.reason == "too_large":
            raise
        return None, "unknown_feature", not_priced.detail
    if not catalog.plan_includes(team.plan, needed.plan):
        return credits, "plan_required", f"this needs the plan {catalog.plans[needed.plan or ''].name}"
    if needed.top_ups and not team.top_up.enabled:
        return credits, "top_ups_required", "this needs automatic top-ups to be enabled; an admin can do that"
    return credits, None, None
