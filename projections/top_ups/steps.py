"""An attempt to charge, step by step: what follows from the intent as Stripe has it now."""

from enum import StrEnum

from projections.top_ups.state import Attempt, TopUps
from schemas.catalog import Catalog


def is_wanted(state: TopUps, attempt: Attempt, catalog: Catalog) -> bool:
    """True while an attempt that is not confirmed yet shall go on.

    Top-ups are on, not paused, and part of the plan; its low episode lasts, and its card is still the card.
    """
    episode, card = state.episode, state.card
    if not state.enabled or state.suspension is not None or not catalog.may_top_up(state.plan):
        return False
    if episode is None or card is None:
        return False
    return episode.ran_low_id == attempt.ran_low_id and card.payment_method_id == attempt.payment_method_id


class AttemptStep(StrEnum):
    """What to do next about an attempt, given its intent as Stripe has it."""

    CREDIT = "credit"
    CONFIRM = "confirm"
    ASK_OWNER = "ask_owner"
    WAIT = "wait"
    CANCEL = "cancel"
    FAIL = "fail"


def next_step(intent_state: str, remedy: str | None, *, is_wanted: bool, waited_long: bool) -> AttemptStep:
    """The step that follows from an intent's state: only `succeeded` is money, and only `cancelled` is the end of hope.

    Args:
        intent_state: as Stripe has it now.
        remedy: what would help after the last decline: `retry_later`, `needs_card`, `needs_authentication`, or None.
        is_wanted: see `decisions.is_wanted`.
        waited_long: the owner of the card was asked a long time ago.
    """
    asks_owner = intent_state == "requires_action" or remedy == "needs_authentication"
    match intent_state:
        case "succeeded":
            return AttemptStep.CREDIT
        case "cancelled":
            return AttemptStep.FAIL
        case "requires_confirmation":
            return AttemptStep.CONFIRM if is_wanted else AttemptStep.CANCEL
        case "requires_action" | "requires_payment_method":
            return AttemptStep.ASK_OWNER if asks_owner and is_wanted and not waited_long else AttemptStep.CANCEL
        case _:
            return AttemptStep.WAIT
