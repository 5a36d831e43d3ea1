"""Top-up settings as people send and read them, and what is wrong with them."""

from datetime import datetime

from projections.top_ups.decisions import foresee, next_charge, obstacle_ahead
from projections.top_ups.months import month_of
from projections.top_ups.state import TopUpChoices, TopUps
from schemas.catalog import Catalog
from schemas.credits import MICRO, MicroCredits, format_credits
from schemas.facts import TopUpConfigured, TopUpRequested, TopUpSkipped
from schemas.instants import instant
from schemas.money import format_money
from services.api.models.money import TopUpBody
from services.api.problems import problem
from services.api.wording.amounts import micro_if_any, shown
from services.api.wording.values import Json

COOL_DOWN_SECONDS = 300
THRESHOLD_MAX = 10**9 * MICRO

Decision = TopUpRequested | TopUpSkipped | None


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
    problems = []
    if not 0 < settings.threshold_credits <= THRESHOLD_MAX:
        problems.append(f"the threshold is more than 0 and at most {format_credits(THRESHOLD_MAX)} credits")
    if (settings.credits is None) == (settings.restore_to_credits is None):
        problems.append("choose either credits, a fixed amount to add, or restore_to, a balance to fill up to")
    elif settings.credits is not None and (settings.credits < price.min_credits or settings.credits % price.step):
        problems.append(f"the credits to add are at least {least}, in steps of {step}")
    elif (
        settings.restore_to_credits is not None
        and settings.restore_to_credits < settings.threshold_credits + price.min_credits
    ):
        problems.append(f"fill up to at least {least} credits above the threshold")
    if cap_currency is not None and cap_currency != currency:
        problems.append(f"the most to charge in a month is in {currency}, the currency of top-ups")
    if not problems:
        credits, cents = next_charge(settings, settings.threshold_credits, catalog)
        cost = f"{format_credits(credits)} credits cost {format_money(cents, currency)}"
        cap = price.monthly_cap if settings.monthly_cap_cents is None else settings.monthly_cap_cents
        if cents > price.max_charge:
            problems.append(f"one top-up charges {format_money(price.max_charge, currency)} at most: {cost}")
        elif cap < cents:
            problems.append(f"the most to charge in a month is less than one top-up: {cost}")
    return problems


def top_up_body(going: TopUps, available: MicroCredits, now: datetime, catalog: Catalog, *, sees_card: bool) -> Json:
    """Settings as everybody reads them, and what becomes of them at the moment."""
    decision = foresee(going, available, now, catalog) or obstacle_ahead(going, now, catalog)
    state, reason = _state(going, decision)
    month, price = month_of(now, going.zone), catalog.top_up
    charges = going.charges_cents(month, price.currency)
    return {
        "enabled": going.enabled, **_chosen(going.settings), "state": state, "reason": reason,
        "next_charge_preview": _preview(going, available, decision, catalog),
        "price": {
            "unit_price": str(price.unit_price), "currency": price.currency,
            "max_charge": price.max_charge, "monthly_cap": price.monthly_cap,
            "min_credits": format_credits(price.min_credits), "step": format_credits(price.step),
        },
        "charged_this_month": {
            "amount": sum(charges), "currency": price.currency, "count": len(charges), "month": month,
        },
        "card": {"brand": going.card.brand, "last4": going.card.last4} if sees_card and going.card else None,
        "cool_until": instant(going.cool_until) if going.cool_until > now else None,
    }  # fmt: skip


def _chosen(chosen: TopUpChoices | None) -> Json:
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
        end = "saving these settings again" if going.suspension.cause == "payment" else "another card, or a purchase,"
        return "suspended", f"{going.suspension.reason}; {end} ends the pause"
    if going.open is not None and going.open.action_required:
        return "action_required", "the bank wants the payment to be confirmed"
    if going.open is not None:
        return "charging", None
    if going.card is None:
        return "on", "there is no card yet that could be charged"
    return "on", decision.detail if isinstance(decision, TopUpSkipped) else None


def _preview(going: TopUps, available: MicroCredits, decision: Decision, catalog: Catalog) -> Json | None:
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
