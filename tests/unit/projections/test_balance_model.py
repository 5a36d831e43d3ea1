"""Random histories against a slow, obvious model of lots and cycles, and the identities that must hold in every one."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from hypothesis import given, settings
from hypothesis import strategies as st

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.lots import end_lots
from projections.balance.state import DEBT, ActivityKind, LotKind, TeamBalance
from schemas.credits import MICRO
from schemas.facts import Stored
from tests.support.fold_one import FoldOne
from tests.support.model import Purse
from tests.unit.projections.history import History
from tests.unit.projections.random_history import STEPS, RandomHistory, Step, tell


def columns(stored: Stored) -> tuple[int, str, datetime, datetime, bytes, str]:
    """What the models are told of a fact."""
    return stored.position, stored.type, stored.occurred_at, stored.recorded_at, stored.body, stored.source


def purse_of(told: History, now: datetime) -> Purse:
    """What the model says of the same story, at an instant after it."""
    purse = Purse()
    for stored in told.stored:
        purse.told(*columns(stored))
    purse.now = now
    return purse


@given(STEPS)
@settings(max_examples=400, deadline=None)
def test_random_histories_fold_to_what_the_obvious_model_says(steps: list[Step]) -> None:
    story = tell(steps)
    told, purse = story.told, purse_of(story.told, story.now)

    end_lots(told.team, story.now, [])

    team = told.team
    assert (team.included, team.additional, team.debt) == (purse.included, purse.additional, purse.debt)
    assert {number: lot.remaining for number, lot in told.lots.items()} == {bag.number: bag.left for bag in purse.bags}
    assert in_runs(team.debt_payers) == in_runs((bag.number, share) for bag, share in purse.payers)


def in_runs(payers: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Who paid debt, and how much: what a lot paid in parts, one after the other, is one payment."""
    return [(number, sum(share for _, share in run)) for number, run in groupby(payers, key=lambda payer: payer[0])]


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_nobody_owes_while_credits_that_never_end_are_left(steps: list[Step]) -> None:
    story = RandomHistory()
    for step in steps:
        story.tell(step)
        team = story.told.team
        assert not team.debt or not [lot for lot in team.lots if lot.is_never_ending and lot.remaining]
        assert team.debt >= 0


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_who_pays_a_debt_changes_no_entry_no_part_and_no_total(steps: list[Step]) -> None:
    told, before = tell([step for step in steps if step[0] not in ("take of a lot", "amend")]).told, FoldOne()

    entries = [
        (stored.position, part, *entry)
        for stored in told.stored
        for part, entry in enumerate(before.told(*columns(stored)[:5]))
    ]

    assert entries == [
        (entry.position, entry.part, entry.kind.value, entry.included, entry.additional, entry.balance_after)
        for entry in told.entries
    ]


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_a_balance_is_the_sum_of_its_entries_and_every_entry_says_the_balance_after_it(steps: list[Step]) -> None:
    told = tell(steps).told

    running = 0
    for entry in told.entries:
        running += entry.credits
        assert entry.balance_after == running
    team = told.team
    assert running == team.total
    living = [lot for lot in team.lots if not lot.ended]
    assert team.included == sum(lot.remaining for lot in living if lot.kind is LotKind.INCLUDED)
    assert team.additional == sum(lot.remaining for lot in living if lot.kind is not LotKind.INCLUDED) - team.debt


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_the_lots_that_paid_add_up_to_what_each_entry_took_or_gave_back(steps: list[Step]) -> None:
    told = tell(steps).told

    for entry in told.entries:
        credits = sum(paid.credits for paid in entry.paid)
        if entry.kind in (ActivityKind.EXPIRY, ActivityKind.REFILL):
            assert not credits
        elif entry.credits < 0 or entry.kind is ActivityKind.USAGE_VOIDED:
            assert credits == abs(entry.credits)
        else:
            assert credits <= entry.credits  # what of it paid debt
        assert all(paid.credits > 0 for paid in entry.paid)
        assert all(paid.lot == DEBT or paid.lot in told.lots for paid in entry.paid)


@given(STEPS, st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_as_of_is_the_fold_of_a_prefix(steps: list[Step], cut: int) -> None:
    told = tell(steps).told
    prefix = told.stored[:cut]

    again = refold(prefix)

    entries = [entry for entry in told.entries if entry.position <= len(prefix)]
    assert again.total == (entries[-1].balance_after if entries else 0)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_folding_again_gives_the_same_state_bit_for_bit(steps: list[Step]) -> None:
    story = tell(steps)
    told = story.told

    again = refold(told.stored)
    for team in (told.team, again):
        end_lots(team, story.now, [])

    assert [vars_of(lot) for lot in again.lots] == [vars_of(lot) for lot in told.team.lots]
    assert (again.included, again.additional, again.debt, again.debt_payers, again.next_end) == (
        told.team.included, told.team.additional, told.team.debt, told.team.debt_payers, told.team.next_end,
    )  # fmt: skip


def vars_of(lot: object) -> tuple[object, ...]:
    """The fields of a lot, to compare by value."""
    return tuple(getattr(lot, name) for name in ("lot", "kind", "gained", "remaining", "starts_at", "ends_at", "ended"))


def refold(stored_facts: list) -> TeamBalance:  # type: ignore[type-arg]
    """A fresh fold that throws its memory away now and then, as a projector that restarts does."""
    again = History()
    for index, stored in enumerate(stored_facts):
        fact = stored.fact()
        earlier = earlier_usage(fact)
        paid = () if earlier is None else again.paid[earlier]
        entries = evolve(again.team, stored, fact, paid, again.lots)
        again.lots.update(again.team.changed)
        again.paid.update((entry.position, entry.paid) for entry in entries if entry.kind is ActivityKind.USAGE)
        if index % 5 == 0:
            again.team = replace(again.team, lots=list(again.team.lots), changed={})
    return again.team


def test_the_model_counts_as_the_fold_does_in_micro_credits() -> None:
    story = tell([("use", 30, 1), ("buy", 5, 1)])

    assert story.told.team.total == 75 * MICRO
    assert purse_of(story.told, story.now).included == 70 * MICRO
