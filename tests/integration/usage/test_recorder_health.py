"""A recorder that works is not stuck, however much is still to do; one that can not do its work dies of it, and skips nothing."""

import asyncio

import asyncpg
import pytest

from deploy.local.stack import Stack
from schemas.catalog import load_catalog
from services.credits.rate_cards import seed_catalog
from services.usage.recorder import SOMEBODY_WAITS
from tests.support.usage import used
from tests.support.waiting import until
from tests.support.world import ServiceWorld, a_world


async def test_invariant_20_each_partition_that_moves_shows_it_so_that_a_backlog_is_no_standstill(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    async with world.recorder() as service:
        ((partition, _),) = await world.send(used("team_1", "a"))
        work = f"usage-{partition}"

        async def looked() -> bool:
            return work in service.health.work

        await until(looked, what="the recorder has looked at how much waits")
        before = service.health.now()
        await world.send(used("team_1", "b"))
        await world.recorded()

        async def moved() -> bool:
            return service.health.work[work].moved_at >= before

        await until(moved, what="the partition is said to have moved")


async def test_invariant_19_what_is_neither_refused_nor_away_ends_the_recorder_with_its_cursor_unmoved(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    await world.connection.execute("ALTER TABLE facts ADD CONSTRAINT mistake CHECK (id <> 'a')")
    reached = await world.cursors()
    await world.send(used("team_1", "a"))

    with pytest.raises(asyncpg.CheckViolationError):
        async with world.recorder():
            await world.recorded()

    assert await world.cursors() == reached
    await world.connection.execute("ALTER TABLE facts DROP CONSTRAINT mistake")
    async with world.recorder():
        await world.recorded()
    assert await world.usage_ids() == ["a"]


async def test_a_recorder_whose_batch_became_somebody_elses_waits_no_more_for_what_was_away(
    stack: Stack, database: str
) -> None:
    async with a_world(stack, database, seeded=False) as world, world.recorder() as service:
        ((partition, offset),) = await world.send(used("team_1", "a"))

        async def waits() -> bool:
            return "the store" in service.health.absent

        async def waits_no_more() -> bool:
            return not service.health.absent

        await until(waits, what="the recorder says what it misses")
        async with world.connection.transaction():
            await world.connection.execute(
                "UPDATE kafka_cursors SET epoch = epoch + 1, owner = 'a stranger', next_offset = $2 WHERE partition = $1",
                partition,
                offset + 1,
            )
            await seed_catalog(world.connection, load_catalog())

        await until(waits_no_more, what="the recorder is ready again")


async def test_a_recorder_that_waits_for_the_database_to_claim_its_partitions_still_stops_when_asked(
    world: ServiceWorld,
) -> None:
    async def waits() -> bool:
        world.raise_if_dead()
        return bool(await world.connection.fetchval(SOMEBODY_WAITS))

    holder = await asyncpg.connect(world.database)
    try:
        lock = holder.transaction()
        await lock.start()
        await holder.execute("SELECT FROM kafka_cursors FOR UPDATE")
        async with world.recorder() as service:
            await until(waits, what="the recorder claims its partitions")
            service.stop.set()
            ended, _ = await asyncio.wait({service.task}, timeout=60)
            await lock.rollback()  # whether or not it has ended, the test does
    finally:
        await holder.close()

    assert ended, "it waits for the database, and hears nothing else"


async def test_a_recorder_that_starts_while_kafka_is_away_says_so_waits_and_stops_when_it_is_told(
    world: ServiceWorld,
) -> None:
    async with world.recorder(kafka="127.0.0.1:9") as recorder:

        async def said() -> bool:
            return "Kafka" in recorder.health.absent

        await until(said, what="the recorder says that Kafka is away")
        assert not recorder.health.is_ready
