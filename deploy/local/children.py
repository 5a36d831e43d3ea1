"""Starting processes that cannot outlive us.

Every child leads a process group of its own. It is announced to the guard (`guard.py`) before it runs its first
instruction. At our end the guard stops it, so a normal end, a crash and a kill -9 all go the same way.
"""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from deploy.local.forkserver import Forked, ForkServer

GUARD = Path(__file__).with_name("guard.py")

# The shell waits for a line, then becomes the program. When we die before the guard knows the child, the line never
# comes.
WHEN_ANNOUNCED = 'IFS= read -r announced && exec "$@" </dev/null'

CLOSE_SECONDS = 60


class StartedProcess(Protocol):
    """A process that we have started, as `subprocess.Popen` shows it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Guard:
    """Knows every process and folder that must be gone when this process is. Safe to use from several threads."""

    def __init__(self, lock: Path, *, keep: bool = False) -> None:
        """`lock` is held until everything is gone. With `keep`, folders stay for somebody to look into."""
        self._keep = keep
        self._writing = threading.Lock()
        self._children: dict[int, StartedProcess] = {}
        listening, speaking = os.pipe()
        self._pipe = os.fdopen(speaking, "wb", buffering=0)
        os.register_at_fork(after_in_child=self._pipe.close)  # or a forked worker would keep the guard waiting
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), str(lock)],
            stdin=listening,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        os.close(listening)
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            if answers.readline() != b"guarding\n":
                raise RuntimeError(f"the guard did not start: exit code {self._process.wait()}")

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        stop: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10,
    ) -> subprocess.Popen[bytes]:
        """Start a program, its output appended to `log`. `stop` and `grace_seconds` say how it is ended when we end.

        The pid is the program's own and names its process group. `user` needs root.
        """
        with self.not_yet(), log.open("ab") as output:
            child = subprocess.Popen(
                ["/bin/sh", "-c", WHEN_ANNOUNCED, "sh", *argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                start_new_session=True,
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
            )
            self._announce(child, stop, grace_seconds)
        assert child.stdin is not None
        # A broken pipe: it died already, and whoever waits for it will see that.
        with contextlib.suppress(BrokenPipeError), child.stdin as gate:
            gate.write(b"announced\n")
        return child

    def fork(
        self,
        server: ForkServer,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        cwd: Path,
        stop: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10,
    ) -> Forked:
        """As `spawn`, of a program that the server has loaded: `forkserver.can_run`."""
        with self.not_yet(), log.open("ab") as output:
            child = server.fork(output=output.fileno(), errors=output.fileno())
            self._announce(child, stop, grace_seconds)
        child.begin(argv, env=env, cwd=cwd)
        return child

    def forget(self, child: StartedProcess) -> None:
        """The child has ended and was waited for: its pid may soon mean somebody else."""
        self._children.pop(child.pid, None)
        with self._writing:
            if not self._pipe.closed:
                self._tell("gone", child.pid)

    def remove_at_end(self, folder: Path) -> None:
        """With all that is in it, once nothing runs any more."""
        if not self._keep:
            with self._writing:
                self._tell("remove", str(folder))

    @contextmanager
    def not_yet(self) -> Iterator[None]:
        """Hold back everything else, the end too.

        For writing into a folder that must not come back after it was removed.
        """
        with self._writing:
            if self._pipe.closed:
                raise RuntimeError("too late to begin: everything is being stopped")
            yield

    def close(self) -> None:
        """Everything started here ends and what was to be removed is removed; returns when that is done."""
        with self._writing:
            self._pipe.close()
        self._process.wait(CLOSE_SECONDS)
        for child in list(self._children.values()):
            child.wait(CLOSE_SECONDS)

    def _announce(self, child: StartedProcess, stop: signal.Signals, grace_seconds: float) -> None:
        self._children[child.pid] = child
        self._tell("group", child.pid, int(stop), grace_seconds)

    def _tell(self, *word: str | float) -> None:
        self._pipe.write(json.dumps(word).encode() + b"\n")


def signal_group(child: StartedProcess, number: signal.Signals) -> None:
    """To the child and to whatever it started. One that has ended and was waited for gets nothing."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
