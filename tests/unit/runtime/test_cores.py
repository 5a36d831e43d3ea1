"""Work on all cores: in order, by other processes only where it is worth it, and what fails is said."""

import os

import pytest

from services.runtime.long_work.cores import WORTH_IT, on_every_core


def own_id(number: int) -> tuple[int, int]:
    return number, os.getpid()


def halved(number: int) -> float:
    return 1 / number


@pytest.mark.parametrize(("rows", "is_here"), [(WORTH_IT - 1, True), (WORTH_IT, (os.cpu_count() or 1) == 1)])
def test_work_is_given_to_other_processes_where_there_is_much(rows: int, *, is_here: bool) -> None:
    with on_every_core(own_id, range(20), rows) as done:
        numbers, processes = zip(*done, strict=True)

    assert numbers == tuple(range(20))
    assert (set(processes) == {os.getpid()}) == is_here


def test_what_fails_there_fails_here() -> None:
    with pytest.raises(ZeroDivisionError), on_every_core(halved, [1, 0, 2], WORTH_IT) as done:
        list(done)
