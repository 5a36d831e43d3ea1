"""Our own services as child processes, which tests and the demo start, stop, kill and freeze by name."""

import asyncio
import signal
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from deploy.local.children import StartedProcess, signal_group
from deploy.local.folders import ROOT, own_environment
from deploy.local.forkserver import ForkServer, can_run
from deploy.local.say import Say
from deploy.local.stack import Stack
from deploy.local.trouble import StackTrouble, tail

STOP_SECONDS = 15
READY_SECONDS = 90
LOOK_SECONDS = 0.05

# For clients that speak plain HTTP. It trusts nobody: to read whom the machine trusts takes 22 ms of a processor, and
# each new client would do it.
PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def service_command(process: str) -> list[str]:
    """How one of Creditwell's processes is run: `recorder`, `projector`, … or `all`."""
    return [sys.executable, "-m", "services.cli", "serve", process]


@dataclass(frozen=True)
class Process:
    """One program that was started; it may have ended since. `pid` is also that of its process group."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]  # what it has beyond our own environment
    log: Path
    may_end: bool
    child: StartedProcess = field(repr=False)
    ended: threading.Event = field(default_factory=threading.Event, repr=False)
    stop_requested: threading.Event = field(default_factory=threading.Event, repr=False)  # we wanted its end

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def code(self) -> int | None:
        """None while it runs; negative when a signal ended it (-9: killed)."""
        return self.child.poll() if self.ended.is_set() else None


@dataclass(frozen=True)
class Died:
    """A process that ended though nobody had asked it to."""

    name: str
    code: int
    last_lines: str


class Processes:
    """Programs by name. As a context manager it stops all of them at the end, politely first.

    `start`, `kill`, `pause`, `resume` return at once; what waits is a coroutine, so that a test which also plays a
    server in its event loop goes on answering.
    """

    def __init__(self, stack: Stack, *, say: Say, forks: ForkServer | None = None) -> None:
        """`forks`: processes of ours come from there, and are spared their imports."""
        self.died: list[Died] = []
        self._forks = forks
        self._guard = stack.guard
        self._logs = stack.logs
        self._say = say
        self._running: dict[str, Process] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        cwd: Path = ROOT,
        may_end: bool = False,
    ) -> Process:
        """Start `argv` with `env` added to our own environment; output goes to `NAME.log`, appended over restarts.

        When it ends unasked and not `may_end`, its last lines are said and it is listed in `died`.
        """
        if (before := self._running.get(name)) is not None and before.code is None:
            raise ValueError(f"{name} is running already, as {before.pid}")
        log = self._logs / f"{name}.log"
        environment = {**own_environment(), **(env or {})}
        child: StartedProcess
        if self._forks and can_run(argv):
            child = self._guard.fork(self._forks, argv, log=log, env=environment, cwd=cwd, grace_seconds=STOP_SECONDS)
        else:
            child = self._guard.spawn(argv, log=log, env=environment, cwd=cwd, grace_seconds=STOP_SECONDS)
        process = Process(name, tuple(argv), dict(env or {}), log, may_end, child)
        self._running[name] = process
        threading.Thread(target=self._watch, args=(process,), name=f"watch {name}", daemon=True).start()
        return process

    def start_again(self, name: str, env: Mapping[str, str] | None = None) -> Process:
        """The same program as before, with `env` added to what it had (an empty value to undo a crash point)."""
        before = self[name]
        return self.start(name, before.argv, {**before.env, **(env or {})}, may_end=before.may_end)

    def __getitem__(self, name: str) -> Process:
        """The process last started under this name; KeyError when there was none."""
        return self._running[name]

    def kill(self, name: str) -> None:
        """Kill -9, with everything that it started. `await ended(name)` to know that it is gone."""
        self._end(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """SIGSTOP: it stays connected and does nothing, like a machine that hangs."""
        signal_group(self[name].child, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        signal_group(self[name].child, signal.SIGCONT)

    def ask_to_stop(self, name: str) -> None:
        """SIGTERM, and no more."""
        self._end(name, signal.SIGTERM)

    async def stop(self, name: str, *, timeout_seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, and kill -9 when it takes too long (which is said). Returns the exit code."""
        self.ask_to_stop(name)
        self.resume(name)
        try:
            return await self.ended(name, timeout_seconds=timeout_seconds)
        except StackTrouble:
            self._say(
                f"{name}: does not stop within {timeout_seconds:.0f} s, killed; its last lines:\n{tail(self[name].log)}"
            )
            self.kill(name)
            return await self.ended(name)

    async def stop_all(self) -> None:
        """All at once."""
        await asyncio.gather(*(self.stop(name) for name, process in self._running.items() if process.code is None))

    async def ended(self, name: str, *, timeout_seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended by itself or by us; returns the exit code.

        Raises:
            StackTrouble: it still runs after that time.
        """
        process = self[name]
        if not await asyncio.to_thread(process.ended.wait, timeout_seconds):
            raise StackTrouble(
                name,
                f"still runs after {timeout_seconds:.0f} s; its last lines:\n{tail(process.log)}",
            )
        return process.child.wait()

    async def wait_ready(self, name: str, url: str, *, timeout_seconds: float = READY_SECONDS) -> None:
        """Return when `url` (its `/readyz`) answers 200.

        Raises:
            StackTrouble: it ends or takes too long; the message has its last lines.
        """
        process = self[name]
        answer = "nothing listens there"
        deadline = time.monotonic() + timeout_seconds
        async with httpx2.AsyncClient(timeout=5, trust_env=False, verify=PLAIN_HTTP) as client:
            while True:
                if process.ended.is_set():
                    raise StackTrouble(
                        name,
                        f"ended with code {process.code} while starting; its last lines:\n{tail(process.log)}",
                    )
                try:
                    response = await client.get(url)
                except httpx2.TransportError as error:
                    answer = f"{type(error).__name__} {error}"
                else:
                    if response.status_code == httpx2.codes.OK:
                        return
                    answer = f"{response.status_code} {response.text[:500]}"
                if time.monotonic() > deadline:  # a machine that stood still has been asked once all the same
                    break
                await asyncio.sleep(LOOK_SECONDS)
        raise StackTrouble(
            name,
            f"not ready after {timeout_seconds:.0f} s, {url} says: {answer}; its last lines:\n{tail(process.log)}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Works inside and outside of an event loop, and after Ctrl-C."""
        running = [process for process in self._running.values() if process.code is None]
        for process in running:
            self._end(process.name, signal.SIGTERM)
            self.resume(process.name)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            if not process.ended.wait(max(0.0, deadline - time.monotonic())):
                self._say(
                    f"{process.name}: did not stop within {STOP_SECONDS} s, killed; its last lines:\n{tail(process.log)}"
                )
                self.kill(process.name)
                process.ended.wait(STOP_SECONDS)

    def _end(self, name: str, number: signal.Signals) -> None:
        process = self[name]
        process.stop_requested.set()
        signal_group(process.child, number)

    def _watch(self, process: Process) -> None:
        code = process.child.wait()
        self._guard.forget(process.child)
        if not process.stop_requested.is_set() and not process.may_end:
            last_lines = tail(process.log)
            self.died.append(Died(process.name, code, last_lines))
            self._say(f"{process.name}: ended unexpectedly with code {code}; its last lines:\n{last_lines}")
        process.ended.set()
