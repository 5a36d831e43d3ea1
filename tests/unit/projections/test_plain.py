"""Usage that one open lot pays takes a short way through the fold, to the very state and entry of the long one."""

from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.plain import PlainPayment, Usages, pass_over, plain_at_first, use_plainly
from projections.balance.snapshots import CADENCE, encode, note
from projections.balance.state import TeamBalance
from schemas.credits import MICRO
from schemas.facts import Stored, UsageRecorded
from tests.unit.projections.history import MONTH, NOON, History, at
from tests.unit.projections.random_history import STEPS, RandomHistory, Step

USAGE = UsageRecorded(feature="ai_video.generate", quantity="1", credits=3 * MICRO, rate_card=1, member_id="mem_1")


def whole(team: TeamBalance) -> tuple[object, ...]:
    """All of a state, with what is yet to be saved of it."""
    return encode(team), team.stretch, str(sorted(team.changed.items()))


def usages_of(*stored_facts: Stored) -> Usages:
    """Usages, one after the other."""
    times = [stored.occurred_at for stored in stored_facts]
    credits = [fact.credits for stored in stored_facts if isinstance(fact := stored.fact(), UsageRecorded)]
    return Usages(credits, min(times), max(times), stored_facts[-1].position, stored_facts[-1].recorded_at)


def a_team() -> History:
    """With included credits and a pack."""
    history = History()
    history.refilled(100, starts=NOON, ends=NOON + MONTH)
    history.purchased(100, recorded=at(1))
    return history


def usage(history: History, fact: UsageRecorded = USAGE, *, after: timedelta = timedelta(hours=1)) -> Stored:
    when = at(1) + after
    return Stored(7, len(history.stored) + 1, when, when, "team_42", "test", "u", fact.type, fact.body())


def test_many_usages_are_taken_at_once_as_the_long_way_takes_each() -> None:
    short, long = a_team(), a_team()
    for minute in range(2, 12):
        long.used(3, recorded=at(minute))
        note(long.team, long.stored[-1])

    payment = use_plainly(short.team, usages_of(*long.stored[2:]))

    assert payment is not None
    assert (payment.lot, payment.is_included) == (1, True)
    assert payment.balances == [entry.balance_after for entry in long.entries[2:]]
    assert whole(short.team) == whole(long.team)


def test_the_fact_that_takes_a_snapshot_is_left_to_the_long_way() -> None:
    history = a_team()
    history.team.stretch.facts = CADENCE.every - 2

    assert use_plainly(history.team, usages_of(usage(history))) is not None
    assert use_plainly(history.team, usages_of(usage(history))) is None


@pytest.mark.parametrize(
    ("credits_each", "facts_before", "at_first"), [(3, 0, 33), (2, 0, 40), (3, CADENCE.every - 5, 4), (200, 0, 0)],
    ids=["the lot ends", "nothing ends", "the stretch ends", "the first is too much"],
)  # fmt: skip
def test_usages_are_cut_where_something_ends(credits_each: int, facts_before: int, at_first: int) -> None:
    history = a_team()
    history.team.stretch.facts = facts_before
    usages = usages_of(usage(history))._replace(credits=[credits_each * MICRO] * 40)

    assert plain_at_first(history.team, usages) == at_first


def owes(history: History) -> Stored:
    history.used(300, recorded=at(2))
    history.granted(500, recorded=at(3), expires=NOON + MONTH)  # what ends pays no debt
    return usage(history)


def empties_its_lot(history: History) -> Stored:
    return usage(history, UsageRecorded(feature="f", quantity="1", credits=100 * MICRO, rate_card=1))


def costs_nothing(history: History) -> Stored:
    return usage(history, UsageRecorded(feature="f", quantity="1", credits=0, rate_card=1))


def is_late(history: History) -> Stored:
    history.sealed(ends=NOON + timedelta(minutes=30), recorded=at(40))
    return usage(history)._replace(occurred_at=at(10))


def is_older_than_a_snapshot_counts_on(history: History) -> Stored:
    history.team.stretch.late_before = at(30)
    return usage(history)._replace(occurred_at=at(10))


def two_lots_pay(history: History) -> Stored:
    history.granted(500, recorded=at(3), expires=NOON + MONTH)
    return usage(history, UsageRecorded(feature="f", quantity="1", credits=100 * MICRO, rate_card=1))


def comes_after_an_end(history: History) -> Stored:
    return usage(history, after=MONTH)


def test_usages_that_different_lots_pay_are_not_taken_at_once() -> None:
    history = a_team()
    before, after = usage(history), usage(history, after=timedelta(hours=2))
    history.team.lots[0].starts_at = after.occurred_at

    assert use_plainly(history.team, usages_of(before, after)) is None
    assert use_plainly(history.team, usages_of(before)) == PlainPayment(2, False, [197 * MICRO])
    assert use_plainly(history.team, usages_of(after)) == PlainPayment(1, True, [194 * MICRO])


@pytest.mark.parametrize(
    "story",
    [
        owes,
        empties_its_lot,
        two_lots_pay,
        costs_nothing,
        is_late,
        is_older_than_a_snapshot_counts_on,
        comes_after_an_end,
    ],
    ids=lambda f: f.__name__,
)
def test_what_is_more_is_left_to_the_long_way_untouched(story: Callable[[History], Stored]) -> None:
    history = a_team()
    stored = story(history)
    before = deepcopy(whole(history.team))

    assert use_plainly(history.team, usages_of(stored)) is None
    assert whole(history.team) == before


@given(steps=STEPS, together=st.integers(1, 40))
def test_facts_that_are_passed_over_leave_the_team_as_one_by_one(steps: list[Step], together: int) -> None:
    """However many at a time: a read begins where the projector is, in the midst of a history."""
    history = RandomHistory()
    for step in steps:
        history.tell(step)
    facts = [stored for stored in history.told.stored if earlier_usage(stored.fact()) is None]
    one_by_one, at_once = TeamBalance("team_42"), TeamBalance("team_42")

    for first in range(0, len(facts), together):
        for stored in facts[first : first + together]:
            evolve(one_by_one, stored, stored.fact())
        assert pass_over(at_once, facts[first : first + together])
        assert (encode(at_once), str(at_once.changed)) == (encode(one_by_one), str(one_by_one.changed))


def test_facts_with_a_void_are_not_passed_over() -> None:
    history = a_team()
    history.used(3, recorded=at(2))
    history.voided(len(history.stored), recorded=at(3))
    team = TeamBalance("team_42")

    assert not pass_over(team, history.stored)
    assert whole(team) == whole(TeamBalance("team_42"))
