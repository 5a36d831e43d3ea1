"""Rates: from Kafka into the log, from there into the projections and out again."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from time import perf_counter
from typing import Any

import uvloop

from deploy.local.servers.topic_ends import ends
from deploy.local.world import LocalWorld, check_alive, connected
from schemas.catalog import load_catalog
from schemas.topics import PARTITIONS
from services.read_models.balances import PROJECTOR
from services.read_models.rebuild import begin, build, discard
from services.runtime.gc_tuning import stop_looking_for_garbage
from services.store.connect import Connection
from services.store.read import heads
from tests.bench.ground import LOOK_SECONDS, SETTLE, Ground, Span, check_all_recorded, fresh_world, span
from tests.bench.machine import started_seconds
from tests.bench.workload import BenchTeam, Event, lay_in_kafka, model_calls, price_model_calls

RECORDERS = ("recorder-1", "recorder-2")

PATIENT = {"CREDITWELL_KAFKA_SESSION_TIMEOUT_MS": "20000"}  # longer than a backlog takes to be laid

PARTITIONS_OF_OWNERS = """
    SELECT array_agg(partitions) FROM (
        SELECT count(*) AS partitions FROM kafka_cursors WHERE topic = 'usage' AND owner <> 'bench' GROUP BY owner
    ) AS shares
"""
CURSORS = "SELECT sum(next_offset)::bigint FROM kafka_cursors WHERE topic = 'usage'"
HEADS = "SELECT sum(next - 1)::bigint FROM shard_heads"
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
READER = "SELECT coalesce(sum(position), 0)::bigint FROM checkpoints WHERE reader = $1"


async def record(ground: Ground, world: LocalWorld, events: Sequence[Event]) -> Span:
    """Events from a backlog in Kafka to stored, with two recorders; from the first fact to the last."""
    async with connected(world.database) as owner:
        goal = await lay_backlog(world, owner, events)

        async def stored() -> tuple[int, bool]:
            count = await owner.fetchval(CURSORS)
            return count, count == goal

        measured = await span(world, stored)
        await ground.stop(*RECORDERS)
    return measured


async def visible(ground: Ground, world: LocalWorld, events: Sequence[Event]) -> tuple[Span, float]:
    """Facts from a backlog to balance, activity and usage, with two recorders and a projector; bytes of WAL of each."""
    async with connected(world.database) as owner:
        await world.serve("projector")
        await catch_up(world, owner, PROJECTOR)
        before, wal_before = await owner.fetchval(HEADS), await owner.fetchval(WAL)
        goal = await lay_backlog(world, owner, events)

        async def seen() -> tuple[int, bool]:
            cursors, head, count = [await owner.fetchval(*ask) for ask in ((CURSORS,), (HEADS,), (READER, PROJECTOR))]
            return count, cursors == goal and count == head

        async def first_stored() -> bool:
            return bool(await owner.fetchval(HEADS) > before)

        measured = await span(world, seen, began=first_stored)
        wal_bytes = (await owner.fetchval(WAL) - wal_before) / (await owner.fetchval(HEADS) - before)
        await ground.stop(*RECORDERS, "projector")
    return measured, wal_bytes


async def calls_by_turns(
    ground: Ground, teams: Sequence[BenchTeam], count: int, rounds: int
) -> dict[bool, list[float]]:
    """Processor time of a call of a model until it is visible, in microseconds: with three quantities (True), or with one.

    By turns, so that both see the same weather.
    """
    costs_us: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for several in (True, False) if number % 2 else (False, True):
            events = model_calls(teams, count, number, several=several)
            async with fresh_world(ground) as world, connected(world.database) as owner:
                await price_model_calls(owner, load_catalog().rate_card)
                measured, _ = await visible(ground, world, events)
                await check_all_recorded(owner, count)
            costs_us[several].append(measured.processor_us)
    return costs_us


async def lay_backlog(world: LocalWorld, owner: Connection, events: Sequence[Event]) -> int:
    """Two recorders that share the partitions and are let go when all of the backlog is in Kafka; where its end is.

    Frozen meanwhile, and not started afterwards: Kafka tells the first of a group about the second with a heartbeat, and for
    these seconds a measurement of two recorders would be one of one.
    """
    await world.serve(*RECORDERS, env=PATIENT)
    fair = [PARTITIONS // len(RECORDERS)] * len(RECORDERS)
    while await owner.fetchval(PARTITIONS_OF_OWNERS) != fair:
        check_alive(world.processes)
        await asyncio.sleep(LOOK_SECONDS)
    for name in RECORDERS:
        world.processes.pause(name)
    await asyncio.to_thread(lay_in_kafka, world.kafka, events)
    await owner.execute(SETTLE)
    goal = sum((await ends(world.kafka, "usage")).values())
    for name in RECORDERS:
        world.processes.resume(name)
    return goal


async def relay(ground: Ground, world: LocalWorld) -> Span:
    """Facts from the log to `credits.events`, with the relay alone."""
    async with connected(world.database) as owner:
        await owner.execute(SETTLE)
        goal = await owner.fetchval(HEADS)

        async def sent() -> tuple[int, bool]:
            count = await owner.fetchval(READER, "relay")
            return count, count == goal

        measured, _ = await asyncio.gather(span(world, sent), world.serve("relay"))
        await ground.stop("relay")
    return measured


async def catch_up(world: LocalWorld, owner: Connection, reader: str) -> None:
    """Wait until a reader has reached the head."""

    async def reached() -> tuple[int, bool]:
        count = await owner.fetchval(READER, reader)
        return count, count == await owner.fetchval(HEADS)

    await span(world, reached, began=_at_once)


async def _at_once() -> bool:
    return True


async def replay(ground: Ground, world: LocalWorld) -> Span:
    """Facts of a rebuild of all projections, one process per core, their start not counted."""
    cores = os.cpu_count() or 1
    async with connected(world.logins["projector"]) as projector, connected(world.database) as owner:
        version = await begin(projector)
        await owner.execute(SETTLE)
        shares = shared_out(await heads(owner), cores)
        with ExitStack() as stack:
            workers = [stack.enter_context(worker()) for _ in shares]
            await asyncio.gather(*(in_worker(one, heads_in_worker, world.logins["projector"]) for one in workers))
            began, effort = perf_counter(), started_seconds()
            folded: list[int] = await asyncio.gather(
                *(
                    in_worker(one, build_in_worker, world.logins["projector"], version, shards, f"bench-{number}")
                    for number, (one, shards) in enumerate(zip(workers, shares, strict=True))
                )
            )
            measured = Span(sum(folded), perf_counter() - began, started_seconds() - effort)
            for one in await asyncio.gather(*(in_worker(one, peak_in_worker) for one in workers)):
                ground.peak_rss_mb["rebuild"] = max(ground.peak_rss_mb.get("rebuild", 0.0), one)
        await discard(projector, version)
    return measured


def shared_out(lengths: dict[int, int], shares: int) -> list[list[int]]:
    """Shards in so many shares of about the same number of facts."""
    parts: list[list[int]] = [[] for _ in range(shares)]
    for shard in sorted(lengths, key=lambda shard: -lengths[shard]):
        min(parts, key=lambda part: sum(lengths[one] for one in part)).append(shard)
    return parts


def worker() -> ProcessPoolExecutor:
    """A process of its own, with nothing inherited."""
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))


async def in_worker(one: ProcessPoolExecutor, work: Any, *given: Any) -> Any:
    """Run a function there."""
    return await asyncio.get_running_loop().run_in_executor(one, work, *given)


def heads_in_worker(database: str) -> dict[int, int]:
    """Something small, so that everything is imported."""

    async def work() -> dict[int, int]:
        async with connected(database) as connection:
            return await heads(connection)

    return uvloop.run(work())


def build_in_worker(database: str, version: int, shards: list[int], owner: str) -> int:
    """A share of a rebuild."""

    async def work() -> int:
        async with connected(database) as connection:
            return await build(connection, version, shards, owner)

    stop_looking_for_garbage()  # as the processes of a rebuild do
    return uvloop.run(work())


def peak_in_worker() -> float:
    """How much memory this worker had at most."""
    from tests.bench.ground import peak_rss_mb

    return peak_rss_mb(os.getpid())
