"""Where the bench takes place: fresh databases with the same 500 teams, backlogs in Kafka, and an eye on the processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit, urlunsplit

import psutil

from deploy.local.say import Say
from deploy.local.servers.topic_ends import ends
from deploy.local.stack import Stack
from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, check_alive, connected
from services.store.connect import Connection
from services.store.lives import fork
from services.usage.cursors import claim_cursors
from tests.bench.machine import Loudness, started_seconds

LOOK_SECONDS = 0.01
WARM_SECONDS = 15  # a JVM that has just started makes the slowest hundredth of the first 13
TEMPLATE = "creditwell_bench"
STILL_SECONDS = 60  # whoever has not moved for so long will not

# What is written before a measurement is on the disk before it begins, so that no measurement pays for the one before.
SETTLE = "CHECKPOINT"


@dataclass
class Ground:
    """A world whose database is the template of all others, and what was seen of our processes."""

    world: LocalWorld
    say: Say
    loudness: Loudness
    databases: int = 0
    peak_rss_mb: dict[str, float] = field(default_factory=dict)

    async def stop(self, *names: str) -> None:
        """Stop processes, and remember how much memory each had at most."""
        for name in names:
            kind = name.partition("-")[0]
            self.peak_rss_mb[kind] = max(self.peak_rss_mb.get(kind, 0.0), peak_rss_mb(self.world.processes[name].pid))
        await asyncio.gather(*(self.world.processes.stop(name) for name in names))


@asynccontextmanager
async def own_template(stack: Stack) -> AsyncIterator[Stack]:
    """The stack with a database that is the bench's own: of a given one neither the teams nor the log are touched."""
    if stack.source != "environment":
        yield stack
        return
    async with connected(stack.database) as server:
        await server.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {TEMPLATE}")
        try:
            yield replace(stack, database=in_database(stack.database, TEMPLATE))
        finally:
            await server.execute(f"DROP DATABASE {TEMPLATE} WITH (FORCE)")


@asynccontextmanager
async def fresh_world(ground: Ground) -> AsyncIterator[LocalWorld]:
    """The same teams in a database of its own, and cursors at the end of what Kafka has; gone after the block."""
    ground.databases += 1
    name = f"creditwell_bench_{ground.databases}"
    template = urlsplit(ground.world.database).path.lstrip("/")
    async with connected(in_database(ground.world.database, "postgres")) as server:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        world = replace(
            ground.world,
            database=in_database(ground.world.database, name),
            logins={role: in_database(url, name) for role, url in ground.world.logins.items()},
        )
        async with connected(world.database) as owner:
            await fork(owner, "bench")
            await owner.execute("DELETE FROM kafka_cursors")  # the template's, where the topic had a life before ours
            await claim_cursors(owner, "usage", "bench", await ends(world.kafka, "usage"))
        try:
            yield world
        finally:
            await world.processes.stop_all()
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def in_database(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@dataclass(frozen=True)
class Span:
    """How far something came from the first time that it was seen to move."""

    count: int
    seconds: float
    processor_seconds: float  # of all that the bench has started

    @property
    def processor_us(self) -> float:
        """Of one."""
        return self.processor_seconds / self.count * 1e6

    @property
    def rate(self) -> float:
        """Per second."""
        return self.count / self.seconds


async def span(
    world: LocalWorld,
    look: Callable[[], Awaitable[tuple[int, bool]]],
    *,
    began: Callable[[], Awaitable[bool]] | None = None,
) -> Span:
    """From the first move of a count (or from when something `began`) until it is done; only what was counted in that time.

    Raises:
        StackTrouble: a process died, or nothing moves.
    """
    before, _ = await look()
    start, start_at, start_effort, last, last_at = before, 0.0, 0.0, before, perf_counter()
    while True:
        count, done = await look()
        now = perf_counter()
        if not start_at and (await began() if began else count > before):
            start, start_at, start_effort = count, now, started_seconds()
        if done and start_at:
            return Span(count - start, now - start_at, started_seconds() - start_effort)
        if count > last:
            last, last_at = count, now
        check_alive(world.processes)
        if now - last_at > STILL_SECONDS:
            raise StackTrouble("Bench", f"nothing has moved for {STILL_SECONDS} s, at {count}")
        await asyncio.sleep(LOOK_SECONDS)


async def check_all_recorded(owner: Connection, count: int) -> None:
    """A rate says nothing if records were refused instead of stored."""
    recorded = await owner.fetchval("SELECT count(*) FROM facts WHERE type = 'usage.recorded.v1'")
    if recorded != count:
        reasons = await owner.fetch("SELECT reason, count(*) FROM refused GROUP BY reason")
        raise StackTrouble(
            "Bench", f"{recorded} of {count} events were recorded; refused: {[tuple(r) for r in reasons]}"
        )


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process had; where the system does not tell (macOS), what it has now."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
