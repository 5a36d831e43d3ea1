"""Work on all cores: in order, by other processes only where it is worth it, and what fails is said."""

import os
import signal
import time
from contextlib import suppress
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from services.runtime.long_work.children import ChildKilled
from services.runtime.long_work.cores import WORTH_IT, as_they_end, on_every_core
from tests.support.waiting import until_in_a_thread


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


def its_own_end(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_was_killed_is_named_with_its_work_and_no_other_is_left() -> None:
    named = r"process \d+ was ended by SIGKILL while it worked on piece 3"
    with pytest.raises(ChildKilled, match=named), as_they_end(its_own_end, range(8), 2, name="piece {}".format) as done:
        list(done)

    assert active_children() == []


def test_a_process_that_ends_by_itself_is_named_with_its_exit_code() -> None:
    with pytest.raises(ChildKilled, match="ended with exit code 7 while it worked on 1"):
        with as_they_end(os._exit, [7, 7], 2, name=lambda _: "1") as done:
            list(done)


def test_each_outcome_comes_when_it_is_there(tmp_path: Path) -> None:
    with as_they_end(partial(after_the_others, tmp_path), range(5), 2) as done:
        numbers = [number for number, _ in done]

    assert (numbers[-1], sorted(numbers)) == (0, list(range(5)))


def after_the_others(folder: Path, number: int) -> None:
    """The first one waits until all others were begun."""
    (folder / str(number)).touch()
    if number == 0:
        until_in_a_thread(lambda: len(list(folder.iterdir())) == 5)


def test_whoever_leaves_early_leaves_no_process() -> None:
    with suppress(KeyError), as_they_end(time.sleep, [0, 1_000, 1_000], 2) as done:
        next(done)
        raise KeyError

    assert active_children() == []
