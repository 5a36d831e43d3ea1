"""Top-ups of a team: what the log says about them, and the one decision that follows from it.

A low episode begins when the balance runs low and ends when it has recovered. Within it, decisions fall at certain points: at
the crossing, at the end of a cool-down, at a new month after a cap, at a changed card or setting, when somebody has paid.
At each of them the answer is a fact: a top-up is requested, or skipped with its reason. Nothing stops in silence.

An attempt is named after its episode and the number of attempts that ended in it before, so that whoever decides twice
names the same attempt; and it ends only when Stripe can't take money for it any more, or has taken it.

Pure: no clock, no store, no Stripe. States are frozen values; `evolve` gives the next one.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self, assert_never
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict

from projections.balance import ALWAYS
from schemas.catalog import Catalog
from schemas.credits import format_credits
from schemas.cycles import instant_of, load_zone
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    ChargeDisputed,
    ChargeRefunded,
    CreditsAdjusted,
    CreditsExpired,
    CreditsGranted,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    DisputeClosed,
    HoldCaptured,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    MemberErased,
    MemberLimited,
    PaymentMethodChanged,
    PeriodSealed,
    PlanAssigned,
    RateCardPublished,
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

VERSION = 1  # of the saved form: states of another version are folded anew
ATTEMPTS = UUID("6f1c1de5-7d3c-5f1e-9a55-3f0c2b8f4f10")  # the namespace of attempts; never change it
DECLINES_MAX = 3
CHARGE_MAX_CENTS = 99_999_999  # Stripe takes no more at once


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Settings(_Value):
    """What the admin chose last."""

    enabled: bool
    threshold_credits: int
    credits: int | None
    restore_to_credits: int | None
    monthly_cap_cents: int | None
    currency: str
    max_per_month: int | None
    cool_down_seconds: int


class Card(_Value):
    """What top-ups are charged to."""

    customer_id: str
    payment_method_id: str
    fingerprint: str | None


class Episode(_Value):
    """The time from running low to having recovered; `ended` counts its attempts that are over for good."""

    ran_low_id: str
    ended: int = 0


class Attempt(_Value):
    """A charge under way, with everything frozen that was decided."""

    attempt_id: str
    ran_low_id: str
    credits: int
    charge_cents: int
    currency: str
    customer_id: str
    payment_method_id: str
    requested_at: AwareDatetime
    payment_intent_id: str | None = None
    action_required: bool = False


class Reserved(_Value):
    """What an attempt takes of a month's caps, until it has failed for good."""

    month: str
    cents: int


class Point(_Value):
    """A decision that is due at an instant."""

    name: str
    at: AwareDatetime


class Suspension(_Value):
    """Top-ups pause; they go on with another card, or when somebody has paid."""

    fingerprint: str | None
    paid: bool = False


class TopUps(_Value):
    """A team's state after `position`."""

    team_id: str
    position: int = 0
    zone: str = "UTC"
    settings: Settings | None = None
    card: Card | None = None
    episode: Episode | None = None
    open: Attempt | None = None
    cool_until: AwareDatetime = ALWAYS
    last_attempt_id: str = ""
    declines: int = 0
    suspension: Suspension | None = None
    reserved: dict[str, Reserved] = {}
    point: Point | None = None

    @property
    def enabled(self) -> bool:
        """True while an admin wants top-ups."""
        return self.settings is not None and self.settings.enabled

    def but(self, **changes: object) -> Self:
        """The same with something changed."""
        return self.model_copy(update=changes)


def evolve(state: TopUps, stored: Stored, fact: AnyFact) -> TopUps:  # noqa: C901, PLR0911, PLR0912 - a case for each fact
    """Take a state one fact further. Facts that have nothing to do with top-ups only move its position."""
    state, now = state.but(position=stored.position), stored.recorded_at
    match fact:
        case PlanAssigned():
            return state.but(zone=fact.zone)
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
        case TopUpRequested():
            return _requested(state, stored, fact)
        case TopUpIntentCreated():
            return _under_way(state, fact.attempt_id, payment_intent_id=fact.payment_intent_id)
        case TopUpActionRequired():
            return _under_way(state, fact.attempt_id, action_required=True)
        case TopUpFailed():
            reserved = {name: kept for name, kept in state.reserved.items() if name != fact.attempt_id}
            declines = state.declines + fact.reason.startswith("declined_")
            return _ended(state.but(reserved=reserved, declines=declines), fact.attempt_id, now)
        case CreditsToppedUp():
            return _ended(state.but(declines=0), fact.attempt_id, now)
        case CreditsPurchased():
            return _paid(state, stored)
        case TopUpSuspended():
            return state.but(suspension=Suspension(fingerprint=fact.fingerprint))
        case TopUpResumed():
            return _decide_anew(state.but(suspension=None, declines=0), f"resumed:{stored.position}", now)
        case (
            UsageRecorded()
            | UsageVoided()
            | CreditsRefilled()
            | CreditsGranted()
            | CreditsAdjusted()
            | CreditsExpired()
            | BalanceRanOut()
            | TopUpIntentCancelled()
            | HoldPlaced()
            | HoldExtended()
            | HoldCaptured()
            | HoldReleased()
            | HoldExpired()
            | ChargeRefunded()
            | ChargeDisputed()
            | DisputeClosed()
            | MemberLimited()
            | RateCardPublished()
            | PeriodSealed()
            | MemberErased()
        ):
            return state
        case _:
            assert_never(fact)


def _configured(state: TopUps, stored: Stored, fact: TopUpConfigured) -> TopUps:
    chosen = Settings(
        enabled=fact.enabled, threshold_credits=fact.threshold_credits, credits=fact.credits,
        restore_to_credits=fact.restore_to_credits, monthly_cap_cents=fact.monthly_cap_cents, currency=fact.currency,
        max_per_month=fact.max_per_month, cool_down_seconds=fact.cool_down_seconds,
    )  # fmt: skip
    concerns = fact.enabled or state.enabled
    state = state.but(settings=chosen)
    return _decide_anew(state, f"settings:{stored.position}", stored.recorded_at) if concerns else state


def _with_card(state: TopUps, stored: Stored, fact: PaymentMethodChanged) -> TopUps:
    card = fact.payment_method_id and Card(
        customer_id=fact.customer_id, payment_method_id=fact.payment_method_id, fingerprint=fact.fingerprint
    )
    same = state.card is not None and bool(card) and state.card.fingerprint == fact.fingerprint
    state = state.but(card=card or None, declines=state.declines if same else 0)
    return _decide_anew(state, f"card:{stored.position}", stored.recorded_at) if state.enabled else state


def _decide_anew(state: TopUps, name: str, at: datetime) -> TopUps:
    """Something has changed that may change the answer."""
    return state if state.episode is None else state.but(point=Point(name=name, at=at))


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
    kept = {name: reserved for name, reserved in state.reserved.items() if reserved.month == month}
    attempt = Attempt(
        attempt_id=fact.attempt_id, ran_low_id=fact.ran_low_id, credits=fact.credits, charge_cents=fact.charge_cents,
        currency=fact.currency, customer_id=fact.customer_id, payment_method_id=fact.payment_method_id,
        requested_at=stored.recorded_at,
    )  # fmt: skip
    reserved = {**kept, fact.attempt_id: Reserved(month=month, cents=fact.charge_cents)}
    return state.but(open=attempt, reserved=reserved, point=None)


def _ended(state: TopUps, attempt_id: str, now: datetime) -> TopUps:
    """An attempt is over for good; the next decision falls at the end of the cool-down."""
    if state.open is None or state.open.attempt_id != attempt_id:
        return state
    episode, attempt = state.episode, state.open
    until = now + timedelta(seconds=state.settings.cool_down_seconds if state.settings else 0)
    if episode is not None and episode.ran_low_id == attempt.ran_low_id:
        episode = episode.model_copy(update={"ended": episode.ended + 1})
    point = Point(name=f"cool_down:{attempt_id}", at=until) if episode is not None and state.enabled else None
    return state.but(open=None, episode=episode, cool_until=until, last_attempt_id=attempt_id, point=point)


def _after_skip(state: TopUps, fact: TopUpSkipped, now: datetime) -> Point | None:
    """The next decision, where the calendar brings one; otherwise something has to change first."""
    if fact.next_decision_at is None:
        return None
    cooling = fact.reason == "cooling_down"
    name = f"cool_down:{state.last_attempt_id}" if cooling else f"month:{month_of(fact.next_decision_at, state.zone)}"
    return Point(name=name, at=max(fact.next_decision_at, now))


def decide(state: TopUps, available: int, now: datetime, catalog: Catalog) -> TopUpRequested | TopUpSkipped | None:
    """The decision that is due; None when none is, or while the balance (exact, at the head of the log) is not low."""
    if state.episode is None or state.point is None or state.point.at > now:
        return None
    chosen = state.settings
    if chosen is None or not chosen.enabled:
        return _skip(state, "disabled")
    if available >= chosen.threshold_credits:
        return None
    if (obstacle := _obstacle(state, now)) is not None:
        return obstacle
    return _within_caps(state, chosen, available, now, catalog)


def _obstacle(state: TopUps, now: datetime) -> TopUpSkipped | None:
    """What forbids any charge now, whatever its size."""
    if state.open is not None:
        return _skip(state, "in_flight", f"attempt {state.open.attempt_id} is under way")
    if state.suspension is not None:
        return _skip(state, "suspended", "paused after repeated declines, until the card changes or somebody pays")
    if state.card is None:
        return _skip(state, "no_payment_method")
    if now < state.cool_until:
        return _skip(state, "cooling_down", None, state.cool_until)
    return None


def _within_caps(
    state: TopUps, chosen: Settings, available: int, now: datetime, catalog: Catalog
) -> TopUpRequested | TopUpSkipped:
    gained, cents = next_charge(chosen, available, catalog)
    month, following = month_of(now, state.zone), next_month(now, state.zone)
    taken = [reserved.cents for reserved in state.reserved.values() if reserved.month == month]
    most, cap = chosen.max_per_month, chosen.monthly_cap_cents
    if most is not None and len(taken) >= most:
        return _skip(state, "cap_count", f"{len(taken)} of {most} top-ups of this month are made", following)
    if cap is not None and (sum(taken) + cents > cap or chosen.currency != catalog.top_up.currency):
        price = f"{format_credits(gained)} credits cost {cents} {catalog.top_up.currency} cents"
        return _skip(
            state,
            "cap_money",
            f"{price}; {sum(taken)} of {cap} {chosen.currency} cents of this month are taken",
            following,
        )
    if cents > CHARGE_MAX_CENTS:
        return _skip(
            state, "cap_money", f"{cents} cents are more than one charge may take; buy credits instead", following
        )
    assert state.episode is not None
    assert state.card is not None
    return TopUpRequested(
        attempt_id=str(attempt_of(state.team_id, state.episode)), ran_low_id=state.episode.ran_low_id,
        attempt=state.episode.ended, credits=gained, charge_cents=cents, currency=catalog.top_up.currency,
        customer_id=state.card.customer_id, payment_method_id=state.card.payment_method_id,
    )  # fmt: skip


def _skip(state: TopUps, reason: str, detail: str | None = None, following: datetime | None = None) -> TopUpSkipped:
    assert state.episode is not None
    assert state.point is not None
    return TopUpSkipped.model_validate({
        "ran_low_id": state.episode.ran_low_id, "decision": state.point.name, "reason": reason, "detail": detail,
        "next_decision_at": following,
    })  # fmt: skip


def attempt_of(team_id: str, episode: Episode) -> UUID:
    """The one name that the next attempt of an episode can have."""
    return uuid5(uuid5(ATTEMPTS, f"{team_id}\n{episode.ran_low_id}"), str(episode.ended))


def next_charge(chosen: Settings | TopUpConfigured, available: int, catalog: Catalog) -> tuple[int, int]:
    """Micro-credits and cents of the one charge that closes the whole gap; money is rounded up once."""
    price = catalog.top_up
    if chosen.credits:
        times = max(1, _ceil(chosen.threshold_credits - available, chosen.credits))
        wanted = chosen.credits * times
    else:
        wanted = (chosen.restore_to_credits or chosen.threshold_credits) - available
    gained = _ceil(max(wanted, price.min_credits), price.step) * price.step
    return gained, catalog.top_up_charge_cents(gained)


def _ceil(amount: int, step: int) -> int:
    return -(-amount // step)


def month_of(instant: datetime, zone: str) -> str:
    """The calendar month that a team's own clock shows, such as 2026-11."""
    return instant.astimezone(load_zone(zone)).strftime("%Y-%m")


def next_month(instant: datetime, zone: str) -> datetime:
    """When the team's next calendar month begins, in UTC."""
    rules = load_zone(zone)
    first = instant.astimezone(rules).replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return instant_of((first + timedelta(days=32)).replace(day=1), rules).astimezone(UTC)


def suspension_due(state: TopUps) -> TopUpSuspended | None:
    """After the third decline in a row of a card, top-ups pause."""
    if state.declines < DECLINES_MAX or state.suspension is not None:
        return None
    fingerprint = state.card.fingerprint if state.card is not None else None
    return TopUpSuspended(reason="the card was declined three times", declines=state.declines, fingerprint=fingerprint)


def resumption_due(state: TopUps) -> TopUpResumed | None:
    """Another card, or money by another way, ends the pause."""
    if state.suspension is None:
        return None
    if state.suspension.paid:
        return TopUpResumed(reason="somebody paid")
    if state.card is not None and state.card.fingerprint != state.suspension.fingerprint:
        return TopUpResumed(reason="the card was changed")
    return None


class Step(StrEnum):
    """What to do next about an attempt, given its intent as Stripe has it."""

    CREDIT = "credit"
    CONFIRM = "confirm"
    ASK_OWNER = "ask_owner"
    WAIT = "wait"
    CANCEL = "cancel"
    FAIL = "fail"


def next_step(intent_state: str, remedy: str | None, *, wanted: bool, waited_long: bool) -> Step:
    """The step that follows from an intent's state: only `succeeded` is money, and only `cancelled` is the end of hope.

    Args:
        intent_state: as Stripe has it now.
        remedy: what would help after the last decline: `retry_later`, `needs_card`, `needs_authentication`, or None.
        wanted: the episode of the attempt goes on and top-ups are still on.
        waited_long: the owner of the card was asked a long time ago.
    """
    asks_owner = intent_state == "requires_action" or remedy == "needs_authentication"
    match intent_state:
        case "succeeded":
            return Step.CREDIT
        case "cancelled":
            return Step.FAIL
        case "requires_confirmation":
            return Step.CONFIRM if wanted else Step.CANCEL
        case "requires_action" | "requires_payment_method":
            return Step.ASK_OWNER if asks_owner and wanted and not waited_long else Step.CANCEL
        case _:
            return Step.WAIT
