"""What an amendment moves: what lies between the old usage and the new one, and nothing else."""

from copy import deepcopy
from dataclasses import fields
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from projections.balance.lots import end_lots
from projections.balance.snapshots import Cadence, note
from projections.balance.state import BALANCE_MAX, DEBT, TeamBalance
from schemas.credits import ENTRY_MAX, MICRO
from schemas.facts import BalanceRanOut, HoldCaptured, HoldExpired, HoldPlaced, UsageRecorded
from tests.unit.projections.history import MONTH, NOON, History, at
from tests.unit.projections.random_history import STEPS, Step, tell

MOVES = ("position", "as_of", "true_from", "stretch", "changed")  # with every fact, whatever it does


@pytest.fixture
def history() -> History:
    """A team whose first cycle began at noon, with 100 included credits as lot 1."""
    told = History()
    told.refilled(100, starts=NOON, ends=NOON + MONTH)
    return told


def state(team: TeamBalance) -> dict[str, object]:
    """All that a team has, to compare by value."""
    left = {field.name: getattr(team, field.name) for field in fields(team) if field.name not in MOVES}
    lots = [{name: getattr(lot, name) for name in lot.__slots__} for lot in team.lots]
    return deepcopy(left | {"lots": lots})


def cost(told: History, usage: int) -> int:
    """Whole credits of a usage."""
    fact = told.stored[usage - 1].fact()
    assert isinstance(fact, UsageRecorded | HoldCaptured)
    return fact.credits // MICRO


@given(STEPS, st.integers(0, 60))
@settings(max_examples=300, deadline=None)
def test_an_amendment_to_the_same_amount_leaves_the_balance_its_parts_and_its_lots_as_they_were(
    steps: list[Step], which: int
) -> None:
    story = tell(steps)
    assume(story.usages)
    told, usage = story.told, story.usages[which % len(story.usages)]
    end_lots(told.team, story.now, [])
    before = state(told.team)

    told.amended(usage, cost(told, usage), recorded=story.now)

    assert state(told.team) == before


@given(STEPS, st.integers(0, 60), st.integers(1, 150))
@settings(max_examples=300, deadline=None)
def test_an_amendment_gives_back_exactly_what_is_less_and_takes_at_most_what_is_more(
    steps: list[Step], which: int, credits: int
) -> None:
    story = tell(steps)
    assume(story.usages)
    told, usage = story.told, story.usages[which % len(story.usages)]
    end_lots(told.team, story.now, [])
    less, before = cost(told, usage) - credits, told.team.total // MICRO

    told.amended(usage, credits, recorded=story.now)

    came = told.team.total // MICRO - before
    # What ended credits pay of more work in their time was gone already.
    assert came == less if less >= 0 else less <= came <= 0


@given(STEPS, st.integers(0, 60), st.integers(1, 150))
@settings(max_examples=300, deadline=None)
def test_what_is_amended_and_then_voided_comes_back_as_if_it_had_never_been_amended(
    steps: list[Step], which: int, credits: int
) -> None:
    steps = [step for step in steps if step[0] not in ("wait", "seal", "grant", "late")]  # nothing ends
    plain, amended = tell(steps), tell(steps)
    assume(plain.usages and plain.now < NOON + MONTH)  # nor the cycle
    usage = plain.usages[which % len(plain.usages)]

    plain.told.voided(usage, recorded=plain.now)
    amended.told.amended(usage, credits, recorded=plain.now)
    amended.told.voided(len(amended.told.stored), recorded=plain.now)

    assert amended.told.team.total == plain.told.team.total


def test_a_debt_stays_a_debt_though_the_lot_of_its_time_has_got_credits_back_and_has_ended(history: History) -> None:
    history.used(100, recorded=at(1))
    history.used(30, recorded=at(2))
    history.voided(2, recorded=at(3))
    history.refilled(100, starts=NOON + MONTH, ends=NOON + 2 * MONTH)
    assert history.balance() == (100, -30)

    history.amended(3, 30, recorded=NOON + MONTH + timedelta(minutes=5))

    assert history.balance() == (100, -30)
    assert [tuple(part) for part in history.entries[-1].paid] == [(DEBT, 30 * MICRO)]


def test_what_costs_less_returns_to_the_last_of_those_who_paid(history: History) -> None:
    history.purchased(20, recorded=at(1))
    history.used(130, recorded=at(2))

    history.amended(3, 105, recorded=at(3))

    assert [(part.lot, part.credits // MICRO) for part in history.entries[-1].paid] == [(1, 100), (2, 5)]
    assert (history.team.debt, history.balance()) == (0, (0, 15))


def test_what_is_more_is_burned_like_usage_of_its_time_and_stands_with_what_was_paid_before(history: History) -> None:
    history.used(40, recorded=at(1))
    history.purchased(20, recorded=at(2))

    history.amended(2, 110, recorded=at(3))

    assert [(part.lot, part.credits // MICRO) for part in history.entries[-1].paid] == [(1, 100), (3, 10)]
    assert history.balance() == (0, 10)


def test_whoever_paid_last_gets_back_first_however_often_a_usage_is_amended(history: History) -> None:
    history.used(101, recorded=at(1))  # 1 of it is debt
    history.purchased(2, recorded=at(2))
    history.amended(2, 104, recorded=at(3))
    assert [(part.lot, part.credits // MICRO) for part in history.entries[-1].paid] == [
        (1, 100),
        (DEBT, 1),
        (3, 1),
        (DEBT, 2),
    ]

    history.amended(len(history.stored), 102, recorded=at(4))

    assert [(part.lot, part.credits // MICRO) for part in history.entries[-1].paid] == [(1, 100), (DEBT, 1), (3, 1)]
    assert (history.team.debt, [tuple(payer) for payer in history.team.debt_payers]) == (0, [(3, MICRO)])


def test_down_and_up_again_brings_nobody_what_has_ended(history: History) -> None:
    begins = NOON + MONTH
    history.used(40, recorded=at(1))
    history.refilled(100, starts=begins, ends=begins + MONTH)

    history.amended(2, 10, recorded=begins)
    assert history.balance() == (130, 0)
    history.amended(len(history.stored), 40, recorded=begins)

    assert history.balance() == (100, 0)


def test_what_would_pass_the_largest_balance_stays_paid(history: History) -> None:
    history.used(100, recorded=at(1))
    for minute in range(2, 8):
        history.granted(ENTRY_MAX // MICRO, recorded=at(minute))
    assert history.team.total == BALANCE_MAX

    history.amended(2, 10, recorded=at(20))

    assert history.team.total == BALANCE_MAX == sum(lot.remaining for lot in history.team.lots)
    assert sum(part.credits for part in history.entries[-1].paid) == 100 * MICRO


def test_an_amendment_says_both_what_came_back_and_what_was_used(history: History) -> None:
    history.used(40, recorded=at(1))

    back, used = history.amended(2, 25, recorded=at(3))

    assert (back.credits, used.credits, used.balance_after) == (40 * MICRO, -25 * MICRO, 75 * MICRO)
    assert back.occurred_at == used.occurred_at == at(1)


@pytest.mark.parametrize(("anew", "is_out"), [(100, True), (120, True), (90, False)])
def test_a_team_is_out_until_an_amendment_really_gives_something_back(
    history: History, anew: int, *, is_out: bool
) -> None:
    history.used(100, recorded=at(1))
    history.then(BalanceRanOut(available_credits=0, crossed_at_position=2), recorded=at(2))
    history.purchased(30, recorded=at(2))
    history.then(HoldPlaced(hold_id="h", credits=30 * MICRO, expires_at=at(60)), recorded=at(3))
    history.then(BalanceRanOut(available_credits=0, crossed_at_position=5), recorded=at(3))

    history.amended(2, anew, recorded=at(4))

    assert history.team.out == is_out


def test_a_hold_that_goes_brings_nothing_and_nor_does_an_amendment_after_it(history: History) -> None:
    history.then(HoldPlaced(hold_id="h", credits=100 * MICRO, expires_at=at(60)), recorded=at(1))
    history.then(BalanceRanOut(available_credits=0, crossed_at_position=2), recorded=at(1))
    history.then(HoldExpired(hold_id="h"), recorded=at(60))
    history.used(10, recorded=at(61))

    history.amended(5, 10, recorded=at(62))

    assert history.team.out


@pytest.mark.parametrize("gained", [-1, 1], ids=["in debt", "in credit"])
def test_at_the_largest_balance_an_amendment_to_the_same_amount_moves_nothing_either(
    history: History, gained: int
) -> None:
    huge = ENTRY_MAX // MICRO
    for minute in range(1, 6):
        if gained > 0:
            history.granted(huge, recorded=at(minute))
        history.used(huge if gained < 0 else 1, recorded=at(minute))
    usage = len(history.stored)
    for minute in range(6, 11):
        if gained > 0:
            history.granted(huge, recorded=at(minute))
    before = state(history.team)
    assert abs(history.team.total) == BALANCE_MAX

    history.amended(usage, cost(history, usage), recorded=at(20))

    assert state(history.team) == before


def test_no_snapshot_shows_a_balance_between_the_two_facts_of_an_amendment(history: History) -> None:
    history.used(40, recorded=at(1))
    history.amended(2, 30, recorded=at(2))
    team, cadence = history.team, Cadence(every=3)

    taken = [note(team, stored, cadence) for stored in history.stored]

    assert [snapshot.position for snapshot in taken if snapshot is not None] == [4]
