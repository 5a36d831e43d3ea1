"""A storm of hours can be gone on with, and says what grows in it."""

import json
from dataclasses import asdict
from io import StringIO
from itertools import islice
from pathlib import Path

from rich.console import Console

from tests.faults.growth import GROWTH_MAX, growth
from tests.faults.storm import Outcome, Plan, points_of, read_outcomes, report


def played(seed: int, *, scene: int = 1, memory_mb: float = 100.0, problems: tuple[str, ...] = ()) -> Outcome:
    """An injection that took place in the minute of its seed."""
    return Outcome(seed, "kill", 2.0, "killed", problems, seed * 60.0, scene, {"relay-1": memory_mb}, {"relay-1": 20.0})


def test_a_run_goes_on_after_the_last_line_of_a_file_also_where_a_kill_has_left_half_a_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    outcomes = [played(7), played(8, problems=("O1 lost",))]
    file.write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes) + '{"seed": 9, "na', "utf-8")

    assert read_outcomes(file) == outcomes
    rest = Plan(first=9, kinds=["kill"], count=5, earlier=outcomes)
    assert list(rest.seeds()) == [9, 10, 11]
    assert list(islice(Plan(first=9, kinds=["kill"], count=None).seeds(), 3)) == [9, 10, 11]


def slope(outcomes: list[Outcome]) -> float | None:
    """Of the relay's memory."""
    return growth(points_of(outcomes), "memory_mb")["relay-1"]


def test_what_one_scene_takes_more_each_minute_is_a_slope_and_what_a_new_scene_gives_back_is_none() -> None:
    assert slope([played(minute, memory_mb=100 + minute % 2) for minute in range(60)]) == 0.0

    leaking = [played(minute, scene=minute // 30, memory_mb=100 + minute % 30) for minute in range(60)]
    assert round(slope(leaking) or 0, 6) == 60.0
    assert slope(leaking[:6]) is None, "a few points say nothing"
    assert slope([played(minute, memory_mb=100 + minute) for minute in range(14)]) is None, (
        "nor does a quarter of an hour"
    )


def test_the_summary_has_a_line_and_a_bar_for_all_that_may_grow_and_fits_in_80_columns() -> None:
    screen = Console(width=80, record=True, file=StringIO())
    read = {what: {"recorder-1": 100.0} for what in GROWTH_MAX}
    report([Outcome(minute, "max_connections", 2.0, "", (), minute * 60.0, 1, **read) for minute in range(60)], screen)

    said = screen.export_text().splitlines()
    for what, most in GROWTH_MAX.items():
        assert any(line.split() == [what, "recorder-1", "100", "+0.0", f"{most:g}"] for line in said)
    assert max(map(len, said)) <= 80


def test_a_leak_or_a_broken_injection_makes_the_exit_code_1() -> None:
    console = Console(quiet=True)
    assert report([played(minute) for minute in range(60)], console) == 0
    assert report([played(minute, memory_mb=100 + minute) for minute in range(60)], console) == 1
    assert report([played(1), played(2, problems=("O1 lost",))], console) == 1
