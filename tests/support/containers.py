"""Containers for tests: each program has its own pids, host name and shared memory, and sees of the others nothing but the files.

No engine is needed: these are the namespaces of Linux that an engine makes, too.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import until_in_a_thread

ROOT = Path(__file__).parents[2]
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--uts", "--ipc", "--kill-child")
# The first process of many a container waits for nobody: who is killed below it keeps its pid for as long as it lives.
# The program's own process says its pid before it becomes the program, so that nothing is said before it.
FIRST = """exec 3<&0; sh -c 'echo $$; exec "$@"' sh "$@" <&3 & exec sleep infinity"""


class Container:
    """A program in a container, below a first process that outlives it."""

    def __init__(self, process: subprocess.Popen[str], pid: int) -> None:
        """`pid` is the program's within the container."""
        self.process = process
        self.pid = pid

    def kill(self) -> None:
        """End the program by SIGKILL, from within, and wait until it is dead; the container goes on."""
        (program,) = self._first().children()
        self.run("kill", "-KILL", str(self.pid))
        until_in_a_thread(lambda: _is_dead(program), what="what was killed is dead")

    def run(self, *command: str, told: str = "") -> subprocess.CompletedProcess[str]:
        """Another program in the same container."""
        entered = ("nsenter", "--target", str(self._first().pid), "--pid", "--mount", "--uts", "--ipc", *command)
        return subprocess.run(entered, input=told, capture_output=True, text=True, check=False, cwd=ROOT)

    def line(self) -> str:
        """What the program says next."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def _first(self) -> psutil.Process:
        (first,) = psutil.Process(self.process.pid).children()
        return first


def _is_dead(program: psutil.Process) -> bool:
    """None of its threads runs any more: only then are its files closed, and its locks gone."""
    try:
        return program.status() == psutil.STATUS_ZOMBIE and program.num_threads() == 1
    except psutil.NoSuchProcess:
        return True


@contextmanager
def a_container(*command: str, told: str = "") -> Iterator[Container]:
    """A container with a program, until the block ends; `told` is its standard input."""
    with subprocess.Popen(
        [*UNSHARE, "sh", "-c", FIRST, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(told)
            process.stdin.close()
            yield Container(process, int(process.stdout.readline()))
        finally:
            process.kill()


def run_contained(command: Sequence[str], *, told: str = "", powers: bool = True) -> subprocess.CompletedProcess[str]:
    """What a program says in a container that ends with it. Without powers it may read what is its own, as any user."""
    powerless = () if powers else ("setpriv", "--bounding-set=-all")
    return subprocess.run(
        [*UNSHARE, *powerless, *command], input=told, capture_output=True, text=True, check=False, cwd=ROOT
    )


def need_containers() -> None:
    """Where nobody may make namespaces the test is skipped with a line that says so."""
    refusal = _refusal()
    if refusal is not None:
        pytest.skip(f"no namespaces may be made here ({refusal}): two containers on one spool were not tested")


@cache
def _refusal() -> str | None:
    if sys.platform != "linux":
        return "Linux alone has them"
    try:
        tools = ("setpriv", "--bounding-set=-all", "nsenter", "--version")
        done = subprocess.run([*UNSHARE, *tools], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip()
