"""A clone of production's disk, with production's keys and topics: what it can do, and what ends it.

On the same timeline it looks like a restart: it may go on until its relay has looked at what was published.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.publishing.looking import StoreLook
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.store.connect import Connection
from services.store.lives import Life, StoreUnchecked, read_standing
from tests.support.lives import begin_to_publish, gone_back, publish, record_usage, settings_of
from tests.support.serving import connected, store, used
from tests.support.world import ServiceWorld

TEAM = "team_1"

# What a clone of the disk is: all is as it was, but for the start of its server.
CLONED = """
    UPDATE store_lives SET database = (SELECT oid FROM pg_database WHERE datname = current_database()),
                           started_at = started_at - interval '1 hour'
"""


@asynccontextmanager
async def cloned(world: ServiceWorld) -> AsyncIterator[tuple[Connection, StoreLook]]:
    """A clone of a store that has published, and its relay's look at the topic; production goes on."""
    await world.team(TEAM)
    await record_usage(world, TEAM, "u1")
    await publish(world.stack, world.connection)
    await begin_to_publish(world)
    await world.connection.close()
    async with gone_back(world.stack, world.database, life=CLONED) as copy:
        await world.reconnect()
        async with connected(copy) as connection:
            yield connection, StoreLook(settings_of(world.stack, copy), Health("relay"))


async def test_a_clone_whose_relay_looks_after_production_has_published_goes_on_no_more(world: ServiceWorld) -> None:
    async with cloned(world) as (clone, looking):
        await record_usage(world, TEAM, "u2")
        await publish(world.stack, world.connection)

        with pytest.raises(Unavailable, match="store_went_back"):
            await looking.until_sure(clone)

        with pytest.raises(StoreUnchecked):
            await store(clone, TEAM, [used(1)])
        assert (await read_standing(clone)).life is Life.WENT_BACK
        await store(world.connection, TEAM, [used(1)])  # production never hears of it


async def test_a_clone_without_a_relay_goes_on_and_is_never_looked_at(world: ServiceWorld) -> None:
    async with cloned(world) as (clone, _):
        await record_usage(world, TEAM, "u2")
        await publish(world.stack, world.connection)

        await store(clone, TEAM, [used(1)])

        stands = await read_standing(clone)
        assert (stands.life, stands.looked, stands.went_back) == (Life.SAME, False, None)
