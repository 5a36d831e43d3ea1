"""Usage that one open lot pays takes a short way through the fold, to the very state and entry of the long one."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.balance.fold import evolve
from projections.balance.plain import use_plainly
from projections.balance.snapshots import encode, note
from projections.balance.state import ActivityKind, TeamBalance
from schemas.credits import MICRO
from schemas.facts import BalanceRanOut, HoldPlaced, Stored, UsageRecorded, UsageVoided
from tests.unit.projections.history import MONTH, NOON, History, at
from tests.unit.projections.random_history import STEPS, Step, tell

USAGE = UsageRecorded(feature="ai_video.generate", quantity="1", credits=3 * MICRO, rate_card=1, member_id="mem_1")


def whole(team: TeamBalance) -> tuple[object, ...]:
    """All of a state, with what is yet to be saved of it."""
    return encode(team), team.stretch, sorted(team.changed), [replace(lot) for lot in team.changed.values()]


def fold(stored_facts: list[Stored], *, plainly: bool) -> tuple[list[Any], int]:
    """State and entries after each fact, and how many went the short way."""
    history, short = History(), 0
    seen: list[Any] = []
    for stored in stored_facts:
        fact, team = stored.fact(), history.team
        entry = use_plainly(team, stored, fact) if plainly and isinstance(fact, UsageRecorded) else None
        short += entry is not None
        paid = history.paid.get(fact.usage_position, ()) if isinstance(fact, UsageVoided) else ()
        entries = [entry] if entry else evolve(team, stored, fact, paid, history.lots)
        history.lots.update(team.changed)
        history.paid.update((one.position, one.paid) for one in entries if one.kind is ActivityKind.USAGE)
        seen.append((entries, [str(lot) for lot in team.changed.values()], encode(team), note(team, stored)))
    return seen, short


@given(STEPS, st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
@settings(max_examples=200, deadline=None)
def test_random_histories_come_to_the_same_both_ways(
    steps: list[Step], with_holds: set[int], run_out: set[int]
) -> None:
    told = tell(steps).told
    stored_facts = [with_hold(one) if one.position in with_holds else one for one in told.stored]
    stored_facts = [ran_out(one) if one.position in run_out else one for one in stored_facts]

    assert fold(stored_facts, plainly=True)[0] == fold(stored_facts, plainly=False)[0]


def with_hold(stored: Stored) -> Stored:
    """A usage that names a hold; a gift becomes that hold."""
    match stored.fact():
        case UsageRecorded() as fact:
            body = UsageRecorded(
                feature=fact.feature, quantity="1", credits=fact.credits, rate_card=1, hold_id="h"
            ).body()
            return stored._replace(body=body)
        case _ if stored.type == "credits.granted.v1":
            held = HoldPlaced(hold_id="h", credits=MICRO, expires_at=stored.recorded_at + MONTH)
            return stored._replace(type=held.type, body=held.body())
        case _:
            return stored


def ran_out(stored: Stored) -> Stored:
    """The log says so at a place where a pack was bought."""
    if stored.type != "credits.purchased.v1":
        return stored
    return stored._replace(
        type=BalanceRanOut.type, body=BalanceRanOut(available_credits=0, crossed_at_position=1).body()
    )


def a_team() -> History:
    """With included credits and a pack."""
    history = History()
    history.refilled(100, starts=NOON, ends=NOON + MONTH)
    history.purchased(100, recorded=at(1))
    return history


def usage(history: History, fact: UsageRecorded = USAGE, *, after: timedelta = timedelta(hours=1)) -> Stored:
    when = at(1) + after
    return Stored(7, len(history.stored) + 1, when, when, "team_42", "test", "u", fact.type, fact.body())


def test_what_is_plain_goes_the_short_way() -> None:
    told = a_team()
    for minute in range(2, 12):
        told.used(3, recorded=at(minute))

    assert fold(told.stored, plainly=True)[1] == 10


def owes(history: History) -> Stored:
    history.used(300, recorded=at(2))
    history.granted(500, recorded=at(3), expires=NOON + MONTH)  # what ends pays no debt
    return usage(history)


def names_a_hold(history: History) -> Stored:
    return usage(history, UsageRecorded(feature="f", quantity="1", credits=MICRO, rate_card=1, hold_id="h"))


def empties_its_lot(history: History) -> Stored:
    return usage(history, UsageRecorded(feature="f", quantity="1", credits=100 * MICRO, rate_card=1))


def costs_nothing(history: History) -> Stored:
    return usage(history, UsageRecorded(feature="f", quantity="1", credits=0, rate_card=1))


def is_late(history: History) -> Stored:
    history.sealed(ends=NOON + timedelta(minutes=30), recorded=at(40))
    return usage(history)._replace(occurred_at=at(10))


def comes_after_an_end(history: History) -> Stored:
    return usage(history, after=MONTH)


@pytest.mark.parametrize(
    "story", [owes, names_a_hold, empties_its_lot, costs_nothing, is_late, comes_after_an_end], ids=lambda f: f.__name__
)
def test_what_is_more_is_left_to_the_long_way_untouched(story: Callable[[History], Stored]) -> None:
    history = a_team()
    stored = story(history)
    fact, before = stored.fact(), deepcopy(whole(history.team))
    assert isinstance(fact, UsageRecorded)

    assert use_plainly(history.team, stored, fact) is None
    assert encode(history.team) == before[0]
    assert str(whole(history.team)[1:]) == str(before[1:])
