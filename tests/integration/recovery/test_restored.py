"""A base backup and the archive of the write-ahead log are restored to a moment of the past, by PostgreSQL itself."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.publishing.beyond import compare, read_beyond
from services.publishing.looking import StoreLook
from services.recovery.watching import Watching
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.store.lives import StoreUnchecked
from tests.support.lives import begin_to_publish, publish, record_usage, settings_of
from tests.support.promoted import a_server, make_tables
from tests.support.restored import ArchivingPostgres
from tests.support.serving import connected, store, used
from tests.support.world import a_world

TEAM = "team_1"
IDS = "SELECT array_agg(id ORDER BY position) FROM facts WHERE type = 'usage.recorded.v1'"


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[ArchivingPostgres]:
    with a_server(ArchivingPostgres, tmp_path) as server:
        yield server


# `make faults ARGS=--restored` plays the same under load, with every process, with money, and with Kafka away meanwhile.
async def test_a_backup_restored_to_a_moment_of_the_past_waits_and_gets_back_what_was_published(
    stack: Stack, primary: ArchivingPostgres
) -> None:
    await make_tables(primary.url)
    async with a_world(replace(stack, database=primary.url), primary.url) as world:
        await world.team(TEAM)
        await publish(world.stack, world.connection)
        await begin_to_publish(world)
        await asyncio.to_thread(primary.backup)
        await record_usage(world, TEAM, "u1")
        await publish(world.stack, world.connection)
        then = await world.connection.fetchval("SELECT clock_timestamp()")
        await record_usage(world, TEAM, "u2", "u3")
        await publish(world.stack, world.connection)
        await primary.archived()
        restored = await primary.restored(then)
    settings = settings_of(stack, restored.url)
    async with connected(restored.url) as connection:
        assert await connection.fetchval(IDS) == ["u1"]
        with pytest.raises(StoreUnchecked):
            await store(connection, TEAM, [used(1)])
        with pytest.raises(Unavailable, match="store_went_back: 2 facts of 1 shards were published"):
            await StoreLook(settings, Health("relay")).until_sure(connection)

        await Watching(settings, connection, Health("resume"), quiet_seconds=0).round()

        assert await connection.fetchval(IDS) == ["u1", "u2", "u3"]
        await StoreLook(settings, Health("relay")).until_sure(connection)
        assert (await compare(connection, (await read_beyond(settings, connection)).published)).why(()) is None
        assert (await verify(connection)).problems == []
        assert (await replay(connection, ReplayScope(), lambda _: None)).differences == []
