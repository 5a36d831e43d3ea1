"""`POST /v1/teams/{team}/top-up/simulate`: what settings would have charged in the last 30 days.

For an admin who has not saved them yet.
"""

import asyncio
from datetime import datetime, timedelta

from fastapi import APIRouter
from starlette.responses import Response

from projections.top_ups.decisions import next_charge
from projections.top_ups.simulation import SimulatedTopUp, simulate
from projections.top_ups.state import TopUpChoices
from schemas.catalog import Catalog
from schemas.credits import format_credits
from schemas.facts import Stored, TopUpConfigured
from schemas.instants import instant
from services.api.access import AllowedRequest, TeamRequest, route, unknown_team
from services.api.answers import Json, answer
from services.api.models.money import Simulation, TopUpBody
from services.api.openapi.route_docs import link
from services.api.tokens import TokenRole
from services.api.wording.top_ups import settings_of, top_up_body
from services.money.top_ups.log import read_top_ups
from services.read_models.balances import read_balance
from services.store.read import read_team
from services.store.shards import shard_of

DAYS = 30
FACTS_MAX = 50_000  # a second's folding; who has more is not kept waiting, and gets no simulation
PAGE = 5_000

routes = APIRouter()


@route(
    routes, "POST", "/v1/teams/{team}/top-up/simulate", TokenRole.ADMIN, gives=Simulation, tags=["top-ups"],
    fails=("invalid_top_up", "invalid_credits", "catching_up", "busy"),
    links={"save": link("put_top_up", "Save the same settings.", body="$request.body")},
)  # fmt: skip
async def post_simulation(ask: AllowedRequest, body: TopUpBody) -> Response:
    """What these settings would have charged, and what saving them would charge now. Nothing is changed.

    `charges` and `total` are null for a team with more than 50,000 facts.
    """
    catalog, now = ask.context.catalog, ask.context.clock()
    settings = settings_of(body, None, catalog, ask.caller.sub)
    async with ask.transaction() as connection:
        exact = await read_balance(connection, ask.team_id, now)
        going = await read_top_ups(connection, ask.team_id)
    if exact is None:
        raise unknown_team(ask.team_id)
    charges = await _charges(ask, settings, now) if settings.enabled else []
    chosen = going.but(settings=TopUpChoices(**{name: getattr(settings, name) for name in TopUpChoices.model_fields}))
    present = top_up_body(chosen, exact.available, now, catalog, sees_card=False)["next_charge_preview"]
    return answer({
        "days": DAYS, **_past(charges, settings.currency), "each": _each(settings, catalog), "next_charge_preview": present,
    })  # fmt: skip


async def _charges(ask: TeamRequest, settings: TopUpConfigured, now: datetime) -> list[SimulatedTopUp] | None:
    """What would have been charged; None for a team with too many facts.

    One team after the other: each fills some of the memory.
    """
    async with ask.context.simulations.of(0):
        facts = await _facts(ask)
        if facts is None:
            return None
        # In a thread: other requests go on meanwhile.
        since, catalog = now - timedelta(days=DAYS), ask.context.catalog
        return await asyncio.to_thread(simulate, facts, settings, since=since, until=now, catalog=catalog)


async def _facts(ask: TeamRequest) -> list[Stored] | None:
    """All of a team's facts, if they are not too many."""
    shard, facts, after = shard_of(ask.team_id), list[Stored](), 0
    async with ask.transaction() as connection:
        while page := await read_team(connection, shard, ask.team_id, after, PAGE):
            facts += page
            after = page[-1].position
            if len(facts) > FACTS_MAX:
                return None
    return facts


def _past(charges: list[SimulatedTopUp] | None, currency: str) -> Json:
    if charges is None:
        return {"charges": None, "total": None}
    return {
        "charges": [
            {"at": instant(one.at), "credits": format_credits(one.credits), "amount": one.charge_cents, "currency": currency}
            for one in charges
        ],
        "total": {"amount": sum(one.charge_cents for one in charges), "currency": currency},
    }  # fmt: skip


def _each(settings: TopUpConfigured, catalog: Catalog) -> Json | None:
    """What one top-up costs as a rule: the balance has just come below the threshold."""
    if not settings.enabled:
        return None
    credits, cents = next_charge(settings, settings.threshold_credits, catalog)
    return {"credits": format_credits(credits), "amount": cents, "currency": settings.currency}
