"""What the figures were measured on, what they cost of its processors, and who else was at work there.

A rate falls by as much as a neighbour takes; the processor time of a usage hardly moves. So both are told, and what was
measured beside somebody else's work is not called a result.
"""

import os
import platform
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import psutil

from deploy.local.world import LocalWorld
from services.store.connect import Connection

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
LOUD_PERCENT = 10  # of all cores, taken by others or by the host: above it a figure is no result
TOLD = (*DURABLE, "shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_level", "data_checksums")


class NotDurable(Exception):
    """The database would lose what it has acknowledged: its speed means nothing."""


async def check_durable(owner: Connection) -> None:
    """Raises NotDurable, naming the setting."""
    for name in DURABLE:
        found = await owner.fetchval("SELECT current_setting($1)", name)
        if found != "on":
            raise NotDurable(f"{name} is {found}: switch it on, nothing is measured without")


async def about(world: LocalWorld, owner: Connection) -> dict[str, str]:
    """Machine, versions, and the settings that decide what a COMMIT means."""
    settings = {name: str(await owner.fetchval("SELECT current_setting($1, true)", name)) for name in TOLD}
    return {
        "load before": f"{os.getloadavg()[0]:.1f}",
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {processor()}",
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
        "PostgreSQL": str(await owner.fetchval("SHOW server_version")),
        "Kafka": kafka_version(world),
        "from": world.stack.source,
        "asyncpg, aiokafka": f"{version('asyncpg')}, {version('aiokafka')}",
        **settings,
    }


def started_seconds(*, besides: Collection[str] = ()) -> float:
    """Processor time of everything that this process has started and that still runs, those of some names left out.

    Of PostgreSQL's sessions that are over its first process knows.
    """
    seconds = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() not in besides:
                times = child.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@dataclass(frozen=True)
class Clocks:
    """Seconds of processor time so far: ours, all of the machine, and what its host gave to others; when that was."""

    at: float
    ours: float
    busy: float
    stolen: float

    @classmethod
    def read(cls) -> "Clocks":
        """Now. What this process does is ours, too."""
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = sum(getattr(machine, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
        ours = started_seconds() + own.user + own.system + own.children_user + own.children_system
        return cls(perf_counter(), ours, busy, getattr(machine, "steal", 0.0))


@dataclass
class Loudness:
    """What others took of this machine while each part was measured, in percent of all cores.

    `servers` are ours; somebody else's Kafka and PostgreSQL can't be told from neighbours, so only the host's part counts.
    """

    servers: bool
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    others_percent: dict[str, float] = field(default_factory=dict)
    stolen_percent: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def heard(self, part: str) -> Iterator[None]:
        """Listen while a part is measured; of several rounds the loudest counts."""
        before = Clocks.read()
        yield
        after = Clocks.read()
        whole = (after.at - before.at) * (os.cpu_count() or 1) / 100
        others = max(0.0, (after.busy - before.busy) - (after.ours - before.ours)) / whole if self.servers else 0.0
        stolen = (after.stolen - before.stolen) / whole
        self.others_percent[part] = max(others, self.others_percent.get(part, 0.0))
        self.stolen_percent[part] = max(stolen, self.stolen_percent.get(part, 0.0))

    @property
    def is_result(self) -> bool:
        """False where a part was measured beside somebody else's work."""
        return all(others + self.stolen_percent[part] <= LOUD_PERCENT for part, others in self.others_percent.items())


def processor() -> str:
    """Its name, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def kafka_version(world: LocalWorld) -> str:
    """A broker tells it to its log alone, which is ours to read where we started it."""
    log = world.stack.logs / "kafka.log"
    found = re.search(r"metadata\.version (\d[\w.-]*\w)", log.read_text(errors="replace")) if log.exists() else None
    return found[1] if found else "its version is not told"
