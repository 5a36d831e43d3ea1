"""Top-ups of a team: what the log says about them. What is decided from it is told in `projections.top_ups.decisions`.

A low episode begins when the balance runs low and ends when it has recovered. Within it, decisions fall at certain
points: at the crossing, at the end of a cool-down, at a new month after a cap, at a changed card, setting or plan, when
somebody has paid. At each of them the answer is a fact: a top-up is requested, or skipped with its reason. Nothing
stops in silence. A point that finds the balance above the threshold, yet not recovered, stays until the balance is
below once more.

An attempt is named after its episode and the number of attempts that ended in it before. So whoever decides twice names
the same attempt. It ends only when Stripe can't take money for it any more, or has taken it.

Pure: no clock, no store, no Stripe. States are frozen values; `evolve` gives the next one.
"""

from datetime import datetime, timedelta
from typing import Self, assert_never

from pydantic import AwareDatetime, BaseModel, ConfigDict

from projections.balance.state import ALWAYS
from projections.top_ups.months import month_of
from schemas.credits import MicroCredits
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

VERSION = 4  # of the saved form: states of another version are folded anew
DECLINES_MAX = 3
RECENT = timedelta(days=1)
# A clock may show the last month again: where it is turned back over midnight, or where a plan brings another zone.
MONTH_IS_OVER = timedelta(days=2)
OFTEN = 6  # within a day: each closes the whole gap, so a team that needs so many has set too little, or has a leak


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class TopUpChoices(_Value):
    """What the admin chose last."""

    enabled: bool
    threshold_credits: MicroCredits
    credits: MicroCredits | None
    restore_to_credits: MicroCredits | None
    monthly_cap_cents: int | None
    currency: str
    max_per_month: int | None
    cool_down_seconds: int


class ChargedCard(_Value):
    """What top-ups are charged to."""

    customer_id: str
    payment_method_id: str
    fingerprint: str | None
    brand: str | None = None
    last4: str | None = None


class Episode(_Value):
    """The time from running low to having recovered; `ended` counts its attempts that are over for good."""

    ran_low_id: str
    ended: int = 0


class Attempt(_Value):
    """A charge under way, with everything frozen that was decided.

    Attributes:
        attempt_id: names the attempt; it is worked out, never drawn.
        ran_low_id: the fact that opened the episode.
        credits: what the charge will bring.
        charge_cents: what Stripe is to take.
        currency: of the charge.
        customer_id: the team, as Stripe knows it.
        payment_method_id: the card that is charged.
        fingerprint: that card's number, as Stripe tells it apart.
        requested_at: when the attempt was decided.
        payment_intent_id: Stripe's intent, once there is one.
        action_required: the bank waits for an admin to confirm.
    """

    attempt_id: str
    ran_low_id: str
    number: int = 0
    credits: MicroCredits
    charge_cents: int
    currency: str
    customer_id: str
    payment_method_id: str
    fingerprint: str | None
    requested_at: AwareDatetime
    payment_intent_id: str | None = None
    action_required: bool = False


class Reserved(_Value):
    """What an attempt takes of a month's caps, until it has failed for good."""

    month: str
    cents: int
    currency: str


class Point(_Value):
    """A decision that is due at an instant."""

    name: str
    at: AwareDatetime


class Suspension(_Value):
    """Top-ups pause, until another card comes, somebody pays, or the payment is settled for which they pause."""

    cause: str
    reason: str
    fingerprint: str | None
    payment_intent_id: str | None = None
    paid: bool = False


class TopUps(_Value):
    """A team's state after `position`.

    Attributes:
        team_id: whose top-ups these are.
        position: the last fact that was folded, 0 before the first.
        zone: the time zone of the team's months.
        plan: the plan in force.
        settings: what an admin chose last.
        card: the card that is charged.
        episode: the time of running low, while it lasts.
        open: the attempt under way: there is one at most.
        cool_until: no attempt begins before.
        last_attempt_id: the last attempt that ended.
        declines: those in a row of the card on file.
        card_is_dead: the bank says that the card will not do, today or tomorrow.
        suspension: why top-ups pause.
        reserved: what attempts take of the caps, by the attempt's id.
        recent: when the last top-ups were requested, within a day and no more than `OFTEN` of them.
        point: the next decision that is due.
    """

    team_id: str
    position: int = 0
    zone: str = "UTC"
    plan: str = ""
    settings: TopUpChoices | None = None
    card: ChargedCard | None = None
    episode: Episode | None = None
    open: Attempt | None = None
    cool_until: AwareDatetime = ALWAYS
    last_attempt_id: str = ""
    declines: int = 0
    card_is_dead: bool = False
    suspension: Suspension | None = None
    reserved: dict[str, Reserved] = {}
    recent: tuple[AwareDatetime, ...] = ()
    point: Point | None = None

    @property
    def enabled(self) -> bool:
        """True while an admin wants top-ups."""
        return self.settings is not None and self.settings.enabled

    @property
    def unusually_often(self) -> bool:
        """True when this team had many top-ups within a day: somebody should look."""
        return len(self.recent) >= OFTEN

    def charges_cents(self, month: str, currency: str) -> list[int]:
        """What each top-up of a month takes of its caps, in cents: nothing of a cap in another currency.

        The catalog's may have changed.
        """
        of_month = (reserved for reserved in self.reserved.values() if reserved.month == month)
        return [reserved.cents if reserved.currency == currency else 0 for reserved in of_month]

    def but(self, **changes: object) -> Self:
        """The same with something changed."""
        return self.model_copy(update=changes)


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
        case CreditsPurchased():
            return _paid(state, stored)
        case TopUpSuspended():
            suspension = Suspension(
                cause=fact.cause, reason=fact.reason, fingerprint=fact.fingerprint, payment_intent_id=fact.payment_intent_id
            )  # fmt: skip
            return state.but(suspension=suspension)
        case CreditsAdjusted():
            settles = state.suspension is not None and fact.refers_to == state.suspension.payment_intent_id
            return _paid(state, stored) if settles and fact.refers_to is not None else state
        case TopUpResumed():
            # A card that was declined and is still on file is tried once: the next decline pauses again.
            declines = min(state.declines, DECLINES_MAX - 1)
            resumed = state.but(suspension=None, declines=declines, card_is_dead=False)
            return _decide_anew(resumed, f"resumed:{stored.position}", now)
        case TopUpIntentCancelled() | BalanceRanOut() | PeriodSealed() | PurchaseRequested():
            return state
        case UsageRecorded() | UsageVoided() | CreditsFact() | HoldFact() | ReversalFact() | AdminFact():
            return state
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
        return _paid(
            state, stored
        )  # who saves them again has been told why they pause; what is not settled is found again
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
