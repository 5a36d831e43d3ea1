"""What each fact makes of a team's top-ups: the fold of their state.

Pure: no clock, no store, no Stripe. States are frozen values; `evolve` gives the next one.
"""

from datetime import datetime, timedelta
from typing import assert_never

from projections.top_ups.months import month_of
from projections.top_ups.state import (
    DECLINES_MAX,
    MONTH_IS_OVER,
    OFTEN,
    RECENT,
    Attempt,
    ChargedCard,
    Episode,
    Point,
    Reserved,
    Suspension,
    TopUpChoices,
    TopUps,
)
from schemas.facts import (
    AdminFact,
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    CreditsAdjusted,
    CreditsFact,
    CreditsPurchased,
    CreditsToppedUp,
    HoldFact,
    PaymentMethodChanged,
    PeriodSealed,
    PlanAssigned,
    PurchaseRequested,
    ReversalFact,
    Stored,
    TopUpActionRequired,
    TopUpConfigured,
    TopUpFailed,
    TopUpIntentCancelled,
    TopUpIntentCreated,
    TopUpRequested,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
    UsageRecorded,
    UsageVoided,
)


def evolve(state: TopUps, stored: Stored, fact: AnyFact) -> TopUps:  # noqa: C901, PLR0911, PLR0912 - a case for each fact
    """Take a state one fact further. Facts that have nothing to do with top-ups only move its position."""
    state, now = state.but(position=stored.position), stored.recorded_at
    match fact:
        case PlanAssigned():
            return _planned(state, stored, fact)
        case TopUpConfigured():
            return _configured(state, stored, fact)
        case PaymentMethodChanged():
            return _with_card(state, stored, fact)
        case BalanceRanLow():
            point = Point(name="crossing", at=now) if fact.top_up_enabled else None
            return state.but(episode=Episode(ran_low_id=stored.id), point=point)
        case BalanceRecovered():
            return state.but(episode=None, point=None)
        case TopUpSkipped():
            return state.but(point=_after_skip(state, fact, now))
        case TopUpRequested() | TopUpIntentCreated() | TopUpActionRequired() | TopUpFailed() | CreditsToppedUp():
            return _attempted(state, stored, fact)
        case CreditsPurchased():
            return _paid(state, stored)
        case CreditsAdjusted():
            return _paid(state, stored) if _settles(state, fact) else state
        case TopUpSuspended():
            return state.but(suspension=_suspension(fact))
        case TopUpResumed():
            return _resumed(state, stored)
        case TopUpIntentCancelled() | BalanceRanOut() | PeriodSealed() | PurchaseRequested():
            return state
        case UsageRecorded() | UsageVoided() | CreditsFact() | HoldFact() | ReversalFact() | AdminFact():
            return state
        case _:
            assert_never(fact)


def _attempted(
    state: TopUps,
    stored: Stored,
    fact: TopUpRequested | TopUpIntentCreated | TopUpActionRequired | TopUpFailed | CreditsToppedUp,
) -> TopUps:
    """An attempt is taken one step further, from the decision to its end."""
    now = stored.recorded_at
    match fact:
        case TopUpRequested():
            return _requested(state, stored, fact)
        case TopUpIntentCreated():
            return _under_way(state, fact.attempt_id, payment_intent_id=fact.payment_intent_id)
        case TopUpActionRequired():
            return _under_way(state, fact.attempt_id, action_required=True)
        case TopUpFailed():
            reserved = {name: kept for name, kept in state.reserved.items() if name != fact.attempt_id}
            again_at = fact.next_try_at if fact.reason == "refused" else None
            return _ended(_declined(state.but(reserved=reserved), fact), fact.attempt_id, now, again_at)
        case CreditsToppedUp():
            reserved = state.reserved
            if fact.attempt_id in reserved:  # what was taken counts, should it be another amount than was asked for
                charge = reserved[fact.attempt_id].model_copy(update={"cents": fact.charge_cents})
                reserved = {**reserved, fact.attempt_id: charge}
            return _ended(state.but(declines=0, card_is_dead=False, reserved=reserved), fact.attempt_id, now)
        case _:
            assert_never(fact)


def _planned(state: TopUps, stored: Stored, fact: PlanAssigned) -> TopUps:
    changed = state.enabled and fact.plan != state.plan
    state = state.but(zone=fact.zone, plan=fact.plan)
    return _decide_anew(state, f"plan:{stored.position}", stored.recorded_at) if changed else state


def _configured(state: TopUps, stored: Stored, fact: TopUpConfigured) -> TopUps:
    chosen = TopUpChoices(
        enabled=fact.enabled, threshold_credits=fact.threshold_credits, credits=fact.credits,
        restore_to_credits=fact.restore_to_credits, monthly_cap_cents=fact.monthly_cap_cents, currency=fact.currency,
        max_per_month=fact.max_per_month, cool_down_seconds=fact.cool_down_seconds,
    )  # fmt: skip
    concerns = fact.enabled or state.enabled
    state = state.but(settings=chosen)
    if state.suspension is not None and state.suspension.cause == "payment":
        # Who saves them again has been told why they pause; what is not settled is found again.
        return _paid(state, stored)
    return _decide_anew(state, f"settings:{stored.position}", stored.recorded_at) if concerns else state


def _with_card(state: TopUps, stored: Stored, fact: PaymentMethodChanged) -> TopUps:
    card = fact.payment_method_id and ChargedCard(
        customer_id=fact.customer_id, payment_method_id=fact.payment_method_id, fingerprint=fact.fingerprint,
        brand=fact.brand, last4=fact.last4,
    )  # fmt: skip
    same = state.card is not None and bool(card) and state.card.fingerprint == fact.fingerprint
    state = state.but(card=card or None)
    state = state if same else state.but(declines=0, card_is_dead=False)
    return _decide_anew(state, f"card:{stored.position}", stored.recorded_at) if state.enabled else state


def _decide_anew(state: TopUps, name: str, at: datetime) -> TopUps:
    """Something has changed that may change the answer."""
    return state if state.episode is None else state.but(point=Point(name=name, at=at))


def _settles(state: TopUps, fact: CreditsAdjusted) -> bool:
    """True when a person has settled the payment for which top-ups pause."""
    return (
        fact.refers_to is not None
        and state.suspension is not None
        and fact.refers_to == state.suspension.payment_intent_id
    )


def _suspension(fact: TopUpSuspended) -> Suspension:
    return Suspension(
        cause=fact.cause, reason=fact.reason, fingerprint=fact.fingerprint, payment_intent_id=fact.payment_intent_id
    )


def _resumed(state: TopUps, stored: Stored) -> TopUps:
    """A card that was declined and is still on file is tried once: the next decline pauses again."""
    declines = min(state.declines, DECLINES_MAX - 1)
    resumed = state.but(suspension=None, declines=declines, card_is_dead=False)
    return _decide_anew(resumed, f"resumed:{stored.position}", stored.recorded_at)


def _paid(state: TopUps, stored: Stored) -> TopUps:
    """Somebody bought credits: whoever pays by hand has a card that works."""
    if state.suspension is None:
        return state
    suspension = state.suspension.model_copy(update={"paid": True})
    return _decide_anew(state.but(suspension=suspension), f"paid:{stored.position}", stored.recorded_at)


def _under_way(state: TopUps, attempt_id: str, **changes: object) -> TopUps:
    if state.open is None or state.open.attempt_id != attempt_id:
        return state
    return state.but(open=state.open.model_copy(update=changes))


def _requested(state: TopUps, stored: Stored, fact: TopUpRequested) -> TopUps:
    month = month_of(stored.recorded_at, state.zone)
    oldest = month_of(stored.recorded_at - MONTH_IS_OVER, state.zone)
    kept = {name: reserved for name, reserved in state.reserved.items() if reserved.month >= oldest}
    attempt = Attempt(
        attempt_id=fact.attempt_id, ran_low_id=fact.ran_low_id, number=fact.attempt, credits=fact.credits, charge_cents=fact.charge_cents,
        currency=fact.currency, customer_id=fact.customer_id, payment_method_id=fact.payment_method_id,
        fingerprint=state.card.fingerprint if state.card is not None else None, requested_at=stored.recorded_at,
    )  # fmt: skip
    reserved = {**kept, fact.attempt_id: Reserved(month=month, cents=fact.charge_cents, currency=fact.currency)}
    recent = (*(at for at in state.recent if at > stored.recorded_at - RECENT), stored.recorded_at)[-OFTEN:]
    return state.but(open=attempt, reserved=reserved, recent=recent, point=None)


def _declined(state: TopUps, fact: TopUpFailed) -> TopUps:
    """What a failure says about the card on file; nothing, when another one was charged or the bank was not asked."""
    attempt, card = state.open, state.card
    if attempt is None or attempt.attempt_id != fact.attempt_id or not fact.reason.startswith("declined_"):
        return state
    if card is None or card.fingerprint != attempt.fingerprint:
        return state
    dead = state.card_is_dead or fact.reason == "declined_needs_card"
    return state.but(declines=state.declines + 1, card_is_dead=dead)


def _ended(state: TopUps, attempt_id: str, now: datetime, again_at: datetime | None = None) -> TopUps:
    """An attempt is over for good; the next decision falls at the end of the cool-down, or when the fact says."""
    if state.open is None or state.open.attempt_id != attempt_id:
        return state
    episode, attempt = state.episode, state.open
    until = again_at or now + timedelta(seconds=state.settings.cool_down_seconds if state.settings else 0)
    if episode is not None and episode.ran_low_id == attempt.ran_low_id:
        episode = episode.model_copy(update={"ended": episode.ended + 1})
    point = Point(name=f"cool_down:{attempt_id}", at=until) if episode is not None and state.enabled else None
    return state.but(open=None, episode=episode, cool_until=until, last_attempt_id=attempt_id, point=point)


def _after_skip(state: TopUps, fact: TopUpSkipped, now: datetime) -> Point | None:
    """The next decision, where the calendar brings one; otherwise something has to change first.

    No name comes twice.
    """
    following = fact.next_decision_at
    if following is None:
        return None
    cooling = fact.reason == "cooling_down"
    name = f"cool_down:{state.last_attempt_id}" if cooling else f"month:{month_of(following, state.zone)}"
    return Point(name=name, at=max(following, now))
