"""The bench measures what it says it measures, and does not call noise a result."""

from collections.abc import Sequence
from io import StringIO
from random import Random

import pytest
from rich.console import Console

from schemas.quantities import canonical_quantity
from tests.bench.machine import LOUD_PERCENT, Loudness
from tests.bench.options import options
from tests.bench.report import Figures, Rounds, as_json, show
from tests.bench.workload import bench_teams, uses


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "balance"], "--only visible,balance"),
        (["--only", "holds,record"], "--only visible,holds"),
        (["--only", "holds,visible", "--half-of", "record"], "--only record,holds"),
        (["--only", "neighbour"], "--only large,neighbour"),
        (["--only", "record", "--uuid4"], "add it to --only"),
        (["--only", "everything"], "there is no part everything"),
    ],
)
def test_what_cannot_be_measured_together_is_said_at_once(
    arguments: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options(arguments)

    assert said in capsys.readouterr().err


def test_what_is_needed_may_be_asked_for_in_any_order() -> None:
    assert options(["--only", "balance,visible"]).only == {"visible", "balance"}


def _loud(others: float, stolen: float) -> Loudness:
    return Loudness(
        servers=True,
        others_percent={"record": 0.0, "visible": others},
        stolen_percent={"record": 0.0, "visible": stolen},
    )


def test_a_part_beside_which_others_worked_is_no_result() -> None:
    assert _loud(LOUD_PERCENT / 2, LOUD_PERCENT / 2).is_result
    assert not _loud(LOUD_PERCENT / 2, LOUD_PERCENT / 2 + 1).is_result


@pytest.mark.parametrize("is_result", [True, False])
def test_a_figure_of_a_loud_machine_neither_reaches_nor_misses_its_aim(is_result: bool) -> None:
    page = StringIO()

    show(
        Console(width=200, file=page),
        Figures(record_vs_copy=0.9, visible_vs_copy=0.01, is_result=is_result),
        Rounds(),
        {},
        [],
        0,
    )

    text = page.getvalue()
    assert ("reached" in text and "missed" in text) is is_result
    assert ("no result" in text) is not is_result


def test_programs_are_told_whether_it_is_a_result() -> None:
    assert as_json(Figures(is_result=False))["is_result"] is False


def test_quantities_come_from_a_wide_range_as_services_write_them() -> None:
    drawn = [use.quantity for use in uses(bench_teams(3), 3_000, Random(1))]

    assert all(canonical_quantity(text) == text for text in drawn)
    assert len(set(drawn)) > 1_000
