"""Waiting for servers of others.

They tell nobody when they are ready: look, at short intervals, and see when they have died.
"""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from deploy.local.say import Say
from deploy.local.trouble import StackTrouble, tail

LOOK_SECONDS = 0.02

# A loaded machine makes everything slow, but not still.
STILL_SECONDS = 120.0
AT_MOST_SECONDS = 600.0

# To ask for progress costs a walk over all processes of the machine.
PROGRESS_SECONDS = 1.0
REMIND_SECONDS = 20.0

# Between two attempts: soon at first, for most starts take a moment, then seldom, for every attempt costs a busy server
# time.
FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 1.0


class Patience:
    """How long the start of a server is waited for.

    While it lives and anything moves, and never longer than `at_most_seconds`.

    Three things move: its log grows, it uses a second of processor time, what was seen of it changes. A server that is
    not ours has no `child` and no `log`: there only the last one counts.
    """

    def __init__(
        self,
        step: str,
        child: subprocess.Popen[bytes] | None = None,
        log: Path | None = None,
        *,
        say: Say | None = None,
        still_seconds: float = STILL_SECONDS,
        at_most_seconds: float = AT_MOST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`say` hears every REMIND_SECONDS what is waited for."""
        self.symptom = ""
        self._step = step
        self._child = child
        self._log = log
        self._say = say
        self._still_seconds = still_seconds
        self._at_most_seconds = at_most_seconds
        self._clock = clock
        self._began = self._looked = self._moved = self._reminded = clock()
        self._state = self._progress()

    def check(self, symptom: str = "") -> None:
        """Returns while waiting makes sense. `symptom`: what the server answered last, in words.

        Raises:
            StackTrouble: it has died, nothing moves any more, or it takes too long; with what was seen and its last
                lines.
        """
        if self._child is not None and (code := self._child.poll()) is not None:
            raise StackTrouble(
                self._step,
                f"ended with code {code}{self._last_lines()}",
                way_out=f"Its whole log: {self._log}" if self._log else "",
            )
        self.check_moving(symptom)

    def check_moving(self, symptom: str = "") -> None:
        """As `check`, for a program that is meant to end.

        Raises:
            StackTrouble: nothing moves any more, or it takes too long.
        """
        self.symptom = symptom
        now = self._clock()
        if now - self._looked < PROGRESS_SECONDS:
            return
        self._looked = now
        # Look first, judge then: perhaps it was we who stood still.
        if (state := self._progress()) != self._state:
            self._state, self._moved = state, now
        waited = f"not ready after {now - self._began:.0f} s"
        answer = f"; the last answer was:\n  {symptom}" if symptom else ""
        if now - self._moved > self._still_seconds:
            raise StackTrouble(
                self._step,
                f"{waited}, nothing has moved for {now - self._moved:.0f} s{answer}{self._last_lines()}",
            )
        if now - self._began > self._at_most_seconds:
            raise StackTrouble(self._step, f"{waited}{answer}{self._last_lines()}")
        if self._say and now - self._reminded > REMIND_SECONDS:
            self._reminded = now
            self._say(f"{self._step}: {waited}, still waiting{answer}")

    def _progress(self) -> tuple[int, int, str]:
        """Whatever differs from the last time has moved."""
        size = self._log.stat().st_size if self._log and self._log.exists() else 0
        return size, int(cpu_seconds(self._child.pid)) if self._child else 0, self.symptom

    def _last_lines(self) -> str:
        return f"; its last lines:\n{tail(self._log)}" if self._log else ""


def wait_until(ready: Callable[[], bool], patience: Patience) -> None:
    """Returns when `ready` says so. StackTrouble, with its last lines, for a server that ends or no longer moves."""
    while not ready():
        patience.check()
        time.sleep(LOOK_SECONDS)


def wait_for_end(child: subprocess.Popen[bytes], *, step: str, log: Path) -> int:
    """The exit code of a program that prepares a server. StackTrouble, with its last lines, when it no longer moves."""
    patience = Patience(step, child, log)
    while (code := child.poll()) is None:
        patience.check_moving()
        time.sleep(LOOK_SECONDS)
    return code


async def wait_for_answer(
    attempt: Callable[[], Awaitable[None]], patience: Patience, *, passes: Callable[[Exception], str | None]
) -> None:
    """Repeats `attempt` until it succeeds. `passes` puts a failure that ends by itself into words; any other is raised.

    An attempt may take as long as it likes: it is given up in the middle when `patience` ends.
    """
    symptom, pause_seconds = "", FIRST_PAUSE_SECONDS
    while True:
        trying = asyncio.ensure_future(attempt())
        try:
            while not (await asyncio.wait({trying}, timeout=LOOK_SECONDS))[0]:
                patience.check(symptom)
        finally:
            trying.cancel()
            await asyncio.wait({trying})
        failure = trying.exception()
        if failure is None:
            return
        if not isinstance(failure, Exception) or (words := passes(failure)) is None:
            raise failure
        symptom = words
        patience.check(symptom)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LAST_PAUSE_SECONDS)


def cpu_seconds(pid: int) -> float:
    """Processor time of a program and of all that it started; 0 when it is gone."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        program = psutil.Process(pid)
        for one in (program, *program.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += sum(one.cpu_times()[:4])
    return total


def listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
