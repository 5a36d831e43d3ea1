"""Which facts the host product is told of, and in what words.

A pure function of the fact: a notice is worded once, when it is found in the log, and every try sends the same bytes.
What the host makes of it (a mail, a banner) is its own business; whom it tells, too, because the log knows nobody's
name or address.
"""

from typing import Any
from urllib.parse import quote

from schemas.credits import MicroCredits, format_credits
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    Stored,
    TopUpActionRequired,
    TopUpFailed,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
)
from schemas.notices import NOTICES, Notice

TEAM = "{team}"  # in the address of the Usage page

FAILED = {
    "declined_retry_later": "The card was declined. It will be tried again; another card on the Usage page may help sooner.",
    "declined_needs_card": "The card was declined, and another one is needed. An admin can change it on the Usage page.",
    "declined_needs_authentication": "The bank wanted the payment confirmed, which did not happen in time. An admin can confirm the next one, or use another card, on the Usage page.",
    "payment_found": "An earlier payment was found that had brought no credits, and it has brought them now. There is nothing to be done.",
    "payment_differs": "An earlier payment has brought no credits, and it is not certain how many it should. Support has to settle it; until then nothing is charged.",
    "refused": "The payment service does not take this charge with any card. Support has to look at it; it is tried again later.",
    "gave_up": "The bank never decided about the payment. Should the money come all the same, its credits will be added.",
    "cancelled": "The payment was cancelled. There is nothing to be done, unless credits are needed now: an admin can buy some on the Usage page.",
}  # fmt: skip
CARD_OR_CREDITS = "Top-ups go on when an admin changes the card or buys credits on the Usage page."
GO_ON = {"payment": "Top-ups go on when it is settled, or when an admin saves their settings again on the Usage page."}
# The other reasons need nobody: top-ups are off, or another decision will follow by itself.
SKIPPED = {
    "cap_money": "The monthly cap on money is reached. An admin can raise it, or buy credits, on the Usage page; otherwise top-ups go on next month.",
    "max_charge": "So many credits cost more than one top-up may. An admin can buy credits on the Usage page.",
    "cap_count": "The number of top-ups per month is reached. An admin can raise it, or buy credits, on the Usage page; otherwise top-ups go on next month.",
    "no_payment_method": "There is no card. An admin can add one on the Usage page.",
    "plan": "The plan has no top-ups. An admin can buy credits on the Usage page.",
}  # fmt: skip


def notice_of(stored: Stored, page: str | None) -> Notice | None:
    """What the host is told of a fact; None for a fact that is nobody's news.

    Args:
        stored: the fact in its place.
        page: the address of the Usage page, with `{team}` where the team's id belongs; None leaves the link out.
    """
    wording = _say(stored.fact()) if stored.type in NOTICES else None
    if wording is None:
        return None
    url = page.replace(TEAM, quote(stored.team_id, safe="")) if page is not None else None
    data = {"team_id": stored.team_id, "position": stored.place, **wording, "url": url}
    return NOTICES[stored.type].model_validate({"type": stored.type, "timestamp": stored.recorded_at, "data": data})


def _say(fact: AnyFact) -> dict[str, Any] | None:  # noqa: PLR0911 - a case for each kind
    """Title, message and figures."""
    match fact:
        case BalanceRanLow():
            return _ran_low(fact)
        case BalanceRanOut():
            return _ran_out(fact)
        case BalanceRecovered():
            return _recovered(fact)
        case TopUpFailed():
            return _failed(fact)
        case TopUpActionRequired():
            return {
                "title": "Confirm the payment of a top-up",
                "message": "The bank wants an admin to confirm the payment. Open the Usage page and confirm it there; until then nothing is charged and no credits are added.",
                "attempt_id": fact.attempt_id,
            }  # fmt: skip
        case TopUpSuspended():
            return {
                "title": "Top-ups are paused",
                "message": f"Nothing more is charged: {fact.reason}. {GO_ON.get(fact.cause, CARD_OR_CREDITS)}",
                "declines": fact.declines,
            }  # fmt: skip
        case TopUpResumed():
            return {
                "title": "Top-ups go on", "message": f"Top-ups go on: {fact.reason}. There is nothing to be done.",
                "reason": fact.reason,
            }  # fmt: skip
        case TopUpSkipped(reason=reason) if reason in SKIPPED:
            return {
                "title": "A top-up was not made", "message": f"The balance is low and nothing was charged. {SKIPPED[reason]}",
                "reason": reason, "next_decision_at": fact.next_decision_at,
            }  # fmt: skip
        case _:
            return None


def _ran_low(fact: BalanceRanLow) -> dict[str, Any]:
    available, threshold = _words(fact.available_credits), _words(fact.threshold_credits)
    todo = (
        "A top-up is due and will be tried now; if it can't be made, another notice says why."
        if fact.top_up_enabled
        else "An admin can buy credits or enable top-ups on the Usage page."
    )
    return {
        "title": "Credits are running low",
        "message": f"{available} credits are available, fewer than the threshold of {threshold}. {todo}",
        "available": format_credits(fact.available_credits), "threshold": format_credits(fact.threshold_credits),
        "top_up_enabled": fact.top_up_enabled,
    }  # fmt: skip


def _ran_out(fact: BalanceRanOut) -> dict[str, Any]:
    below = f", and {_words(-fact.available_credits)} more than there were" if fact.available_credits < 0 else ""
    return {
        "title": "Credits are used up",
        "message": f"All credits are used or set aside{below}. New work may be refused until there are some again: an admin can buy credits on the Usage page.",
        "available": format_credits(fact.available_credits),
    }  # fmt: skip


def _recovered(fact: BalanceRecovered) -> dict[str, Any]:
    return {
        "title": "Credits are back above the threshold",
        "message": f"{_words(fact.available_credits)} credits are available again. There is nothing to be done.",
        "available": format_credits(fact.available_credits), "threshold": format_credits(fact.threshold_credits),
    }  # fmt: skip


def _failed(fact: TopUpFailed) -> dict[str, Any]:
    return {
        "title": "A top-up failed", "message": f"No money was taken and no credits were added. {FAILED[fact.reason]}",
        "attempt_id": fact.attempt_id, "reason": fact.reason, "decline_code": fact.decline_code,
        "next_try_at": fact.next_try_at,
    }  # fmt: skip


def _words(micro: MicroCredits) -> str:
    """Credits with commas between the thousands."""
    whole, point, part = format_credits(micro).partition(".")
    return f"{'-' if whole.startswith('-') else ''}{abs(int(whole)):,}{point}{part}"
