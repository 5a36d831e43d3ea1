"""Thousands of deaths can be gone on with: each run is a line of a file."""

import json
from dataclasses import asdict
from pathlib import Path

from tests.faults.steps.matrix import RUNS_PER_GROUND, Outcome, StepsPlan, read_outcomes


def test_what_was_played_is_read_again_also_where_a_kill_has_left_half_a_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    outcomes = [Outcome(7, died=True, killed=False, seconds=0.2), Outcome(8, True, True, 3.1, ("nobody died",))]
    file.write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes) + '{"seed": 9, "di', "utf-8")

    assert read_outcomes(file) == outcomes


def test_a_run_goes_on_after_what_was_played_and_ends_where_it_was_to_end() -> None:
    earlier = [Outcome(seed, died=True, killed=False, seconds=0.2) for seed in range(5, 8)]
    plan = StepsPlan(range(5, 5 + 2 * RUNS_PER_GROUND), earlier=earlier)

    first, second = plan.groups()

    assert (first[0], len(first)) == (8, RUNS_PER_GROUND)
    assert (second[-1], len(second)) == (4 + 2 * RUNS_PER_GROUND, RUNS_PER_GROUND - 3)
    assert list(StepsPlan(range(3), earlier=earlier).groups()) == []
