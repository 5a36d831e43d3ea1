"""Which usages of a team share a row of the activity, and what each of them says alone."""

from datetime import UTC, datetime

import pytest

from projections.activity import RUN_LENGTH_MAX, RUN_SPAN_MAX
from projections.balance.state import ActivityKind, BalanceEntry, LotPayment
from services.read_models.activity_runs import PlainRun, entries_of, spans
from services.store.copying import microseconds

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("positions", "cut"),
    [
        ([], []),
        ([7], [(0, 1)]),
        ([7, 8, 30], [(0, 3)]),
        (range(2 * RUN_LENGTH_MAX + 1), [(0, 64), (64, 128), (128, 129)]),
        ([1, RUN_SPAN_MAX, RUN_SPAN_MAX + 1, RUN_SPAN_MAX + 2], [(0, 2), (2, 4)]),
        ([1, RUN_SPAN_MAX + 1, 2 * RUN_SPAN_MAX + 1], [(0, 1), (1, 2), (2, 3)]),
    ],
    ids=["none", "one", "few", "many", "far apart", "each far away"],
)
def test_a_row_has_an_end(positions: list[int], cut: list[tuple[int, int]]) -> None:
    assert list(spans(list(positions))) == cut


@pytest.mark.parametrize("is_included", [True, False])
def test_an_entry_of_a_run_says_what_it_would_say_alone(*, is_included: bool) -> None:
    time = microseconds(NOON).to_bytes(8, "big")
    run = PlainRun(1, "a", 4, is_included, [5, 6], [time] * 2, [time] * 2, [None, "m"], ["f", "g"], [1, 2], [9, 7])
    change = (-2, 0) if is_included else (0, -2)

    assert list(entries_of(run, 1, 2)) == [
        (1, "a", BalanceEntry(6, 0, ActivityKind.USAGE, NOON, NOON, "m", "g", *change, 7, (LotPayment(4, 2),)))
    ]
