"""The projector: facts become balances, activity and usage, and the log is told when a balance runs low.

Its loop is short: read what is new, fold it, save it with the checkpoints. Of a backlog the next batch is read
meanwhile.
Beside it runs the low-balance watch, which decides on exact balances under the shard's lock, so that no replay can
cause a charge.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Self
from uuid import uuid4

import structlog

from services.read_models.balances import PROJECTOR
from services.read_models.flow import ProjectorMetrics
from services.read_models.low_balance import watch_low
from services.read_models.projecting import Poisoned, Projecting
from services.read_models.versions import drop_previous, ensure_projections, go_live_when_filled, made_versions
from services.runtime.clock import Clock, pause, system_clock
from services.runtime.errors import Fenced
from services.runtime.health import Health
from services.runtime.retry import FIRST_SECONDS, keep_going
from services.runtime.settings import Settings
from services.runtime.tracing.spans import span
from services.store.claims import Claims
from services.store.connect import AWAY, Connection, Pool, connect_pool, connect_when_there
from services.store.halts import EVERYBODYS, Halts
from services.store.read import RawFact, read_raw_new
from services.store.sessions.bell import Bell, IdleWait

BATCH_MAX = 20_000  # facts; the more, the fewer cells and balances are written per fact. Two such are in memory
# From one batch to the next at least, for each batch writes a team's balance and days once, however much it used. The
# more comes, the longer it comes together; of a backlog nothing waits.
PACE_SECONDS, PACE_OF_A_FACT_SECONDS, PACE_MOST_SECONDS = 0.01, 50e-6, 0.2
DROP_SECONDS = 3600
LIVE_SECONDS = 1.0  # from one look whether what is filled can be read to the next

Facts = tuple[Mapping[int, Sequence[RawFact]], int]  # by shard, and how many there are in all

log = structlog.get_logger("projector")


@dataclass(slots=True)
class HaltedShards:
    """The shards that stand at a fact which can't be folded, with the name under which each is halted.

    Facts after it are not folded either: a balance that lacks a fact would be wrong in silence. So the other teams of
    the shard wait too (their reads fold the rest by themselves, some thousand facts each), those of all other shards do
    not. Whoever mends the code or the row need do nothing more: the shard is tried again each minute, and goes on where
    it stands.
    """

    halts: Halts
    metrics: ProjectorMetrics
    names: dict[int, str] = field(default_factory=dict)

    async def begin(self, connection: Connection, shards: Collection[int]) -> None:
        """The shards of this process are others now."""
        self.halts.leave([name for shard, name in self.names.items() if shard not in shards])
        names = await self.halts.begin(connection, shards)
        self.names = {shard: name for name, shard in names.items() if shard is not None}

    def waiting(self) -> set[int]:
        """Which shards to leave alone now."""
        waiting = set(self.halts.waiting())
        return {shard for shard, name in self.names.items() if name in waiting}

    async def project(
        self, connection: Connection, projecting: Projecting, facts: Mapping[int, Sequence[RawFact]]
    ) -> int:
        """Fold and save all of it, or what can be, and halt the shards of the rest; how many facts were saved."""
        try:
            with self.metrics.fold_seconds.time():
                batch = await projecting.project(connection, facts)
        except EVERYBODYS:
            raise
        except Exception:  # noqa: BLE001 - which shard it is will be found out
            return sum([await self._project_alone(connection, projecting, shard, facts[shard]) for shard in facts])
        self.metrics.count(batch.flow)
        for shard in self.names.keys() & facts.keys():
            await self.halts.go_on(connection, [self.names.pop(shard)])
        return sum(map(len, facts.values()))

    async def _project_alone(
        self, connection: Connection, projecting: Projecting, shard: int, read: Sequence[RawFact]
    ) -> int:
        try:
            batch = await projecting.project(connection, {shard: read})
        except EVERYBODYS:
            raise
        except Poisoned as poisoned:
            before = [row for row in read if row["position"] < poisoned.stored.position]
            count = await self._project_alone(connection, projecting, shard, before) if before else 0
            await self._halt(connection, shard, poisoned.stored.team_id, poisoned, poisoned.stored.position)
            return count
        except Exception as error:  # noqa: BLE001 - what can't be saved is somebody's in this shard
            await self._halt(connection, shard, f"shard {shard}", error, read[0]["position"])
            return 0
        self.metrics.count(batch.flow)
        if shard in self.names:
            await self.halts.go_on(connection, [self.names.pop(shard)])
        return len(read)

    async def _halt(self, connection: Connection, shard: int, name: str, error: Exception, position: int) -> None:
        if (before := self.names.get(shard, name)) != name:
            await self.halts.go_on(connection, [before])
        self.names[shard] = name
        await self.halts.halt(connection, name, error, shard=shard, position=position)


@dataclass(slots=True)
class Reading:
    """What is folded next. Of a backlog the next batch is read while one is folded and saved.

    Facts never change, and positions have no gaps. So what was read ahead is right as long as it goes on where its
    shard stands by then; else it is dropped and read when its time comes. It ends with the block that it is opened for.
    """

    pool: Pool
    ahead: asyncio.Task[Facts] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ahead is not None:
            self.ahead.cancel()
            await asyncio.wait({self.ahead})
            if not self.ahead.cancelled():
                self.ahead.exception()  # nobody asks for it any more

    async def read(self, connection: Connection, positions: Mapping[int, int]) -> Facts:
        """The next facts after these positions, some of each shard that has any, and how many there are in all.

        Raises:
            LogChanged: a position is missing.
        """
        facts, missing = await self._take_ahead(positions)
        if not facts:
            facts, missing = await read_raw_new(connection, positions, BATCH_MAX)
        if missing > sum(map(len, facts.values())):
            reached = {shard: read[-1]["position"] for shard, read in facts.items()}
            self.ahead = asyncio.create_task(self._read_ahead({**positions, **reached}))
        return facts, missing

    async def _take_ahead(self, positions: Mapping[int, int]) -> Facts:
        """What was read ahead, as far as it goes on at these positions."""
        ahead, self.ahead = self.ahead, None
        if ahead is None:
            return {}, 0
        facts, missing = await ahead
        return {
            shard: read for shard, read in facts.items() if positions.get(shard) == read[0]["position"] - 1
        }, missing

    async def _read_ahead(self, positions: Mapping[int, int]) -> Facts:
        async with self.pool.acquire() as connection:
            return await read_raw_new(connection, positions, BATCH_MAX)


@dataclass(slots=True)
class Upkeep:
    """What is due between two batches, and when: the claim on the shards, the switch of tables, the end of old ones."""

    projecting: Projecting
    halted: HaltedShards
    health: Health
    renew_at: float = 0.0
    live_at: float = 0.0
    drop_at: float = 0.0

    async def do_what_is_due(self, connection: Connection) -> None:
        """Renew the claim, look whether these tables can be read by now, and drop those of the build before."""
        claims = self.projecting.claims
        if monotonic() >= self.renew_at:
            if await claims.join(connection):
                # Read after the claim: a later switch of versions fences it.
                self.projecting.versions = await made_versions(connection)
                self.projecting.forget()
                await self.halted.begin(connection, claims.positions)
            self.renew_at = monotonic() + claims.renew_seconds
        if monotonic() >= self.live_at:
            live = await go_live_when_filled(connection)
            self.health.ready(live)
            self.live_at = float("inf") if live else monotonic() + LIVE_SECONDS
        if monotonic() >= self.drop_at:
            await drop_previous(connection)
            self.drop_at = monotonic() + DROP_SECONDS


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    health: Health,
    clock: Clock = system_clock,
    first_wait_seconds: float = FIRST_SECONDS,
) -> None:
    """Run until told to stop; what is away is waited for so long at first."""
    connect = partial(
        connect_pool, settings.needed("database"), process="projector", size=3, lease_seconds=settings.lease_seconds,
        projections=False, health=health, listens=True,
    )  # fmt: skip
    pool = await connect_when_there(connect, stop, health)
    if pool is None:
        return
    claims = Claims(PROJECTOR, f"projector-{uuid4()}", settings.lease_seconds)
    metrics, alarmed = ProjectorMetrics(health.registry), Bell(is_heard=True)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_project(pool, claims, stop, health, metrics, alarmed, first_wait_seconds))
            tasks.create_task(watch_low(pool, stop, health, clock, alarmed=alarmed))
    finally:
        await pool.close()


async def _project(
    pool: Pool,
    claims: Claims,
    stop: asyncio.Event,
    health: Health,
    metrics: ProjectorMetrics,
    alarmed: Bell,
    first_wait_seconds: float,
) -> None:
    async def project() -> None:
        while not stop.is_set():
            try:
                async with pool.acquire() as connection, Reading(pool) as reading:
                    await claims.leave(connection)  # what a broken connection left claimed need not wait for the lease
                    projecting = Projecting(claims, {}, alarmed=alarmed)
                    await _project_while_owner(connection, reading, projecting, stop, health, metrics)
            except Fenced as fenced:
                log.info("joining again", why=str(fenced))

    await keep_going("the database", project, stop, health, away=AWAY, first_seconds=first_wait_seconds)


async def _project_while_owner(
    connection: Connection,
    reading: Reading,
    projecting: Projecting,
    stop: asyncio.Event,
    health: Health,
    metrics: ProjectorMetrics,
) -> None:
    """Fold what comes, until told to stop or fenced; the versions are those that were live at the beginning."""
    await ensure_projections(connection)
    claims, halted = projecting.claims, HaltedShards(Halts(PROJECTOR, health), metrics)
    idle = IdleWait(reading.pool.heard, stop)
    upkeep = Upkeep(projecting, halted, health)
    health.back("the database")
    while not stop.is_set():
        await upkeep.do_what_is_due(connection)
        began, waiting = monotonic(), halted.waiting()
        facts, missing = await reading.read(
            connection, {shard: at for shard, at in claims.positions.items() if shard not in waiting}
        )
        health.lag("projector", missing)
        if not facts:
            await idle.wait()
            continue
        with span("project facts", "consumer") as opened:
            count = await halted.project(connection, projecting, facts)
            opened.note("creditwell.facts", count)
        metrics.facts.inc(count)
        health.beat("projector")
        idle.work_came()
        if missing <= count:
            await pause(stop, began + pace_seconds(count) - monotonic())
    await claims.leave(connection)


def pace_seconds(count: int) -> float:
    """How long a batch of so many facts lasts at least."""
    return max(PACE_SECONDS, min(PACE_MOST_SECONDS, count * PACE_OF_A_FACT_SECONDS))
