"""What settings of top-ups would have charged, told with a team's own log."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from projections.balance.crossings import crossings
from projections.balance.fold import evolve as evolve_balance
from projections.balance.state import LotPayment, TeamBalance
from projections.top_ups.decisions import decide
from projections.top_ups.fold import evolve
from projections.top_ups.simulation import SimulatedTopUp, simulate
from projections.top_ups.state import TopUps
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    CreditsPurchased,
    CreditsToppedUp,
    HoldCaptured,
    PaymentMethodChanged,
    PlanAssigned,
    Stored,
    TopUpConfigured,
    TopUpRequested,
    UsageRecorded,
    UsageVoided,
)

CATALOG = load_catalog()
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def settings(threshold: int = 1_000, credits: int = 2_000, **more: object) -> TopUpConfigured:
    usual: dict[str, object] = {
        "enabled": True, "threshold_credits": threshold * MICRO, "credits": credits * MICRO, "currency": "usd",
        "cool_down_seconds": 300,
    }  # fmt: skip
    return TopUpConfigured.model_validate(usual | more)


@dataclass
class Log:
    """A team that begins with 3,000 bought credits; its top-ups run as they do for real, with a bank that answers at once."""

    facts: list[Stored] = field(default_factory=list)
    team: TeamBalance = field(default_factory=lambda: TeamBalance("team"))
    top_ups: TopUps = field(default_factory=lambda: TopUps(team_id="team"))
    charged: list[SimulatedTopUp] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.say(PlanAssigned(plan="pro", anchor=NOON, zone="UTC", allowance_credits=0, notice_threshold_credits=0))
        self.say(PaymentMethodChanged(customer_id="cus_1", payment_method_id="pm_1", fingerprint="visa"))
        self.say(
            CreditsPurchased(
                credits=3_000 * MICRO, pack="mini", payment_intent_id="pi_0", charge_cents=3_000, currency="usd"
            )
        )

    def say(self, fact: AnyFact, hours: float = 0, paid: tuple[LotPayment, ...] = ()) -> None:
        at = NOON + hours * HOUR
        stored = Stored(
            0, len(self.facts) + 1, at, at, "team", "/test", f"fact_{len(self.facts)}", fact.type, fact.body()
        )
        self.facts.append(stored)
        evolve_balance(self.team, stored, fact, paid)
        self.top_ups = evolve(self.top_ups, stored, fact)

    def use(self, credits: int, hours: float) -> None:
        """Usage, and what the low-balance reader and the top-up worker make of it."""
        at = NOON + hours * HOUR
        self.say(UsageRecorded(feature="ai_image.generate", quantity="1", credits=credits * MICRO, rate_card=1), hours)
        for crossed in crossings(self.team, at):
            self.say(crossed, hours)
        decided = decide(self.top_ups, self.team.available(at), at, CATALOG)
        if decided is None:
            return
        self.say(decided, hours)
        if isinstance(decided, TopUpRequested):
            money = {"charge_cents": decided.charge_cents, "currency": "usd"}
            intent = {"attempt_id": decided.attempt_id, "payment_intent_id": f"pi_{len(self.facts)}"}
            self.say(CreditsToppedUp.model_validate({"credits": decided.credits, **intent, **money}), hours)
            self.charged.append(SimulatedTopUp(at, decided.credits, decided.charge_cents))
            for crossed in crossings(self.team, at):
                self.say(crossed, hours)

    def simulated(self, chosen: TopUpConfigured, *, since: float = 0, until: float = 24 * 20) -> list[SimulatedTopUp]:
        return simulate(self.facts, chosen, since=NOON + since * HOUR, until=NOON + until * HOUR, catalog=CATALOG)


def busy(log: Log) -> Log:
    for hour in range(1, 20):
        log.use(400, hour)
    return log


def test_the_actual_settings_reproduce_the_actual_charges_exactly() -> None:
    chosen = settings(monthly_cap_cents=6_000)
    log = Log()
    log.say(chosen)
    busy(log)

    assert log.charged
    # Saved within the window, so that they are simulated; and before it, so that the log itself answers.
    assert log.simulated(chosen) == log.charged
    assert log.simulated(chosen, since=0.5) == log.charged


def test_a_team_without_top_ups_learns_what_they_would_have_charged() -> None:
    log = busy(Log())  # uses 7,600 of its 3,000

    # Below 1,000 after the sixth hour, and each time five hours' work has used what was added.
    assert [(charge.at, charge.charge_cents) for charge in log.simulated(settings())] == [
        (NOON + hour * HOUR, 2_000) for hour in (6, 11, 16)
    ]
    assert log.charged == []


def test_other_settings_than_the_actual_ones_charge_as_if_those_had_never_been() -> None:
    log = Log()
    log.say(settings())
    busy(log)

    larger = log.simulated(settings(credits=4_000))

    assert [charge.at for charge in larger] == [NOON + hour * HOUR for hour in (6, 16)]
    assert sum(charge.charge_cents for charge in larger) == 8_000


def test_a_capture_that_was_taken_back_has_charged_nobody() -> None:
    log = Log()
    log.say(HoldCaptured(hold_id="h", credits=1_500 * MICRO, feature="ai_image.generate"), 1)
    capture = log.facts[-1]
    paid = (LotPayment(3, 1_500 * MICRO),)
    void = UsageVoided(
        usage_source=capture.source, usage_id=capture.id, usage_position=capture.position,
        usage_occurred_at=capture.occurred_at, credits=1_500 * MICRO, feature="ai_image.generate", reason="it failed",
        corrected_by="op_1",
    )  # fmt: skip
    log.say(void, 2, paid)
    log.use(1_000, 3)

    assert log.team.total == 2_000 * MICRO
    assert log.simulated(settings(), since=0.5) == []


def test_a_cap_ends_the_charges_of_its_month_and_the_next_month_begins_anew() -> None:
    log = Log()
    for day in range(1, 25):
        log.use(400, 24 * day)  # November 11 to December 4

    charges = log.simulated(settings(max_per_month=1), until=24 * 30)

    assert [charge.at for charge in charges] == [NOON + 6 * 24 * HOUR, datetime(2026, 12, 1, tzinfo=UTC)]


def test_a_cool_down_keeps_charges_apart_and_its_end_decides_anew() -> None:
    log = Log()
    log.use(2_100, 1)
    log.use(2_100, 1.01)

    charges = log.simulated(settings(cool_down_seconds=3_600))

    assert [charge.at for charge in charges] == [NOON + HOUR, NOON + 2 * HOUR]


def test_what_was_before_the_window_stays_as_it_was() -> None:
    log = Log()
    log.say(settings())
    busy(log)

    assert [charge.at for charge in log.simulated(settings(credits=4_000), since=8)] == [NOON + 11 * HOUR]
