"""Cleans up after us, however we end: outlives its owner by seconds, stops what was started, removes what was written.

Started by `deploy.local.children.Guard` in a session of its own, so that neither Ctrl-C nor a closed terminal reaches
it. Standard input is a pipe that only the owner holds open: its end is the owner's end, by return, crash or kill -9
alike, and needs no handler there. Runs by path with the standard library alone, on Linux and macOS.

One JSON array per line: ["group", pid, signal, grace_seconds] · ["gone", pid] · ["remove", path].
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

PAUSE_SECONDS = 0.05  # between two looks at groups that are not our children, for which no event exists
AFTER_KILL_SECONDS = 5.0


def main(lock: Path) -> None:
    """Hold the lock of the folder while its owner lives and until everything is gone."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with take(lock):
        print("guarding", flush=True)
        groups, folders = listen(sys.stdin)
        stop(groups)
        for folder in reversed(folders):  # the stack's own folder, first told, says where the others are
            shutil.rmtree(folder, ignore_errors=True)
            if folder.exists():
                sys.exit(f"could not remove {folder}, left to the next start")
        lock.unlink(missing_ok=True)


def take(lock: Path) -> IO[str]:
    """The file, locked.

    Whoever saw it between its making and our lock took it for abandoned and removed it: make it anew.
    """
    while True:
        held = lock.open("a")
        fcntl.flock(held, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held.fileno()), lock.stat()):
                return held
        held.close()


def listen(lines: IO[str]) -> tuple[dict[int, tuple[int, float]], list[Path]]:
    """What is to be stopped and removed, as of the owner's end."""
    groups: dict[int, tuple[int, float]] = {}
    folders: list[Path] = []
    for line in lines:
        if not line.endswith("\n"):
            break  # the owner died in the middle of a word; a child that it had announced so has not begun
        match json.loads(line):
            case ["group", int(pid), int(number), float(grace) | int(grace)]:
                groups[pid] = (number, grace)
            case ["gone", int(pid)]:
                groups.pop(pid, None)
            case ["remove", str(path)]:
                folders.append(Path(path))
            case unknown:
                raise ValueError(f"not a word between owner and guard: {unknown!r}")
    return groups, folders


def stop(groups: dict[int, tuple[int, float]]) -> None:
    """Ask every group to end, in its own way; kill those that take longer than they were given."""
    began = time.monotonic()
    for pid, (number, _) in groups.items():
        tell(pid, number)
        tell(pid, signal.SIGCONT)  # a paused process hears nothing else
    survivors = set(living(groups))
    while survivors:
        for pid in survivors:
            if time.monotonic() - began > groups[pid][1]:
                tell(pid, signal.SIGKILL)
        if time.monotonic() - began > max(groups[pid][1] for pid in survivors) + AFTER_KILL_SECONDS:
            print(f"process groups {sorted(survivors)} do not end", file=sys.stderr)
            return
        time.sleep(PAUSE_SECONDS)
        survivors = set(living(survivors))


def tell(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or (macOS) only its remains are left
        os.killpg(pid, number)


def living(groups: Iterable[int]) -> Iterator[int]:
    """Groups with a member that still runs. A zombie does not: who should collect it may be dead, or wait for us."""
    group_ids = set(groups)
    if Path("/proc/self/stat").exists():
        yield from group_ids & set(running_groups_of_linux())
        return
    for pid in group_ids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, 0)
            yield pid


def running_groups_of_linux() -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                yield int(group)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
