"""Prices: the rate card, the packs, and the publishing of the next card."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from schemas.catalog import Catalog
from schemas.credits import format_credits
from schemas.facts import RATE_CARD_TEAM
from schemas.instants import GivenInstant, instant
from schemas.rates import RateCard, RateCardInvalid, parse_rate_card
from services.api.access import ANYONE, AllowedRequest, route
from services.api.answers import JSON, Json, answer
from services.api.bodies import body_of, schema_of
from services.api.idempotency import KEYED, CommandAnswer, Key, answer_once
from services.api.models.money import Pack
from services.api.models.operators import RateCardAnswer, RateCardDate
from services.api.openapi.codes import PRICED
from services.api.problems import problem
from services.api.tokens import TokenRole
from services.credits.rate_cards import publish_rate_card
from services.store.connect import Connection

routes = APIRouter()


@route(routes, "GET", "/v1/rate-card", *ANYONE, gives=RateCard, tags=["prices"], fails=PRICED)
async def get_rate_card(
    ask: AllowedRequest,
    at: Annotated[GivenInstant | None, Query(description="The card in force at this instant.")] = None,
) -> Response:
    """What each feature costs."""
    card = (await ask.context.cards.current()).in_force(at or ask.context.clock()).card
    return answer({**card.model_dump(mode="json"), "effective_from": instant(card.effective_from)})


@route(routes, "GET", "/v1/rate-cards", *ANYONE, gives=list[RateCardDate], tags=["prices"], fails=("no_rate_card",))
async def get_rate_cards(ask: AllowedRequest) -> Response:
    """Every card that was, is or will be in force, oldest first; `GET /v1/rate-card?at=` shows one."""
    cards = (await ask.context.cards.current()).ever_in_force()
    return answer([{"version": card.version, "effective_from": instant(card.effective_from)} for card in cards])


@route(routes, "GET", "/v1/packs", *ANYONE, gives=list[Pack], tags=["prices"])
async def get_packs(ask: AllowedRequest) -> Response:
    """Credits that can be bought once."""
    return answer(packs(ask.context.catalog))


def packs(catalog: Catalog) -> list[Json]:
    """The packs, with their price in the currency of top-ups, and in every currency in which they are sold."""
    currency = catalog.top_up.currency
    return [
        {"pack": name, "name": pack.name, "credits": format_credits(pack.credits), "amount": pack.prices[currency], "currency": currency,
         "prices": dict(pack.prices)}
        for name, pack in catalog.packs.items()
    ]  # fmt: skip


@route(
    routes, "POST", "/v1/rate-cards", TokenRole.OPERATOR, gives=RateCardAnswer, status=201, tags=["operators"],
    openapi_extra=body_of({JSON: schema_of(RateCard)}), for_every_team=True,
    fails=("invalid_rate_card", "rate_card_version", "too_soon", *KEYED),
)  # fmt: skip
async def post_rate_card(ask: AllowedRequest, key: Key = None) -> Response:
    """Publish the next rate card, for every team, in force from an instant at least 60 seconds ahead."""
    try:
        card = parse_rate_card(await ask.request.json())
    except RateCardInvalid as invalid:
        raise problem(422, "invalid_rate_card", str(invalid), problems=list(invalid.problems)) from invalid

    async def publish(connection: Connection, _: str) -> CommandAnswer:
        place = await publish_rate_card(connection, card, published_by=ask.caller.sub)
        body = {"version": card.version, "effective_from": instant(card.effective_from), "position": str(place)}
        return CommandAnswer(body, 201)

    response = await answer_once(ask, key, publish, team_id=RATE_CARD_TEAM)
    ask.context.cards.look_again()
    return response
