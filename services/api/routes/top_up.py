"""`GET` and `PUT /v1/teams/{team}/top-up`: when credits are added by themselves, how many, and at most for how much.

`POST …/top-up/confirm` is for the bank that wants to see the owner of the card: it leads to the bank's page.
"""

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from services.api.access import SEES_PAYMENTS, AllowedRequest, TeamRequest, route, unknown_team
from services.api.answers import Json, answer, names
from services.api.idempotency import KEYED, CommandAnswer, Key, answer_once
from services.api.models.money import TopUp, TopUpBody, TopUpConfirmation, TopUpConfirmBody
from services.api.openapi.codes import AT_STRIPE
from services.api.openapi.route_docs import header, link
from services.api.problems import problem
from services.api.stripe_return import position_of, return_url_of, stripe_of
from services.api.tokens import TokenRole
from services.api.wording.top_ups import settings_of, top_up_body
from services.money.payment_details import ask_card, read_details, with_digits
from services.money.stripe_client import Intent
from services.money.top_ups.charging import confirm_by_owner
from services.money.top_ups.log import read_top_ups
from services.money.top_ups.settings import SettingsInForce, configure_top_ups, read_top_up_settings
from services.read_models.balances import read_balance
from services.store.connect import Connection

SETTINGS = {"settings": link("get_top_up", "How it stands.")}
CHANGES = {
    "change": link("put_top_up", "Change them, unless somebody else has.", **{"if-match": "$response.header.ETag"})
}
TAGGED = {200: {"headers": header("ETag")}}
NO_DIGITS = {"brand": None, "last4": None}
BACK_HERE = TopUpConfirmBody()  # without a body people come back to our own page

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/top-up", TokenRole.MEMBER, gives=TopUp, tags=["top-ups"], fails=("catching_up",),
    responses=TAGGED, links=CHANGES,
)  # fmt: skip
async def get_top_up(ask: AllowedRequest) -> Response:
    """How top-ups work. `ETag` names these settings for `If-Match`."""
    in_force, body = await _as_it_stands(ask)
    if body["card"] == NO_DIGITS:
        await _ask_digits(ask)
        in_force, body = await _as_it_stands(ask)
    return answer(body, headers={"etag": etag(in_force)})


async def _as_it_stands(ask: TeamRequest) -> tuple[SettingsInForce, Json]:
    async with ask.transaction() as connection:
        in_force = await read_top_up_settings(connection, ask.team_id)
        return in_force, await _top_up_answer(connection, ask, in_force)


@route(
    routes, "PUT", "/v1/teams/{team}/top-up", TokenRole.ADMIN, gives=TopUp, tags=["top-ups"], responses=TAGGED,
    fails=("changed_meanwhile", "invalid_top_up", "invalid_credits", "catching_up", *KEYED), links=SETTINGS,
)  # fmt: skip
async def put_top_up(
    ask: AllowedRequest,
    body: TopUpBody,
    key: Key = None,
    if_match: Annotated[str | None, Header(description="The ETag of the settings that were seen.")] = None,
) -> Response:
    """Enable, change or switch off. Nothing is charged until the balance is below the threshold."""

    async def configure(connection: Connection, _: str) -> CommandAnswer:
        in_force = await read_top_up_settings(connection, ask.team_id)
        if if_match is not None and not names(ask.request.headers.getlist("if-match"), etag(in_force)):
            raise problem(412, "changed_meanwhile", "somebody else changed the settings; look at them and save again")
        settings = settings_of(body, in_force.settings, ask.context.catalog, ask.caller.sub)
        if settings.enabled:
            await _check_plan(connection, ask)
        changed = await configure_top_ups(connection, ask.team_id, settings, number=in_force.number)
        return CommandAnswer(await _top_up_answer(connection, ask, changed), etag=etag(changed))

    return await answer_once(ask, key, configure)


@route(
    routes, "POST", "/v1/teams/{team}/top-up/confirm", TokenRole.ADMIN, gives=TopUpConfirmation, tags=["top-ups"],
    fails=("nothing_to_confirm", "invalid_return_url", *AT_STRIPE),
)  # fmt: skip
async def post_confirmation(ask: AllowedRequest, body: TopUpConfirmBody = BACK_HERE) -> Response:
    """Confirm the payment that the bank wants its owner for: send the browser to `url`, it comes back to `return_url`.

    Where `url` is null there is nothing to do there any more. Asked again it is the same payment, never a second one.
    """
    back = return_url_of(ask, body.return_url)
    intent = await confirm_by_owner(stripe_of(ask), ask.transaction, ask.team_id, back)
    async with ask.transaction() as connection:
        position = await position_of(connection, ask.team_id, None)
    return answer({"url": intent.action_url, "state": _progress(intent), "position": position})


def _progress(intent: Intent) -> str:
    match intent.state:
        case "succeeded":
            return "paid"
        case "processing" | "requires_capture":
            return "processing"
        case "cancelled":
            return "cancelled"
        case _:
            return "confirm" if intent.action_url is not None else "declined"


async def _check_plan(connection: Connection, ask: TeamRequest) -> None:
    plan = (await read_top_ups(connection, ask.team_id)).plan
    if not ask.context.catalog.may_top_up(plan):
        words = f"plan {plan} has no automatic top-ups: choose another plan first"
        raise problem(422, "invalid_top_up", words, problems=[words])


def etag(in_force: SettingsInForce) -> str:
    """What names these settings."""
    return f'"{in_force.number}"'


async def _top_up_answer(connection: Connection, ask: TeamRequest, in_force: SettingsInForce) -> Json:
    now = ask.context.clock()
    exact = await read_balance(connection, ask.team_id, now)
    if exact is None:
        raise unknown_team(ask.team_id)
    going = await read_top_ups(connection, ask.team_id)
    if going.card is not None and ask.caller.role in SEES_PAYMENTS:
        details = await read_details(connection, ask.team_id, [going.card.payment_method_id])
        going = going.but(card=with_digits(going.card, details))
    body = top_up_body(going, exact.available, now, ask.context.catalog, sees_card=ask.caller.role in SEES_PAYMENTS)
    return {**body, "position": None if in_force.place is None else str(in_force.place)}


async def _ask_digits(ask: TeamRequest) -> None:
    """Have Stripe say what people know the card by, where that is not kept: while no transaction is open."""
    async with ask.transaction() as connection:
        card = (await read_top_ups(connection, ask.team_id)).card
    if card is not None:
        await ask_card(ask.context.charges, ask.quick_read(), ask.transaction, ask.team_id, card.payment_method_id)
