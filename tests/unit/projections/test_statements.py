"""A statement ties, begins where the last one ended, and nothing that is recorded later changes it."""

from datetime import datetime

from hypothesis import given, settings

from projections.balance.state import ActivityKind, TeamBalance
from projections.statements.fold import GAINS, LINES, LOSSES, StatementFold
from schemas.cycles import Cycle
from schemas.facts import PeriodSealed, Stored
from tests.unit.projections.history import MONTH, NOON
from tests.unit.projections.random_history import STEPS, Step, tell


def cycle_at(at: datetime) -> int:
    return (at - NOON) // MONTH


def cycle(number: int) -> Cycle:
    return Cycle(number, NOON + number * MONTH, NOON + (number + 1) * MONTH)


def told(facts: list[Stored], number: int) -> StatementFold:
    fold = StatementFold(cycle(number), cycle_at, TeamBalance("team_42"))
    for stored in facts:
        fold.take(stored)
    fold.close()
    return fold


def seals(facts: list[Stored]) -> dict[int, int]:
    """Where each cycle was sealed first, by its number."""
    places: dict[int, int] = {}
    sealed = NOON
    for stored in facts:
        fact = stored.fact()
        if isinstance(fact, PeriodSealed) and fact.ends_at > sealed:
            for number in range(cycle_at(sealed), cycle_at(fact.ends_at)):
                places[number] = stored.position
            sealed = fact.ends_at
    return places


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_each_statement_ties_begins_where_the_last_one_ended_and_is_the_same_for_ever(steps: list[Step]) -> None:
    facts = tell([*steps, ("wait", 1, 50), ("seal", 1, 0), ("use", 3, 1)]).told.stored
    closing = None
    for number, position in sorted(seals(facts).items()):
        fold, whole = told(facts[:position], number), told(facts, number)

        assert fold.sums == whole.sums
        assert fold.lines == whole.lines
        if closing is not None:
            assert fold.sums["opening"] == closing
        closing = fold.sums["closing"]
        assert sum(fold.left_by_kind().values()) == closing.total
        features = fold.lines.by_feature.values()
        assert sum(work.used for work in features) == fold.sums["used"].total
        assert sum(work.taken_back for work in features) == fold.sums["taken_back"].total


def test_every_kind_of_entry_is_counted_by_a_line_or_by_none_on_purpose() -> None:
    assert LINES.keys() == set(ActivityKind)
    assert {*GAINS, *LOSSES} == {line[0] for line in LINES.values() if line is not None} | {"given_back"}
