"""Sixty days of many teams whose members, banks and admins mean no good, without a socket: is every promise about top-ups kept?

`projections` decides; this file plays the rest: usage that leaps over the threshold or flickers around it, cards that are
declined, ask for their owner or take days, admins who change their minds, workers that are away for a week. What is checked is
counted here anew, from what was charged, and never taken from the state that decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from projections.balance.state import recovered
from projections.top_ups.decisions import decide, foresee, resumption_due, suspension_due
from projections.top_ups.fold import evolve
from projections.top_ups.state import DECLINES_MAX, TopUps
from projections.top_ups.steps import AttemptStep, is_wanted, next_step
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRecovered,
    CreditsPurchased,
    CreditsToppedUp,
    PaymentMethodChanged,
    PlanAssigned,
    Stored,
    TopUpActionRequired,
    TopUpConfigured,
    TopUpFailed,
    TopUpIntentCreated,
    TopUpRequested,
    TopUpSkipped,
)

USUAL = load_catalog()
# Caps are what admins set here; the usual limits would end most teams' months too soon.
LIMITLESS = {"max_charge": 99_999_999, "monthly_cap": 10**9}
CATALOG = USUAL.model_copy(update={"top_up": USUAL.top_up.model_copy(update=LIMITLESS)})
BEGIN = datetime(2026, 1, 20, tzinfo=UTC)
DAYS = 60
DAY = timedelta(days=1)
ZONES = ("UTC", "Pacific/Auckland", "America/New_York", "Asia/Kolkata", "Africa/Cairo")
CARDS = ("good", "good", "dead", "lost", "flaky", "asks", "slow")
ALLOWANCE, NOTICE = 3_000, 300


@dataclass
class Made:
    """A charge as this file remembers it; `cents` is None once it has failed for good."""

    at: datetime
    month: str
    cents: int | None
    card: str
    payments_before: int


def simulate(seed: int, days: int = DAYS) -> "Team":
    """Two months of one team, always the same for a seed."""
    return Team(seed).play(days)


@dataclass
class Team:
    """One team's two months, and what was seen to go wrong."""

    seed: int
    now: datetime = BEGIN
    available: int = ALLOWANCE
    low: bool = False
    card: str = ""
    cards: int = 0
    payments: int = 0
    position: int = 0
    away_until: datetime = BEGIN
    intent: str = "none"
    remedy: str | None = None
    asked_at: datetime = BEGIN
    made: dict[str, Made] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    decisions: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.zone = self.random.choice(ZONES)
        self.state = TopUps(team_id=f"team_{self.seed}")
        self.pace = self.random.choice((5, 40, 300))  # credits of an hour

    def play(self, days: int) -> "Team":
        """Hour by hour, more or less."""
        self.tell(PlanAssigned(plan="pro", anchor=BEGIN, zone=self.zone, allowance_credits=ALLOWANCE * MICRO))
        self.saves_settings()
        self.changes_card()
        end = BEGIN + timedelta(days=days)
        while self.now < end:
            self.now += timedelta(minutes=self.random.choice((1, 20, 90, 240)))
            self.something_happens()
            self.judge()
            if self.now >= self.away_until:
                self.worker_looks()
                self.judge()
        return self

    def tell(self, fact: AnyFact, name: str = "") -> None:
        """Into the log."""
        self.position += 1
        if name in self.names:
            self.wrong.append(f"{self.now}: {name} was decided twice")
        self.names |= {name} if name else set()
        stored = Stored(
            0,
            self.position,
            self.now,
            self.now,
            self.state.team_id,
            "simulated",
            name or f"n:{self.position}",
            fact.type,
            b"",
        )
        self.state = evolve(self.state, stored, fact)

    def something_happens(self) -> None:
        """What members, admins and the calendar do."""
        match self.random.random():
            case chance if chance < 0.75:
                self.available -= self.random.randint(0, 2 * self.pace)
            case chance if chance < 0.80:
                self.available -= self.random.choice((self.pace * 50, 10_000))
            case chance if chance < 0.90:
                self.available += self.random.randint(0, self.pace)  # voids, and holds that are released
            case chance if chance < 0.925:
                self.saves_settings()
            case chance if chance < 0.945:
                self.changes_card()
            case chance if chance < 0.955:
                self.pays_by_hand()
            case chance if chance < 0.96:
                self.away_until = self.now + self.random.choice((timedelta(hours=3), timedelta(days=8)))
            case chance if chance < 0.97:
                self.available += ALLOWANCE

    def saves_settings(self) -> None:
        """Anything that the API lets pass."""
        threshold = self.random.choice((100, 1_000, 5_000)) * MICRO
        fixed = self.random.random() < 0.6
        self.tell(TopUpConfigured(
            enabled=self.random.random() < 0.85, threshold_credits=threshold,
            credits=self.random.choice((500, 2_000, 10_000)) * MICRO if fixed else None,
            restore_to_credits=None if fixed else 3 * threshold + 500 * MICRO,
            monthly_cap_cents=self.random.choice((None, 15_000, 30_000, 100_000)), currency="usd",
            max_per_month=self.random.choice((None, 1, 5, 30)), cool_down_seconds=self.random.choice((60, 300, 86_400)),
        ))  # fmt: skip

    def changes_card(self) -> None:
        """Another card, the same one saved again, or none."""
        self.cards += 1
        chosen = self.random.choice((*CARDS, self.card, None))
        if chosen is None or not chosen:
            self.card = ""
            self.tell(PaymentMethodChanged(customer_id="cus_1"))
            return
        kind = chosen.partition("-")[0]
        self.card = chosen if "-" in chosen else f"{kind}-{self.cards}"
        method = f"pm_{self.card}_{self.cards}"
        self.tell(PaymentMethodChanged(customer_id="cus_1", payment_method_id=method, fingerprint=self.card))

    def pays_by_hand(self) -> None:
        """A pack."""
        self.payments += 1
        self.available += 2_000
        self.tell(CreditsPurchased(
            credits=2_000 * MICRO, pack="mini", payment_intent_id="pi", charge_cents=2_000, currency="usd"
        ))  # fmt: skip

    def judge(self) -> None:
        """The low-balance reader."""
        chosen = self.state.settings
        threshold = chosen.threshold_credits if chosen is not None and chosen.enabled else NOTICE * MICRO
        available = self.available * MICRO
        told = {"available_credits": available, "threshold_credits": threshold, "crossed_at_position": self.position}
        if self.low and recovered(available, threshold):
            self.low = False
            self.tell(BalanceRecovered(**told))
        if not self.low and available < threshold:
            self.low = True
            self.tell(BalanceRanLow(**told, top_up_enabled=self.state.enabled))

    def worker_looks(self) -> None:
        """What `services.money.topup` does, twice as often as needed: nothing may come of the second time."""
        for _ in range(2):
            if (resumed := resumption_due(self.state)) is not None:
                self.tell(resumed)
            self.decides()
            if self.state.open is not None:
                self.goes_on()
            wanted = foresee(self.state, self.available * MICRO, self.now, CATALOG)
            if self.low and isinstance(wanted, TopUpRequested) and not self.waits():
                self.wrong.append(f"{self.now}: it is low, nothing is in the way, and nobody will ever decide")

    def waits(self) -> bool:
        """A decision will fall, if nothing else happens: there is a point, or news of which the worker makes one."""
        return self.state.point is not None or resumption_due(self.state) is not None

    def decides(self) -> None:
        """The decision that is due, and what must be true of it."""
        available = self.available * MICRO
        before, due = self.state, self.state.point
        decision = decide(before, available, self.now, CATALOG)
        if decision != decide(before, available, self.now, CATALOG):
            self.wrong.append(f"{self.now}: two workers decide differently")
        match decision:
            case TopUpRequested():
                self.wrong += self.broken_by(decision)
                month = self.now.astimezone(ZoneInfo(self.zone)).strftime("%Y-%m")
                self.made[decision.attempt_id] = Made(self.now, month, decision.charge_cents, self.card, self.payments)
                self.tell(decision, f"requested:{decision.attempt_id}")
                self.intent, self.remedy = "requires_confirmation", None
            case TopUpSkipped():
                self.tell(decision, f"skipped:{decision.ran_low_id}:{decision.decision}")
            case None:
                chosen = before.settings
                enough = chosen is not None and available >= chosen.threshold_credits
                if due is not None and due.at <= self.now and not enough:
                    self.wrong.append(f"{self.now}: {due.name} was due, and nothing was said")
                return
        self.decisions += 1
        if self.state.point is not None and self.state.point.at <= self.now:
            self.wrong.append(f"{self.now}: {decision.type} left a decision that is due")

    def broken_by(self, request: TopUpRequested) -> Iterator[str]:
        """Which promises a request breaks, by this file's own books."""
        chosen = self.state.settings
        assert chosen is not None
        if self.state.open is not None:
            yield f"{self.now}: a second charge under way"
        month = self.now.astimezone(ZoneInfo(self.zone)).strftime("%Y-%m")
        taken = [made.cents for made in self.made.values() if made.month == month and made.cents is not None]
        if chosen.monthly_cap_cents is not None and sum(taken) + request.charge_cents > chosen.monthly_cap_cents:
            yield f"{self.now}: {sum(taken)} + {request.charge_cents} cents are more than {chosen.monthly_cap_cents}"
        if chosen.max_per_month is not None and len(taken) >= chosen.max_per_month:
            yield f"{self.now}: more than {chosen.max_per_month} in {month}"
        if not chosen.enabled or self.available * MICRO >= chosen.threshold_credits or not self.card:
            yield f"{self.now}: nobody wanted this charge"
        asked = [
            made for made in self.made.values()
            if made.card == self.card and made.cents is None and made.at > self.now - DAY
        ]  # fmt: skip
        paid_since = self.payments - asked[0].payments_before if asked else 0
        if self.card.startswith(("dead", "lost")) and len(asked) >= DECLINES_MAX + paid_since:
            yield f"{self.now}: {self.card} was asked {len(asked)} times within a day"

    def goes_on(self) -> None:
        """The attempt's next steps, as far as Stripe lets it come."""
        attempt = self.state.open
        assert attempt is not None
        if attempt.payment_intent_id is None:
            self.tell(TopUpIntentCreated(attempt_id=attempt.attempt_id, payment_intent_id=f"pi_{attempt.attempt_id}"))
            if self.random.random() < 0.3:
                return None  # its worker died
        card = self.made[attempt.attempt_id].card.partition("-")[0]
        waited_long = self.intent == "requires_payment_method" and self.now - self.asked_at > DAY
        if self.intent == "processing" and self.random.random() < 0.2:
            self.intent, self.remedy = self.random.choice(
                (("succeeded", None), ("requires_payment_method", "retry_later"))
            )
        if self.state.open is not None and attempt.action_required and self.random.random() < 0.2:
            self.intent = "succeeded"  # the owner confirmed
        while True:
            wanted = is_wanted(self.state, attempt, CATALOG)
            match next_step(self.intent, self.remedy, is_wanted=wanted, waited_long=waited_long):
                case AttemptStep.CONFIRM:
                    self.intent, self.remedy = self.bank_says(card)
                case AttemptStep.CANCEL:
                    self.intent = "cancelled"
                case AttemptStep.CREDIT:
                    return self.credited(attempt.attempt_id, attempt.credits, attempt.charge_cents)
                case AttemptStep.FAIL:
                    return self.failed(attempt.attempt_id)
                case AttemptStep.ASK_OWNER:
                    if not attempt.action_required:
                        self.asked_at = self.now
                        self.tell(TopUpActionRequired(attempt_id=attempt.attempt_id, payment_intent_id="pi"))
                    return None
                case AttemptStep.WAIT:
                    return None

    def bank_says(self, card: str) -> tuple[str, str | None]:
        """To one charge of a card."""
        match card:
            case "dead":
                return "requires_payment_method", "retry_later"
            case "lost":
                return "requires_payment_method", "needs_card"
            case "asks":
                return "requires_payment_method", "needs_authentication"
            case "slow":
                return "processing", None
            case "flaky" if self.random.random() < 0.5:
                return "requires_payment_method", "retry_later"
            case _:
                return "succeeded", None

    def credited(self, attempt_id: str, credits: int, cents: int) -> None:
        """Money came; so do the credits."""
        self.available += credits // MICRO
        self.tell(CreditsToppedUp(
            credits=credits, attempt_id=attempt_id, payment_intent_id=f"pi_{attempt_id}", charge_cents=cents, currency="usd"
        ), f"pi_{attempt_id}")  # fmt: skip

    def failed(self, attempt_id: str) -> None:
        """No money will ever come of it."""
        self.made[attempt_id].cents = None
        reason = "cancelled" if self.remedy is None else f"declined_{self.remedy}"
        self.tell(TopUpFailed.model_validate({"attempt_id": attempt_id, "reason": reason}), f"failed:{attempt_id}")
        if (suspended := suspension_due(self.state)) is not None:
            self.tell(suspended, f"suspended:{attempt_id}")
