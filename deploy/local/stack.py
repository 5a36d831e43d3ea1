"""Kafka and PostgreSQL for the demo, the tests and the bench.

They come from the environment, else they run in containers, else as native processes.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.local.children import Guard
from deploy.local.folders import folder_of, new_lock, remove_abandoned
from deploy.local.owners import note
from deploy.local.say import Say
from deploy.local.servers import containers
from deploy.local.servers.kafka import NativeKafka
from deploy.local.servers.postgres import NativePostgres, StopMode
from deploy.local.servers.topics import create_topics
from deploy.local.together import together
from deploy.local.trouble import StackTrouble
from schemas.topics import PARTITIONS

NATIVELY = "Start it with `start_stack(native=True)`."


@dataclass(frozen=True)
class Stack:
    """A running Kafka with the topics of the contract and a running PostgreSQL with an empty database."""

    kafka: str  # bootstrap servers
    database: str  # a superuser's URL
    source: Literal["environment", "containers", "native"]
    folder: Path  # gone when the stack is; logs in `folder / "logs"`
    guard: Guard = field(repr=False)  # for processes that must not outlive us
    native_kafka: NativeKafka | None = field(default=None, repr=False)
    native_postgres: NativePostgres | None = field(default=None, repr=False)

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def restart_kafka(self) -> None:
        """An orderly restart on the same address with the same data; returns when groups are looked after again.

        Native only.
        """
        self._kafka().restart()

    def kill_kafka(self) -> None:
        """Kill -9 and start again on what is on the disk. Native only."""
        self._kafka().kill()

    def restart_postgres(self, mode: StopMode = "fast") -> None:
        """Same address, same data; `immediate` is a crash followed by recovery. Native only."""
        self._postgres().restart(mode)

    def kill_postgres(self) -> None:
        """Kill -9 the postmaster and start again, with recovery. Native only."""
        self._postgres().kill()

    def set_durable(self, *, durable: bool) -> None:
        """Whether PostgreSQL waits for the disk from now on. Native only."""
        self._postgres().set_durable(durable=durable)

    def _kafka(self) -> NativeKafka:
        if self.native_kafka is None:
            raise StackTrouble(
                "Kafka",
                f"comes from {self.source} and cannot be restarted from here",
                way_out=NATIVELY,
            )
        return self.native_kafka

    def _postgres(self) -> NativePostgres:
        if self.native_postgres is None:
            raise StackTrouble(
                "PostgreSQL",
                f"comes from {self.source} and cannot be restarted from here",
                way_out=NATIVELY,
            )
        return self.native_postgres


@contextmanager
def start_stack(
    *,
    say: Say,
    name: str = "default",
    keep: bool = False,
    native: bool = False,
    durable: bool = True,
    partitions: int = PARTITIONS,
) -> Iterator[Stack]:
    """A fresh stack while the block runs; afterwards everything that was started is gone, whichever way the block ends.

    Any number may run side by side. With `keep`, logs and data stay in `.creditwell/run/` until `make clean`. Whoever
    wants to restart servers asks for `native` ones, whatever else there is. `durable=False` is for tests: a native
    PostgreSQL waits for no disk, and refuses to be crashed; a native Kafka is made for some minutes. `partitions` are
    those of topics that are made. May raise `StackTrouble`.
    """
    remove_abandoned()
    lock = new_lock(name)
    guard = Guard(lock, keep=keep)
    try:
        folder = folder_of(lock)
        guard.remove_at_end(folder)
        (folder / "logs").mkdir(parents=True)
        note(folder, name)
        yield (
            from_environment(guard, folder, partitions)
            or from_containers(guard, folder, say, partitions)
            or natively(guard, folder, say, durable=durable, partitions=partitions)
        )
    finally:
        guard.close()


def from_environment(guard: Guard, folder: Path, partitions: int) -> Stack | None:
    """What CREDITWELL_KAFKA and CREDITWELL_DATABASE name.

    Nothing there is restarted or removed. Missing topics are made.

    Raises:
        StackTrouble: only one of the two is set.
    """
    kafka, database = (
        os.environ.get("CREDITWELL_KAFKA"),
        os.environ.get("CREDITWELL_DATABASE"),
    )
    if kafka is None and database is None:
        return None
    if not kafka or not database:
        raise StackTrouble(
            "Stack",
            "only one of CREDITWELL_KAFKA and CREDITWELL_DATABASE is set",
            way_out="Set both, or neither.",
        )
    make_topics(kafka, partitions)
    return Stack(kafka, database, "environment", folder, guard)


def from_containers(guard: Guard, folder: Path, say: Say, partitions: int) -> Stack | None:
    """Docker, where it answers and is quick enough."""
    started = containers.start(guard, folder, say=say)
    if started is None:
        return None
    kafka, database = started
    make_topics(kafka, partitions)
    return Stack(kafka, database, "containers", folder, guard)


def natively(guard: Guard, folder: Path, say: Say, *, durable: bool, partitions: int) -> Stack:
    """Processes of this machine, both at once."""
    kafka, postgres = (
        NativeKafka(guard, folder, say=say, partitions=partitions, short_lived=not durable),
        NativePostgres(guard, folder, say=say, durable=durable),
    )
    together(kafka.create, postgres.create)
    return Stack(kafka.servers, postgres.url, "native", folder, guard, kafka, postgres)


def make_topics(kafka: str, partitions: int) -> None:
    """In a thread, because the caller may be inside an event loop."""
    together(lambda: asyncio.run(create_topics(kafka, partitions=partitions)))
