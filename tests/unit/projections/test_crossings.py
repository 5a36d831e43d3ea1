"""What the log has to say about a balance: low, out and recovered, once per crossing, told with facts."""

from datetime import timedelta

from projections.balance.crossings import crossings
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    CreditsGranted,
    HoldCaptured,
    HoldExpired,
    HoldPlaced,
    HoldReleased,
    PlanAssigned,
    TopUpConfigured,
    TopUpResumed,
)
from tests.unit.projections.history import NOON, History, at

NOTICE = 50


class Told(History):
    """A history that is judged after each fact, as the low-balance reader does, and what was said."""

    def judged(self, minutes: float, fact: AnyFact | None = None) -> list[str]:
        """Record a fact, then everything that is due because of it; what that is."""
        if fact is not None:
            self.then(fact, recorded=at(minutes))
        due = crossings(self.team, at(minutes))
        for said in due:
            self.then(said, recorded=at(minutes))
        assert not self.team.alarm()
        return [type(said).__name__.removeprefix("Balance") for said in due]


def team(credits: int, *, notice: int = NOTICE) -> Told:
    """A team with so many credits, and its plan's notice threshold."""
    told = Told()
    plan = PlanAssigned(
        plan="pro", anchor=NOON, zone="UTC", allowance_credits=0, notice_threshold_credits=notice * MICRO
    )
    told.then(plan, recorded=at(0))
    told.then(gift(credits), recorded=at(0))
    return told


def gift(credits: int) -> CreditsGranted:
    return CreditsGranted(credits=credits * MICRO, reason="a gift")


def hold(name: str, credits: int) -> HoldPlaced:
    return HoldPlaced(hold_id=name, credits=credits * MICRO, expires_at=at(0) + timedelta(days=1))


def test_out_is_said_the_moment_that_nothing_is_left_and_again_only_after_credits_came() -> None:
    told = team(60)

    told.used(59, recorded=at(1))
    assert told.judged(1) == ["RanLow"]
    told.used(1, recorded=at(2))
    assert told.judged(2) == ["RanOut"]
    told.used(10, recorded=at(3))
    assert told.judged(3) == []
    assert told.judged(4, gift(10)) == []  # back at zero: nothing to spend yet
    assert told.judged(5, gift(20)) == []  # low still
    told.used(20, recorded=at(6))
    assert told.judged(6) == ["RanOut"]


def test_work_that_is_held_and_given_up_or_settled_for_less_near_zero_runs_out_once() -> None:
    told = team(40)
    assert told.judged(0) == ["RanLow"]

    assert told.judged(1, hold("a", 40)) == ["RanOut"]
    assert told.judged(2, HoldReleased(hold_id="a")) == []
    assert told.judged(3, hold("b", 40)) == []
    assert told.judged(4, HoldCaptured(hold_id="b", credits=MICRO)) == []
    assert told.judged(4, TopUpResumed(reason="a fact that brings no credits")) == []
    assert told.judged(5, hold("c", 39)) == []
    assert told.judged(6, HoldExpired(hold_id="c")) == []
    told.used(39, recorded=at(7))
    assert told.judged(7) == []

    assert told.judged(8, gift(500)) == ["Recovered"]
    assert told.judged(9, hold("d", 500)) == ["RanLow", "RanOut"]
    assert told.judged(10, gift(30)) == []
    assert told.judged(11, hold("e", 30)) == ["RanOut"]


def test_a_hold_that_goes_and_leaves_a_recovered_balance_ends_it_too() -> None:
    told = team(100)
    assert told.judged(1, hold("a", 100)) == ["RanLow", "RanOut"]

    assert told.judged(2, HoldReleased(hold_id="a")) == ["Recovered"]
    told.used(100, recorded=at(3))
    assert told.judged(3) == ["RanLow", "RanOut"]


def test_recovered_is_a_tenth_above_the_threshold_to_the_last_micro_credit() -> None:
    told = team(49)
    assert told.judged(0) == ["RanLow"]

    assert told.judged(1, CreditsGranted(credits=6 * MICRO - 1, reason="almost")) == []
    assert told.judged(2, CreditsGranted(credits=1, reason="there")) == ["Recovered"]
    told.used(5, recorded=at(3))
    assert told.judged(3) == []
    told.used(1, recorded=at(4))
    assert told.judged(4) == ["RanLow"]


def test_where_top_ups_are_off_the_threshold_is_the_plans_and_where_they_are_on_the_admins() -> None:
    told = team(100)
    on = TopUpConfigured(enabled=True, threshold_credits=200 * MICRO, credits=MICRO, currency="usd")
    off = on.model_copy(update={"enabled": False})

    assert told.judged(1) == []
    assert told.judged(2, on) == ["RanLow"]
    assert told.judged(3, off) == ["Recovered"]
    told.used(51, recorded=at(4))
    assert told.judged(4) == ["RanLow"]


def test_without_any_threshold_a_balance_still_runs_out() -> None:
    told = team(10, notice=0)

    told.used(10, recorded=at(1))
    assert told.judged(1) == ["RanOut"]
    assert told.judged(2, gift(5)) == []
    told.used(6, recorded=at(3))
    assert told.judged(3) == ["RanLow", "RanOut"]
    assert told.judged(4, gift(1)) == ["Recovered"]
