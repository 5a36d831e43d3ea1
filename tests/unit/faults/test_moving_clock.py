"""The clock of a day that goes by in minutes: one file moves it for every process that runs by it, while they run."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.day import noon
from tests.faults.moving_clock import FILE, MovingClock, by_a_clock

TELLS = "import sys, time; [print(int(time.time()), flush=True) for _ in sys.stdin]"
MINUTE = 60


def told(process: "subprocess.Popen[str]") -> int:
    """What time it is there."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def test_who_runs_by_a_clock_is_moved_while_it_runs(tmp_path: Path) -> None:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("a clock that can be moved needs Linux and a C compiler: it was not tested")
    environment = by_a_clock(tmp_path)
    clock, now = MovingClock(Path(environment[FILE])), datetime.now(UTC)
    process = subprocess.Popen(
        [sys.executable, "-c", TELLS], env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    before = told(process)
    clock.is_now(now + timedelta(days=365))
    after = told(process)
    process.communicate()

    assert abs(after - before - 365 * 24 * 3_600) < MINUTE * 5


@pytest.mark.parametrize(
    ("now", "begins"),
    [
        (datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 12, 31, 12, tzinfo=UTC)),
        (datetime(2027, 12, 31, 13, tzinfo=UTC), datetime(2028, 12, 31, 12, tzinfo=UTC)),
    ],
)
def test_a_day_begins_before_the_end_of_a_year_that_is_still_to_come(now: datetime, begins: datetime) -> None:
    assert noon(now) == begins
