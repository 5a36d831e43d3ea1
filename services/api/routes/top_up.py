"""`GET` and `PUT /v1/teams/{team}/top-up`: when credits are added by themselves, how many, and at most for how much.

`POST …/top-up/confirm` is for the bank that wants to see the owner of the card: it leads to the bank's page.
"""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from projections.top_ups.decisions import foresee, next_charge
from projections.top_ups.months import month_of
from projections.top_ups.state import Settings, TopUps
from schemas.catalog import Catalog
from schemas.credits import MICRO, format_credits
from schemas.facts import TopUpConfigured, TopUpRequested, TopUpSkipped
from schemas.money import format_money
from services.api.access import SEES_PAYMENTS, Ask, Asked, route, unknown_team
from services.api.answers import Json, answer, instant
from services.api.idempotency import KEYED, Answered, Key, once
from services.api.models.money import TopUp, TopUpBody, TopUpConfirmation, TopUpConfirmBody
from services.api.openapi.codes import AT_STRIPE
from services.api.openapi.route_docs import header, link
from services.api.problems import problem
from services.api.stripe_return import position_of, return_url_of, stripe_of
from services.api.tokens import Role
from services.api.wording.amounts import micro_if_any, shown
from services.money.stripe_client import Intent
from services.money.top_ups.attempts import read_top_ups
from services.money.top_ups.charging import confirm_by_owner
from services.money.top_ups.settings import Configured, configure_top_ups, read_top_up_settings
from services.read_models.balances import read_balance
from services.store.connect import Connection

COOL_DOWN_SECONDS = 300
THRESHOLD_MAX = 10**9 * MICRO
SETTINGS = {"settings": link("get_top_up", "How it stands.")}
CHANGES = {
    "change": link("put_top_up", "Change them, unless somebody else has.", **{"if-match": "$response.header.ETag"})
}
TAGGED = {200: {"headers": header("ETag")}}

Decision = TopUpRequested | TopUpSkipped | None
BACK_HERE = TopUpConfirmBody()  # without a body people come back to our own page

routes = APIRouter()


@route(
    routes, "GET", "/v1/teams/{team}/top-up", Role.MEMBER, gives=TopUp, tags=["top-ups"], fails=("catching_up",),
    responses=TAGGED, links=CHANGES,
)  # fmt: skip
async def get_top_up(ask: Asked) -> Response:
    """How top-ups work. `ETag` names these settings for `If-Match`."""
    async with ask.transaction() as connection:
        known = await read_top_up_settings(connection, ask.team_id)
        said = await _said(connection, ask, known)
    return answer(said, headers={"etag": etag(known)})


@route(
    routes, "PUT", "/v1/teams/{team}/top-up", Role.ADMIN, gives=TopUp, tags=["top-ups"], responses=TAGGED,
    fails=("changed_meanwhile", "invalid_top_up", "invalid_credits", "catching_up", *KEYED), links=SETTINGS,
)  # fmt: skip
async def put_top_up(
    ask: Asked,
    body: TopUpBody,
    key: Key = None,
    if_match: Annotated[str | None, Header(description="The ETag of the settings that were seen.")] = None,
) -> Response:
    """Enable, change or switch off. Nothing is charged until the balance is below the threshold."""

    async def configure(connection: Connection, _: str) -> Answered:
        known = await read_top_up_settings(connection, ask.team_id)
        if if_match is not None and if_match not in ("*", etag(known)):
            raise problem(412, "changed_meanwhile", "somebody else changed the settings; look at them and save again")
        settings = settings_of(body, known.settings, ask.world.catalog, ask.caller.sub)
        if settings.enabled:
            await _check_plan(connection, ask)
        changed = await configure_top_ups(connection, ask.team_id, settings, number=known.number)
        return Answered(await _said(connection, ask, changed), etag=etag(changed))

    return await once(ask, key, configure)


@route(
    routes, "POST", "/v1/teams/{team}/top-up/confirm", Role.ADMIN, gives=TopUpConfirmation, tags=["top-ups"],
    fails=("nothing_to_confirm", "invalid_return_url", *AT_STRIPE),
)  # fmt: skip
async def post_confirmation(ask: Asked, body: TopUpConfirmBody = BACK_HERE) -> Response:
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


async def _check_plan(connection: Connection, ask: Ask) -> None:
    plan = (await read_top_ups(connection, ask.team_id)).plan
    if not ask.world.catalog.may_top_up(plan):
        words = f"plan {plan} has no automatic top-ups: choose another plan first"
        raise problem(422, "invalid_top_up", words, problems=[words])


def etag(known: Configured) -> str:
    """What names these settings."""
    return f'"{known.number}"'


def settings_of(body: TopUpBody, before: TopUpConfigured | None, catalog: Catalog, by: str) -> TopUpConfigured:
    """The settings that an admin asks for. Who switches off need not repeat the amounts: they stay for the next time.

    Raises:
        Problem: invalid_top_up, with a sentence for each thing to change.
    """
    amounts = (body.threshold, body.credits, body.restore_to, body.monthly_cap)
    if not body.enabled and all(amount is None for amount in amounts):
        kept = before or TopUpConfigured(enabled=False, threshold_credits=0, currency=catalog.top_up.currency)
        return kept.model_copy(update={"enabled": False, "configured_by": by})
    settings = TopUpConfigured(
        enabled=body.enabled, threshold_credits=_micro(body.threshold) or 0, credits=_micro(body.credits),
        restore_to_credits=_micro(body.restore_to),
        monthly_cap_cents=body.monthly_cap.amount if body.monthly_cap else None, currency=catalog.top_up.currency,
        max_per_month=body.max_per_month, cool_down_seconds=body.cool_down_seconds or COOL_DOWN_SECONDS, configured_by=by,
    )  # fmt: skip
    if problems := list(problems_of(settings, catalog, body.monthly_cap.currency if body.monthly_cap else None)):
        raise problem(422, "invalid_top_up", "; ".join(problems), problems=problems)
    return settings


def _micro(text: str | None) -> int | None:
    """Micro-credits, if somebody wrote any; a minus is left for the sentence that says so."""
    if text is not None and text.startswith("-"):
        raise problem(422, "invalid_top_up", f"{text} is negative: amounts of a top-up are more than 0")
    return micro_if_any(text)


def problems_of(settings: TopUpConfigured, catalog: Catalog, cap_currency: str | None) -> list[str]:
    """What is wrong with settings, in words that an admin can act upon."""
    price, currency = catalog.top_up, catalog.top_up.currency
    least, step = format_credits(price.min_credits), format_credits(price.step)
    said = []
    if not 0 < settings.threshold_credits <= THRESHOLD_MAX:
        said.append(f"the threshold is more than 0 and at most {format_credits(THRESHOLD_MAX)} credits")
    if (settings.credits is None) == (settings.restore_to_credits is None):
        said.append("choose either credits, a fixed amount to add, or restore_to, a balance to fill up to")
    elif settings.credits is not None and (settings.credits < price.min_credits or settings.credits % price.step):
        said.append(f"the credits to add are at least {least}, in steps of {step}")
    elif (
        settings.restore_to_credits is not None
        and settings.restore_to_credits < settings.threshold_credits + price.min_credits
    ):
        said.append(f"fill up to at least {least} credits above the threshold")
    if cap_currency is not None and cap_currency != currency:
        said.append(f"the most to charge in a month is in {currency}, the currency of top-ups")
    if not said and settings.monthly_cap_cents is not None:
        credits, cents = next_charge(settings, settings.threshold_credits, catalog)
        if settings.monthly_cap_cents < cents:
            cost = f"{format_credits(credits)} credits cost {format_money(cents, currency)}"
            said.append(f"the most to charge in a month is less than one top-up: {cost}")
    return said


async def _said(connection: Connection, ask: Ask, known: Configured) -> Json:
    now = ask.world.clock()
    exact = await read_balance(connection, ask.team_id, now)
    if exact is None:
        raise unknown_team(ask.team_id)
    going = await read_top_ups(connection, ask.team_id)
    body = top_up_body(going, exact.available, now, ask.world.catalog, sees_card=ask.caller.role in SEES_PAYMENTS)
    return {**body, "position": None if known.place is None else str(known.place)}


def top_up_body(going: TopUps, available: int, now: datetime, catalog: Catalog, *, sees_card: bool) -> Json:
    """Settings as everybody reads them, and what becomes of them at the moment."""
    decision = foresee(going, available, now, catalog)
    state, reason = _state(going, decision)
    taken, price = going.taken(month_of(now, going.zone)), catalog.top_up
    return {
        "enabled": going.enabled, **_chosen(going.settings), "state": state, "reason": reason,
        "next_charge_preview": _preview(going, available, decision, catalog),
        "price": {
            "unit_price": str(price.unit_price), "currency": price.currency,
            "min_credits": format_credits(price.min_credits), "step": format_credits(price.step),
        },
        "charged_this_month": {"amount": sum(taken), "currency": price.currency, "count": len(taken)},
        "card": {"brand": going.card.brand, "last4": going.card.last4} if sees_card and going.card else None,
        "cool_until": instant(going.cool_until) if going.cool_until > now else None,
    }  # fmt: skip


def _chosen(chosen: Settings | None) -> Json:
    """What an admin saved last; nothing of it before the first time."""
    if chosen is None or not chosen.threshold_credits:
        names = ("threshold", "credits", "restore_to", "monthly_cap", "max_per_month", "cool_down_seconds")
        return dict.fromkeys(names)
    cap = chosen.monthly_cap_cents
    return {
        "threshold": format_credits(chosen.threshold_credits), "credits": shown(chosen.credits),
        "restore_to": shown(chosen.restore_to_credits),
        "monthly_cap": None if cap is None else {"amount": cap, "currency": chosen.currency},
        "max_per_month": chosen.max_per_month, "cool_down_seconds": chosen.cool_down_seconds,
    }  # fmt: skip


def _state(going: TopUps, decision: Decision) -> tuple[str, str | None]:
    """Where top-ups stand, and why they do not run where they do not."""
    if not going.enabled:
        return "off", None
    if going.suspension is not None:
        return "suspended", f"{going.suspension.reason}; another card, or a purchase, ends the pause"
    if going.open is not None and going.open.action_required:
        return "action_required", "the bank wants the payment to be confirmed"
    if going.open is not None:
        return "charging", None
    if going.card is None:
        return "on", "there is no card yet that could be charged"
    return "on", decision.detail if isinstance(decision, TopUpSkipped) else None


def _preview(going: TopUps, available: int, decision: Decision, catalog: Catalog) -> Json | None:
    """What the next top-up adds and costs: at the threshold if the balance is above it, and at once if it is below."""
    chosen = going.settings
    if chosen is None or not chosen.enabled:
        return None
    credits, cents = next_charge(chosen, min(available, chosen.threshold_credits), catalog)
    low = available < chosen.threshold_credits
    return {
        "credits": format_credits(credits), "amount": cents, "currency": catalog.top_up.currency,
        "now": low, "not_now": decision.reason if isinstance(decision, TopUpSkipped) else None,
    }  # fmt: skip
