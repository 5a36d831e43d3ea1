"""Holds in the balance, told as histories: an amount set aside, which lowers what is available and ends once."""

from datetime import datetime

import pytest

from projections.balance.crossings import crossings
from schemas.credits import MICRO
from schemas.facts import BalanceRanLow, HoldCaptured, HoldExpired, HoldExtended, HoldPlaced, UsageRecorded
from tests.unit.projections.history import MONTH, NOON, History, at


@pytest.fixture
def history() -> History:
    """A team with 100 credits, of which 40 are held for an hour."""
    told = History()
    told.refilled(100, starts=NOON, ends=NOON + MONTH)
    told.then(HoldPlaced(hold_id="h", credits=40 * MICRO, expires_at=at(60)), recorded=at(1))
    return told


def credits(history: History, now: datetime) -> tuple[int, int, int]:
    """Total, held and available, in whole credits."""
    team = history.team
    return team.total // MICRO, team.held(now) // MICRO, team.available(now) // MICRO


def settling(credits: int) -> UsageRecorded:
    return UsageRecorded(feature="f", quantity="1", credits=credits * MICRO, rate_card=1, hold_id="h")


def test_a_hold_counts_until_its_end_whether_or_not_that_is_written_down(history: History) -> None:
    assert credits(history, at(59)) == (100, 40, 60)
    assert credits(history, at(60)) == (100, 0, 100)


def test_a_hold_that_lasts_longer_counts_longer(history: History) -> None:
    history.then(HoldExtended(hold_id="h", expires_at=at(90)), recorded=at(2))

    assert credits(history, at(89)) == (100, 40, 60)


def test_usage_that_names_a_hold_may_exceed_it_and_frees_what_it_did_not_need(history: History) -> None:
    history.then(settling(55), recorded=at(2))

    assert credits(history, at(2)) == (45, 0, 45)


def test_usage_that_comes_after_the_end_of_its_hold_is_plain_usage_and_leaves_the_end_to_the_clock(
    history: History,
) -> None:
    history.then(settling(5), recorded=at(60), occurred=at(59))

    assert list(history.team.holds) == ["h"]
    assert credits(history, at(60)) == (95, 0, 95)
    history.then(HoldExpired(hold_id="h"), recorded=at(61), occurred=at(60))
    assert history.team.holds == {}


def test_a_capture_that_is_not_the_final_one_leaves_the_rest_set_aside(history: History) -> None:
    history.then(HoldCaptured(hold_id="h", credits=15 * MICRO, remaining_credits=25 * MICRO), recorded=at(2))
    assert credits(history, at(2)) == (85, 25, 60)

    history.then(HoldCaptured(hold_id="h", credits=5 * MICRO), recorded=at(3))
    assert credits(history, at(3)) == (80, 0, 80)


def test_a_hold_alone_can_make_a_balance_low(history: History) -> None:
    history.team.notice_threshold = 70 * MICRO

    (low,) = crossings(history.team, at(2))

    assert isinstance(low, BalanceRanLow)
    assert low.available_credits == 60 * MICRO
    assert crossings(history.team, at(60)) == []
