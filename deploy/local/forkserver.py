"""Our own processes without the start of a Python for each.

A server has loaded everything. It forks when it is asked.

A start of `creditwell serve` costs a second and a half of a processor, nearly all of it for imports. What is forked
here is a process like any other: a pid and a session of its own, its own environment, files and folder, signals as the
system has them, an exit code that tells the truth. Only its imports were made before. `forking.py` is the server; Linux
alone can do it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from deploy.local.folders import ROOT, own_environment
from deploy.local.trouble import StackTrouble

MODULE = "deploy.local.forking"
# What the server has loaded, or little less than all of it.
RUNS = ("services.cli", "deploy.local.stripe", "deploy.local.receiver", "deploy.local.demo.host")
NUMBER_BYTES = 8  # of a pid and of an exit code between us and the server
FORK = b"f"


class Forked:
    """A process that the server has forked, with what `subprocess.Popen` offers for one of its own."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        """`line`: the server says the exit code there, and lets the pid go when we close it."""
        self.pid = pid
        self.returncode: int | None = None
        self._line = line
        self._looking = threading.Lock()

    def begin(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> None:
        """Until now it has only waited. When we die before this, it ends without having run anything of the program."""
        _, _, module, *arguments = argv
        request = {"module": module, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
        # A broken pipe: it died already, and whoever waits for it will see that.
        with contextlib.suppress(BrokenPipeError):
            self._line.sendall(json.dumps(request).encode() + b"\n")

    def poll(self) -> int | None:
        """The exit code, None while it runs; negative when a signal ended it (-9: killed)."""
        if self._looking.acquire(blocking=False):
            try:
                self._look(0)
            finally:
                self._looking.release()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code. Raises `subprocess.TimeoutExpired`."""
        if self._looking.acquire(timeout=-1 if timeout is None else timeout):
            try:
                self._look(timeout)
            finally:
                self._looking.release()
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"forked process {self.pid}", timeout or 0)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """To it alone; one that has ended gets nothing. Its pid means nobody else until its end was looked at."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _look(self, timeout: float | None) -> None:
        if self.returncode is not None:
            return
        looking = select.poll()  # `select.select` knows no file beyond the 1,024th
        looking.register(self._line, select.POLLIN)
        if looking.poll(None if timeout is None else timeout * 1000):
            self.returncode = receive_number(self._line)
            self._line.close()


class ForkServer:
    """Runs as long as this process, and takes what it has forked along."""

    def __init__(self) -> None:
        """Returns at once; the first fork waits until everything is loaded."""
        self._asking = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env=own_environment(),
                start_new_session=True,
            )
        # Whoever is forked from us must not keep the server alive.
        os.register_at_fork(after_in_child=self._control.close)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, *, output: int, errors: int) -> Forked:
        """A process that waits for `begin`; what it says goes to these files.

        Raises:
            StackTrouble: the fork server has ended.
        """
        line, theirs = socket.socketpair()
        with theirs, self._asking:
            socket.send_fds(self._control, [FORK], [theirs.fileno(), output, errors])
        try:
            return Forked(receive_number(line), line)
        except EOFError:
            line.close()
            raise StackTrouble("Fork server", f"ended with code {self._process.poll()}") from None

    def close(self) -> None:
        """It ends, and so does everything that it has forked."""
        self._control.close()
        self._process.wait()


def receive_number(line: socket.socket) -> int:
    """The next number of a line. Raises `EOFError` where the other end is closed."""
    answer = b""
    while len(answer) < NUMBER_BYTES:
        more = line.recv(NUMBER_BYTES - len(answer))
        if not more:
            raise EOFError
        answer += more
    return int.from_bytes(answer, "big", signed=True)


def send_number(line: socket.socket, number: int) -> None:
    """For `receive_number` at the other end."""
    line.sendall(number.to_bytes(NUMBER_BYTES, "big", signed=True))


@cache
def fork_server() -> ForkServer | None:
    """The one of this process, started when it is first asked for.

    None where the system has no files that tell a child's end.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return None
    return ForkServer()


def can_run(argv: Sequence[str]) -> bool:
    """Whether this command is one of a module that the server has loaded."""
    return len(argv) > 2 and argv[0] == sys.executable and argv[1] == "-m" and argv[2] in RUNS
