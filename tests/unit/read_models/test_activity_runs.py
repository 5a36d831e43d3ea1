"""Which entries share a row of the activity."""

from datetime import UTC, datetime

import pytest

from projections.activity import RUN_LENGTH_MAX, RUN_SPAN_MAX
from projections.balance.state import DEBT, ActivityKind, BalanceEntry, LotPayment
from services.read_models.activity_rows import EntryOfTeam
from services.read_models.activity_runs import Run, into_runs, is_plain

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def used(position: int, *, lot: int = 1, included: bool = True) -> BalanceEntry:
    credits = (-5, 0) if included else (0, -5)
    return BalanceEntry(
        position, 0, ActivityKind.USAGE, NOON, NOON, "mem_1", "ai_image.generate", *credits, 100, (LotPayment(lot, 5),)
    )


def places(team_id: str, *entries: BalanceEntry) -> list[EntryOfTeam]:
    return [(1, team_id, entry) for entry in entries]


def positions(runs: list[Run]) -> list[tuple[str, list[int]]]:
    return [(run.team_id, [entry.position for entry in run.entries]) for run in runs]


def test_each_team_has_runs_of_its_own_and_what_would_be_one_entry_stands_alone() -> None:
    entries = [*places("a", used(1)), *places("b", used(2)), *places("c", used(3)), *places("a", used(4), used(5))]
    entries += places("b", used(6))

    runs, alone = into_runs(entries)

    assert positions(runs) == [("a", [1, 4, 5]), ("b", [2, 6])]
    assert alone == places("c", used(3))


def test_a_run_is_of_one_lot_and_its_team_never_goes_back_to_an_earlier_one() -> None:
    runs, alone = into_runs(places("a", used(1), used(2), used(3, lot=2), used(4, lot=2), used(5), used(6)))

    assert positions(runs) == [("a", [1, 2]), ("a", [3, 4]), ("a", [5, 6])]  # they do not overlap
    assert alone == []


def test_a_run_is_of_included_or_of_additional_credits() -> None:
    runs, _ = into_runs(places("a", used(1), used(2), used(3, included=False), used(4, included=False)))

    assert positions(runs) == [("a", [1, 2]), ("a", [3, 4])]


def test_a_run_has_an_end() -> None:
    runs, _ = into_runs(places("a", *map(used, range(1, 2 * RUN_LENGTH_MAX + 1))))
    assert [len(run.entries) for run in runs] == [RUN_LENGTH_MAX, RUN_LENGTH_MAX]

    runs, _ = into_runs(places("a", used(1), used(2), used(RUN_SPAN_MAX + 1), used(RUN_SPAN_MAX + 2)))
    assert positions(runs) == [("a", [1, 2]), ("a", [RUN_SPAN_MAX + 1, RUN_SPAN_MAX + 2])]


@pytest.mark.parametrize(
    "entry",
    [
        used(1)._replace(kind=ActivityKind.REFILL),
        used(1)._replace(part=1),
        used(1)._replace(late=True),
        used(1)._replace(paid=()),
        used(1)._replace(paid=(LotPayment(1, 3), LotPayment(2, 2))),
        used(1, lot=DEBT),
        used(1)._replace(included=-4),
        used(1)._replace(included=-3, additional=-2),
        used(1)._replace(included=0, paid=(LotPayment(1, 0),)),
    ],
    ids=["no usage", "a later part", "late", "nobody paid", "two paid", "debt", "another sum", "of both", "nothing"],
)
def test_what_a_run_can_not_say_stands_alone(entry: BalanceEntry) -> None:
    assert is_plain(used(1))
    assert not is_plain(entry)
    assert into_runs([*places("a", entry), *places("a", used(2), used(3))])[1] == places("a", entry)
