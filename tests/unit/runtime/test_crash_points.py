"""Each named place at which a process may die is one at which some test lets it die, and none of those has gone."""

import re
from pathlib import Path

from tests.faults.crash_points import CRASH_POINTS
from tests.faults.money import ANYWHERE, STEPS
from tests.faults.steps.works import CELLS

ROOT = Path(__file__).parents[3]
NAMED = re.compile(r'crashpoint\("([a-z_:]+)"\)')


def in_the_code() -> set[str]:
    return {name for path in (ROOT / "services").rglob("*.py") for name in NAMED.findall(path.read_text("utf-8"))}


def test_at_each_crash_point_some_test_lets_a_process_die() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))

    assert [name for name in sorted(in_the_code()) if f'"{name}' not in tests] == []


def test_the_matrices_name_crash_points_that_there_are() -> None:
    named = {*(step for _, step in CELLS), *STEPS, *(point for points in CRASH_POINTS.values() for point in points)}

    assert named - in_the_code() == {ANYWHERE}
