"""Of a backlog the next batch is read ahead, and is folded only where it goes on."""

from collections.abc import AsyncIterator

import pytest

from services.read_models import projector
from services.read_models.projector import Reading
from services.store.connect import Pool, connect_pool
from services.store.read import read_raw_new
from services.store.shards import shard_of
from tests.support.facts import granted, store
from tests.support.world import ServiceWorld

TEAM = "team_1"
SHARD = shard_of(TEAM)


@pytest.fixture
async def pool(world: ServiceWorld, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """A log of ten facts in one shard, which is read by twos."""
    monkeypatch.setattr(projector, "BATCH_MAX", 2)
    await store(world.connection, *[granted(TEAM, f"gift-{n}") for n in range(10)])
    async with await connect_pool(world.database, process="test", size=2, projections=False) as pool:
        yield pool


async def read(reading: Reading, pool: Pool, position: int) -> list[int]:
    async with pool.acquire() as connection:
        facts, _ = await reading.read(connection, {SHARD: position})
    return [row["position"] for row in facts.get(SHARD, [])]


async def test_a_backlog_is_read_to_its_end_and_nothing_beyond(pool: Pool) -> None:
    async with Reading(pool) as reading:
        assert [await read(reading, pool, position) for position in range(0, 12, 2)] == [
            [1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [],
        ]  # fmt: skip


@pytest.mark.parametrize("stands_at", [0, 1, 4], ids=["nothing was saved", "a part was saved", "another went on"])
async def test_what_was_read_ahead_is_dropped_where_it_does_not_go_on(pool: Pool, stands_at: int) -> None:
    async with Reading(pool) as reading:
        assert await read(reading, pool, 0) == [1, 2]

        assert await read(reading, pool, stands_at) == [stands_at + 1, stands_at + 2]


async def test_of_a_shard_that_is_left_alone_nothing_is_folded(pool: Pool) -> None:
    async with Reading(pool) as reading:
        assert await read(reading, pool, 0) == [1, 2]

        async with pool.acquire() as connection:
            assert await reading.read(connection, {}) == ({}, 0)


async def test_a_shard_far_behind_has_most_of_a_batch_and_keeps_nobody_waiting(pool: Pool, world: ServiceWorld) -> None:
    other = next(f"team_{n}" for n in range(2, 99) if shard_of(f"team_{n}") != SHARD)
    await store(world.connection, granted(other, "gift"))

    facts, missing = await read_raw_new(world.connection, {SHARD: 0, shard_of(other): 0}, 8)

    assert {shard: len(read) for shard, read in facts.items()} == {SHARD: 6, shard_of(other): 1}
    assert missing == 11
