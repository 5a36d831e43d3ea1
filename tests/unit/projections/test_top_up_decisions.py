"""When a team is charged, for how much, and why not: decided from the log alone."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.top_ups.decisions import (
    attempt_of,
    decide,
    foresee,
    next_charge,
    obstacle_ahead,
    resumption_due,
    suspension_due,
)
from projections.top_ups.fold import evolve
from projections.top_ups.months import next_month
from projections.top_ups.state import DECLINES_MAX, OFTEN, TopUps
from projections.top_ups.steps import AttemptStep, is_wanted, next_step
from schemas.catalog import Catalog, load_catalog
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
    TopUpConfigured,
    TopUpFailed,
    TopUpRequested,
    TopUpSkipped,
    TopUpSuspended,
)

CATALOG = load_catalog()
FREE = CATALOG.plans["free"].model_copy(update={"top_ups": False})
WITHOUT = CATALOG.model_copy(update={"plans": {**CATALOG.plans, "free": FREE}})  # free is sold without top-ups
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
COOL_DOWN = timedelta(minutes=5)


def settings(**changes: object) -> TopUpConfigured:
    """Below 1,000 credits, add 500."""
    usual: dict[str, object] = {
        "enabled": True, "threshold_credits": 1_000 * MICRO, "credits": 500 * MICRO, "currency": "usd", "cool_down_seconds": 300,
    }  # fmt: skip
    return TopUpConfigured.model_validate(usual | changes)


def card(fingerprint: str = "visa") -> PaymentMethodChanged:
    """A card on file."""
    return PaymentMethodChanged(customer_id="cus_1", payment_method_id=f"pm_{fingerprint}", fingerprint=fingerprint)


@dataclass
class Team:
    """A team's log as far as top-ups go, told in a few words."""

    now: datetime = NOON
    state: TopUps = field(default_factory=lambda: TopUps(team_id="team_42"))
    position: int = 0
    catalog: Catalog = CATALOG

    def then(self, *facts: AnyFact, after: timedelta = timedelta(0)) -> "Team":
        """Record facts, some time later."""
        self.now += after
        for fact in facts:
            self.position += 1
            stored = Stored(
                7, self.position, self.now, self.now, "team_42", "test", f"fact:{self.position}", fact.type, fact.body()
            )
            self.state = evolve(self.state, stored, fact)
        return self

    def ran_low(self, *, enabled: bool = True, after: timedelta = timedelta(0)) -> "Team":
        """The balance fell below the threshold."""
        return self.then(
            BalanceRanLow(available_credits=0, threshold_credits=1, crossed_at_position=1, top_up_enabled=enabled),
            after=after,
        )

    def recovered(self) -> "Team":
        """The balance is well above the threshold."""
        return self.then(BalanceRecovered(available_credits=0, threshold_credits=1, crossed_at_position=1))

    def decides(self, available: int = 900, after: timedelta = timedelta(0)) -> TopUpRequested | TopUpSkipped | None:
        """What is decided with so many whole credits available; recorded, as the worker does."""
        self.now += after
        decision = decide(self.state, available * MICRO, self.now, self.catalog)
        if decision is not None:
            self.then(decision)
        return decision

    def requests(self, available: int = 900, after: timedelta = timedelta(0)) -> TopUpRequested:
        """The same, where a top-up is expected."""
        decision = self.decides(available, after)
        assert isinstance(decision, TopUpRequested), decision
        return decision

    def skips(self, available: int = 900, after: timedelta = timedelta(0)) -> str:
        """The same, where the reason for none is expected."""
        decision = self.decides(available, after)
        assert isinstance(decision, TopUpSkipped), decision
        return decision.reason

    def succeeded(self, attempt: TopUpRequested, after: timedelta = timedelta(0)) -> "Team":
        """The charge was made and answered."""
        return self.then(
            CreditsToppedUp(
                credits=attempt.credits, attempt_id=attempt.attempt_id, payment_intent_id="pi", charge_cents=attempt.charge_cents,
                currency="usd",
            ),
            after=after,
        )  # fmt: skip

    def declined(self, attempt: TopUpRequested, reason: str = "declined_retry_later") -> "Team":
        """The card was declined, and the intent cancelled."""
        self.then(TopUpFailed.model_validate({"attempt_id": attempt.attempt_id, "reason": reason}))
        suspension = suspension_due(self.state)
        return self.then(suspension) if suspension is not None else self


def ready(**changes: object) -> Team:
    """A team with a card and top-ups on, which runs low now."""
    return Team().then(settings(**changes), card()).ran_low()


def test_running_low_asks_for_one_top_up_with_its_amounts_frozen() -> None:
    attempt = ready().requests(available=900)

    assert (attempt.credits, attempt.charge_cents, attempt.currency) == (500 * MICRO, 500, "usd")
    assert (attempt.customer_id, attempt.payment_method_id, attempt.attempt) == ("cus_1", "pm_visa", 0)


def test_a_crossing_is_decided_once_however_often_it_is_looked_at() -> None:
    team = ready()
    team.requests()

    assert team.decides() is None
    assert team.decides(after=timedelta(days=9)) is None


def test_whoever_decides_twice_names_the_same_attempt() -> None:
    one, other = ready(), ready()

    assert one.requests().attempt_id == other.requests().attempt_id


def test_the_next_attempt_of_an_episode_has_another_name_and_so_has_another_teams() -> None:
    team = ready()
    first = team.requests()
    team.declined(first)
    second = team.requests(after=COOL_DOWN)

    assert team.state.episode is not None
    assert len({first.attempt_id, second.attempt_id, str(attempt_of("team_43", team.state.episode))}) == 3
    assert second.attempt == 1


@pytest.mark.parametrize(
    ("available", "expected"), [(999, 500), (501, 500), (500, 500), (499, 1_000), (0, 1_000), (-4_001, 5_500)]
)
def test_a_shortfall_bigger_than_one_increment_is_one_charge_of_several(available: int, expected: int) -> None:
    assert ready().requests(available).credits == expected * MICRO


@pytest.mark.parametrize(("available", "expected"), [(999, 2_100), (950, 2_100), (900, 2_100), (1, 3_000), (-1, 3_100)])
def test_restore_to_fills_up_in_steps_of_the_catalog(available: int, expected: int) -> None:
    team = ready(credits=None, restore_to_credits=3_000 * MICRO)

    assert team.requests(available).credits == expected * MICRO


def test_restoring_a_little_still_buys_the_smallest_amount_that_is_sold() -> None:
    assert ready(credits=None, restore_to_credits=1_000 * MICRO).requests(999).credits == 500 * MICRO


@given(available=st.integers(-(10**13), 10**9 * MICRO), credits=st.integers(1, 10**6), threshold=st.integers(1, 10**6))
def test_one_charge_always_passes_the_threshold_and_never_by_more_than_needed(
    available: int, credits: int, threshold: int
) -> None:
    gained, cents = next_charge(
        settings(credits=credits * MICRO, threshold_credits=threshold * MICRO), available, CATALOG
    )

    price = CATALOG.top_up
    assert gained % price.step == 0
    assert available + gained >= threshold * MICRO or available >= threshold * MICRO
    assert (
        gained < max(threshold * MICRO - available + credits * MICRO, credits * MICRO, price.min_credits) + price.step
    )
    assert cents * MICRO >= price.unit_price * gained > (cents - 1) * MICRO


def test_while_an_attempt_is_under_way_another_crossing_is_skipped_not_charged() -> None:
    team = ready()
    team.requests()
    team.recovered().ran_low()

    skipped = team.decides()
    assert isinstance(skipped, TopUpSkipped)
    assert (skipped.reason, skipped.detail) == ("in_flight", None), "an attempt's name means nothing to its readers"
    assert team.decides() is None


def test_after_the_attempt_that_was_in_the_way_the_decision_falls_at_the_end_of_its_cool_down() -> None:
    team = ready()
    first = team.requests()
    team.recovered().ran_low()
    team.skips()
    team.succeeded(first)

    assert team.decides(after=COOL_DOWN - timedelta(seconds=1)) is None
    assert team.requests(after=timedelta(seconds=1)).attempt == 0


def test_a_failed_attempt_keeps_the_cool_down() -> None:
    team = ready()
    team.declined(team.requests())

    assert team.decides(after=timedelta(minutes=4)) is None
    assert team.requests(after=timedelta(minutes=1)).attempt == 1


def test_a_crossing_within_the_cool_down_is_skipped_and_decided_at_its_end() -> None:
    team = ready()
    team.succeeded(team.requests()).recovered().ran_low(after=timedelta(minutes=1))

    assert team.skips() == "cooling_down"
    assert team.decides() is None
    assert isinstance(team.decides(after=timedelta(minutes=4)), TopUpRequested)


def test_a_top_up_that_did_not_lift_the_balance_far_enough_is_followed_by_another_when_it_is_low_again() -> None:
    team = ready()
    team.succeeded(team.requests())

    assert team.decides(available=1_050, after=timedelta(hours=1)) is None
    assert team.requests(available=999, after=timedelta(hours=1)).attempt == 1


def test_three_declines_pause_top_ups_and_a_dead_card_is_asked_no_more() -> None:
    team = ready()
    for _ in range(DECLINES_MAX):
        team.declined(team.requests(after=COOL_DOWN))

    assert team.skips(after=COOL_DOWN) == "suspended"
    assert team.decides(after=timedelta(days=30)) is None
    assert team.recovered().ran_low().skips() == "suspended"


def test_a_success_in_between_starts_the_count_of_declines_anew() -> None:
    team = ready()
    for _ in range(2):
        team.declined(team.requests(after=COOL_DOWN))
    team.succeeded(team.requests(after=COOL_DOWN))
    team.declined(team.requests(after=COOL_DOWN))

    assert team.state.suspension is None


def suspended() -> Team:
    """A team whose card was declined three times."""
    team = ready()
    for _ in range(DECLINES_MAX):
        team.declined(team.requests(after=COOL_DOWN))
    team.skips(after=COOL_DOWN)
    return team


def test_the_same_card_saved_again_does_not_end_the_pause() -> None:
    again = PaymentMethodChanged(customer_id="cus_1", payment_method_id="pm_new", fingerprint="visa")
    team = suspended().then(again)

    assert resumption_due(team.state) is None
    assert team.skips() == "suspended"


@pytest.mark.parametrize("by", ["card", "purchase"])
def test_another_card_or_a_payment_by_hand_ends_the_pause(by: str) -> None:
    bought = CreditsPurchased(credits=1, pack="mini", payment_intent_id="pi", charge_cents=1, currency="usd")
    team = suspended().then(card("mastercard") if by == "card" else bought)

    resumed = resumption_due(team.state)
    assert resumed is not None
    assert isinstance(team.then(resumed).decides(), TopUpRequested)


def test_a_card_that_the_bank_says_will_never_do_is_not_asked_twice() -> None:
    team = ready()
    team.declined(team.requests(), "declined_needs_card")

    assert team.skips(after=COOL_DOWN) == "suspended"
    assert team.state.suspension is not None
    assert team.state.suspension.reason == "the bank wants another card"


def test_after_a_payment_by_hand_a_card_that_is_still_declined_is_tried_once() -> None:
    bought = CreditsPurchased(credits=1, pack="mini", payment_intent_id="pi", charge_cents=1, currency="usd")
    team = suspended().then(bought)
    team.then(resumption_due(team.state) or bought)
    team.declined(team.requests())

    assert team.skips(after=COOL_DOWN) == "suspended"


def test_a_decline_of_a_card_that_was_replaced_meanwhile_does_not_count_against_the_new_one() -> None:
    team = ready()
    for _ in range(DECLINES_MAX - 1):
        team.declined(team.requests(after=COOL_DOWN))
    last = team.requests(after=COOL_DOWN)
    team.then(card("mastercard")).declined(last)

    assert team.state.suspension is None
    assert team.state.declines == 0


def test_a_plan_that_is_sold_without_top_ups_is_not_charged_until_it_changes() -> None:
    free, pro = (PlanAssigned(plan=name, anchor=NOON, zone="UTC", allowance_credits=0) for name in ("free", "pro"))
    team = Team().then(free, settings(), card()).ran_low()

    skipped = decide(team.state, 0, team.now, WITHOUT)
    assert isinstance(skipped, TopUpSkipped)
    assert (skipped.reason, skipped.next_decision_at) == ("plan", None)
    assert decide(team.then(skipped).state, 0, team.now, WITHOUT) is None
    assert isinstance(decide(team.then(pro).state, 0, team.now, WITHOUT), TopUpRequested)


@pytest.mark.parametrize(
    "change",
    [
        settings(enabled=False),
        card("mastercard"),
        PaymentMethodChanged(customer_id="cus_1"),
        TopUpSuspended(cause="dispute", reason="a payment is disputed with the bank", declines=0),
        PlanAssigned(plan="free", anchor=NOON, zone="UTC", allowance_credits=0),
    ],
)
def test_an_attempt_that_waits_is_given_up_when_top_ups_go_off_or_its_card_is_replaced(change: AnyFact) -> None:
    team = ready()
    team.requests()
    attempt = team.state.open
    assert attempt is not None
    assert is_wanted(team.state, attempt, WITHOUT)

    assert not is_wanted(team.then(change).state, attempt, WITHOUT)


def test_what_saving_would_charge_at_once_is_foreseen_with_what_is_in_the_way() -> None:
    team = Team().then(settings(), card())

    assert foresee(team.state, 1_000 * MICRO, team.now, CATALOG) is None
    foreseen = foresee(team.state, 900 * MICRO, team.now, CATALOG)
    assert isinstance(foreseen, TopUpRequested)
    assert (foreseen.credits, foreseen.charge_cents) == (500 * MICRO, 500)
    capped = foresee(team.then(settings(monthly_cap_cents=400)).state, 900 * MICRO, team.now, CATALOG)
    assert isinstance(capped, TopUpSkipped)
    assert capped.reason == "cap_money"
    assert foresee(team.then(settings(enabled=False)).state, 0, team.now, CATALOG) is None


def test_a_cap_that_is_too_small_for_the_next_top_up_is_known_before_the_balance_is_low() -> None:
    team = ready()
    assert obstacle_ahead(team.state, team.now, CATALOG) is None

    for changed, reason in ((settings(monthly_cap_cents=400), "cap_money"), (settings(enabled=False), None)):
        ahead = obstacle_ahead(team.then(changed).state, team.now, CATALOG)
        assert (ahead and ahead.reason) == reason


def test_a_team_that_tops_up_again_and_again_within_a_day_stands_out() -> None:
    team = ready()
    for _ in range(OFTEN):
        assert not team.state.unusually_often
        team.succeeded(team.requests(after=COOL_DOWN))
    assert team.state.unusually_often

    team.requests(after=timedelta(days=1))
    assert not team.state.unusually_often


def test_without_a_card_the_decision_says_so_once_and_waits_for_one() -> None:
    team = Team().then(settings()).ran_low()

    assert team.skips() == "no_payment_method"
    assert team.decides(after=timedelta(days=2)) is None
    assert isinstance(team.then(card()).decides(), TopUpRequested)


def test_a_card_that_was_removed_is_not_charged() -> None:
    removed = PaymentMethodChanged(customer_id="cus_1")

    assert Team().then(settings(), card(), removed).ran_low().skips() == "no_payment_method"


def test_where_top_ups_are_off_nothing_is_decided_at_all() -> None:
    assert Team().then(card()).ran_low(enabled=False).decides() is None
    assert Team().then(settings(enabled=False), card()).ran_low(enabled=False).decides() is None


def test_switching_on_while_low_decides_at_once() -> None:
    team = Team().then(card()).ran_low(enabled=False)

    assert isinstance(team.then(settings()).decides(), TopUpRequested)


def test_switching_off_while_low_is_a_decision_not_to_charge() -> None:
    team = ready()
    team.then(settings(enabled=False))

    assert team.skips() == "disabled"
    assert team.decides(after=timedelta(days=1)) is None


def test_the_money_cap_is_explicit_and_opens_with_the_teams_own_month() -> None:
    team = Team().then(PlanAssigned(plan="pro", anchor=NOON, zone="Pacific/Auckland", allowance_credits=0))
    team.then(settings(monthly_cap_cents=1_200), card()).ran_low()
    for _ in range(2):
        team.succeeded(team.requests(after=COOL_DOWN))

    decision = team.decides(after=COOL_DOWN)
    assert isinstance(decision, TopUpSkipped)
    assert (decision.reason, decision.next_decision_at) == ("cap_money", datetime(2026, 11, 30, 11, tzinfo=UTC))
    assert decision.detail == (
        "500 credits cost 5.00 USD, and 10.00 USD of this month's 12.00 USD are charged or under way"
    )
    assert team.decides(after=timedelta(days=1)) is None
    team.now = datetime(2026, 11, 30, 11, tzinfo=UTC)
    assert isinstance(team.decides(), TopUpRequested)


def test_one_charge_that_would_pass_the_cap_is_not_made_and_not_made_smaller() -> None:
    assert ready(monthly_cap_cents=900).skips(available=0) == "cap_money"


def test_the_count_cap_counts_attempts_before_they_are_made() -> None:
    team = ready(max_per_month=1)
    team.succeeded(team.requests())

    assert team.skips(after=COOL_DOWN) == "cap_count"


def test_a_definite_failure_gives_back_what_it_had_reserved_of_the_caps() -> None:
    team = ready(max_per_month=1, monthly_cap_cents=500)
    team.declined(team.requests())

    assert isinstance(team.decides(after=COOL_DOWN), TopUpRequested)


def test_purchases_do_not_count_towards_the_caps() -> None:
    bought = CreditsPurchased(credits=1, pack="bulk", payment_intent_id="pi", charge_cents=99_999, currency="usd")

    assert isinstance(ready(monthly_cap_cents=500).then(bought).decides(), TopUpRequested)


def test_a_raised_cap_is_a_new_decision() -> None:
    team = ready(monthly_cap_cents=0)
    assert team.skips() == "cap_money"

    assert isinstance(team.then(settings(monthly_cap_cents=500)).decides(), TopUpRequested)


def test_a_balance_that_is_no_longer_low_is_not_charged() -> None:
    assert ready().decides(available=1_000) is None
    assert ready().recovered().decides(available=0) is None


@pytest.mark.parametrize(("available", "requested"), [(-49_000, True), (-49_600, False), (-999_999_999_999, False)])
def test_a_charge_that_nobody_can_mean_is_skipped_in_words(available: int, requested: bool) -> None:
    decision = ready().decides(available=available)

    assert isinstance(decision, TopUpRequested) is requested
    if isinstance(decision, TopUpSkipped):
        assert decision.reason == "max_charge"
        assert "one top-up charges 500.00 USD at most" in (decision.detail or "")


def test_who_set_no_cap_has_the_usual_one() -> None:
    team = ready(monthly_cap_cents=None)
    charged = 0
    while not isinstance(decision := team.decides(available=-48_000, after=timedelta(minutes=10)), TopUpSkipped):
        assert isinstance(decision, TopUpRequested)
        charged += decision.charge_cents
        team.then(CreditsToppedUp(
            credits=decision.credits, attempt_id=decision.attempt_id, payment_intent_id=f"pi_{charged}",
            charge_cents=decision.charge_cents, currency="usd",
        ))  # fmt: skip

    assert decision.reason == "cap_money"
    assert charged <= CATALOG.top_up.monthly_cap < charged + 49_000
    assert "2,000.00 USD" in (decision.detail or "")


def test_a_state_that_was_saved_and_read_again_is_the_same() -> None:
    team = suspended()
    team.then(card("mastercard"))

    assert TopUps.model_validate_json(team.state.model_dump_json()) == team.state
    assert TopUps.model_validate_json(TopUps(team_id="new").model_dump_json()) == TopUps(team_id="new")


@pytest.mark.parametrize(
    ("zone", "instant", "expected"),
    [
        ("UTC", datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        ("America/New_York", datetime(2026, 11, 1, 3, tzinfo=UTC), datetime(2026, 11, 1, 4, tzinfo=UTC)),
        ("Africa/Cairo", datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 31, 22, tzinfo=UTC)),
    ],
)
def test_a_cap_period_begins_at_the_first_midnight_of_the_month_in_the_teams_zone(
    zone: str, instant: datetime, expected: datetime
) -> None:
    assert next_month(instant, zone) == expected


@pytest.mark.parametrize(
    ("state", "remedy", "expected"),
    [
        ("succeeded", None, AttemptStep.CREDIT),
        ("succeeded", "needs_card", AttemptStep.CREDIT),
        ("processing", None, AttemptStep.WAIT),
        ("requires_capture", None, AttemptStep.WAIT),
        ("requires_confirmation", None, AttemptStep.CONFIRM),
        ("requires_action", None, AttemptStep.ASK_OWNER),
        ("requires_payment_method", "needs_authentication", AttemptStep.ASK_OWNER),
        ("requires_payment_method", "needs_card", AttemptStep.CANCEL),
        ("requires_payment_method", "retry_later", AttemptStep.CANCEL),
        ("requires_payment_method", None, AttemptStep.CANCEL),
        ("cancelled", "retry_later", AttemptStep.FAIL),
    ],
)
def test_only_succeeded_is_money_and_only_cancelled_is_the_end(
    state: str, remedy: str | None, expected: AttemptStep
) -> None:
    assert next_step(state, remedy, is_wanted=True, waited_long=False) is expected


@pytest.mark.parametrize("state", ["requires_confirmation", "requires_action", "requires_payment_method"])
def test_an_attempt_that_nobody_wants_any_more_is_cancelled_before_it_can_be_paid(state: str) -> None:
    assert next_step(state, "needs_authentication", is_wanted=False, waited_long=False) is AttemptStep.CANCEL


def test_whoever_never_confirms_at_the_bank_is_not_waited_for_for_ever() -> None:
    assert next_step("requires_action", None, is_wanted=True, waited_long=True) is AttemptStep.CANCEL
