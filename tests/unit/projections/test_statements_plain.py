"""A statement takes plain usage the short way, to the very bytes and sums of the long one."""

from dataclasses import astuple
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.balance.snapshots import encode
from projections.balance.state import LotPayment, TeamBalance
from projections.statements.document import SealedCycle, csv_of, document, json_of
from projections.statements.fold import FEW, StatementFold
from projections.statements.payers import Payers
from schemas.facts import PlanAssigned, Stored, UsageRecorded
from schemas.places import Place
from tests.unit.projections.history import MONTH, NOON, History, at
from tests.unit.projections.random_history import STEPS, Step, of_a_member, tell, with_hold
from tests.unit.projections.test_statements import cycle, cycle_at


def folded(stored_facts: list[Stored], number: int, page: int | None) -> tuple[StatementFold, int]:
    """The statement of a cycle, by pages of so many facts, or fact by fact; and how many facts were taken alone."""
    fold, alone = StatementFold(cycle(number), cycle_at, TeamBalance("team_42")), 0
    for start in range(0, len(stored_facts), page or 1):
        facts = stored_facts[start : start + (page or 1)]
        for stored in facts if page is None else fold.take_plainly(facts):
            fold.take(stored)
            alone += 1
    fold.close()
    return fold, alone


def payer_of(payers: Payers, position: int) -> tuple[LotPayment, ...] | None:
    try:
        return payers.of(position)
    except KeyError:
        return None


def everything(fold: StatementFold, facts: int) -> tuple[object, ...]:
    """All that a statement says, and all that the next fact is counted by."""
    sealed = SealedCycle(fold.cycle, Place(7, facts), "2026-12-01T00:00:00Z", 1, "00")
    statement = document("log", sealed, fold, {})
    lots = {number: astuple(lot) for number, lot in fold.lots.items()}
    paid = [payer_of(fold.payers, position) for position in range(1, facts + 1)]
    return (
        json_of(statement), csv_of(statement), encode(fold.team), fold.sums, fold.lines, fold.remaining, lots, paid,
        fold.spendable, fold.plan,
    )  # fmt: skip


@given(STEPS, st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)), st.integers(1, 40), st.integers(-1, 2))
@settings(max_examples=300, deadline=None)
def test_random_histories_come_to_the_same_statement_both_ways(
    steps: list[Step], with_holds: set[int], of_members: set[int], page: int, number: int
) -> None:
    whole = [*steps, ("wait", 1, 50), ("seal", 1, 0), ("use", 3, 1)]
    facts = [with_hold(one) if one.position in with_holds else one for one in tell(whole).told.stored]
    facts = [of_a_member(one) if one.position in of_members else one for one in facts]

    (short, _), (long, alone) = folded(facts, number, page), folded(facts, number, None)

    assert alone == len(facts)
    assert everything(short, len(facts)) == everything(long, len(facts))


def two_cycles(included: int = 1_000, usages: int = 40) -> list[Stored]:
    """Usage of several members on both sides of a cycle's begin and of a new plan's, every third one out of order."""
    history, begin = History(), NOON + MONTH
    history.refilled(included, starts=NOON, ends=begin)
    history.purchased(1_000, recorded=at(1))
    for hour in range(usages):
        history.used(3, recorded=begin - timedelta(hours=usages - hour))
    history.refilled(included, starts=begin, ends=begin + MONTH)
    plan = PlanAssigned(plan="enterprise", anchor=begin, zone="UTC", allowance_credits=1)
    history.then(plan, recorded=begin + timedelta(hours=1))
    for hour in range(usages):
        then = begin + timedelta(hours=hour + 2)
        history.used(2, recorded=then, occurred=then - timedelta(hours=hour % 3 * 4))
    history.sealed(ends=begin, recorded=begin + timedelta(days=3))
    return [of_a_member(stored) for stored in history.stored]


@pytest.mark.parametrize("number", [-1, 0, 1, 2])
@pytest.mark.parametrize("page", [1, 7, 50, 1_000])
@pytest.mark.parametrize("included", [0, 1_000])
def test_usage_on_both_sides_of_a_cycles_begin_counts_where_it_belongs(included: int, page: int, number: int) -> None:
    facts = two_cycles(included)

    (short, alone), (long, _) = folded(facts, number, page), folded(facts, number, None)

    assert everything(short, len(facts)) == everything(long, len(facts))
    if not included:
        assert alone == 5, "the refills, the pack, the plan and the seal"


@pytest.mark.parametrize("odd", [0, 1, 30, 39])
def test_one_usage_among_many_that_names_a_hold_takes_few_with_it(odd: int) -> None:
    facts = two_cycles(included=0)
    usages = [stored.position for stored in facts if stored.type == UsageRecorded.type]
    facts = [with_hold(stored) if stored.position == usages[odd] else stored for stored in facts]

    (short, alone), (long, _) = folded(facts, 1, 1_000), folded(facts, 1, None)

    assert everything(short, len(facts)) == everything(long, len(facts))
    assert alone <= 5 + 2 * FEW


@pytest.mark.parametrize("body", [b"{}", b"{", b'{"feature":"f","quantity":"1","credits":-1,"rate_card":1}'])
def test_a_usage_that_can_not_be_read_is_given_back_in_its_turn(body: bytes) -> None:
    facts = two_cycles()
    facts[10] = facts[10]._replace(body=body)
    fold = StatementFold(cycle(0), cycle_at, TeamBalance("team_42"))
    given_back = fold.take_plainly(facts)
    for stored in facts[:10]:
        assert next(given_back) == stored
        fold.take(stored)

    unreadable = next(given_back)

    assert unreadable == facts[10]
    with pytest.raises(ValueError, match=r"Object|Input|Expected"):
        fold.take(unreadable)


def test_what_a_run_of_usage_was_paid_by_is_known_by_its_position() -> None:
    payers = Payers()
    payers.note_plainly(1, [2, 4], [20, 40])
    payers.note(5, (LotPayment(1, 1), LotPayment(3, 49)))
    payers.note_plainly(3, [6], [60])
    payers.note_plainly(3, [9], [90])

    assert [payer_of(payers, position) for position in range(1, 11)] == [
        None, (LotPayment(1, 20),), None, (LotPayment(1, 40),), (LotPayment(1, 1), LotPayment(3, 49)),
        (LotPayment(3, 60),), None, None, (LotPayment(3, 90),), None,
    ]  # fmt: skip
    assert len(payers.runs) == 2
