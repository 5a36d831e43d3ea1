"""Who started a stack: noted in its folder, so that `make down` and `make clean` can end it from another terminal."""

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deploy.local.folders import RUN, lock_of

NOTE = "owner.json"
DOWN_SECONDS = 60


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with the same pid by the time of its start."""

    name: str
    pid: int
    started: float

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def ourselves(name: str) -> Owner:
    return Owner(name, os.getpid(), psutil.Process().create_time())


def note(folder: Path, name: str) -> None:
    (folder / NOTE).write_text(json.dumps({"owner": ourselves(name).as_json()}))


def living_owner(noted: Path) -> Owner | None:
    """Who wrote this note, unless it has ended."""
    try:
        owner = Owner(**json.loads(noted.read_text())["owner"])
        alive = psutil.Process(owner.pid).create_time() == owner.started
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    return owner if alive else None


def owners() -> Iterator[Owner]:
    """Of every stack of this checkout that runs."""
    for noted in RUN.glob(f"*/{NOTE}"):
        if owner := living_owner(noted):
            yield owner


def end(owner: Owner) -> None:
    """Ask it to end, and insist after a minute; returns when its guard has cleaned up behind it."""
    locks = [lock_of(noted.parent) for noted in RUN.glob(f"*/{NOTE}") if living_owner(noted) == owner]
    try:
        process = psutil.Process(owner.pid)
        process.terminate()
        try:
            process.wait(DOWN_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(DOWN_SECONDS)
    except psutil.NoSuchProcess:
        pass  # it went by itself
    for lock in locks:
        wait_for_guard(lock)


def wait_for_guard(lock: Path) -> None:
    """The guard holds the lock until everything is gone, and then removes the file."""
    try:
        with lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
    except FileNotFoundError:
        return
