"""Fixtures of the tests that let one process of ours run against a real Kafka and a real PostgreSQL."""

from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.local.processes import Processes
from deploy.local.stack import Stack
from tests.support.fleet import Fleet
from tests.support.world import World, a_world


@pytest.fixture
async def world(stack: Stack, database: str) -> AsyncIterator[World]:
    """A database of its own, the rate card of the catalog, no team yet, and a place in the topic behind all other tests."""
    async with a_world(stack, database) as world:
        yield world


@pytest.fixture
def fleet(stack: Stack, world: World) -> Iterator[Fleet]:
    """Our processes as child processes over the world's database; all of them are stopped afterwards."""
    with Processes(stack, say=print) as processes:
        world.processes = processes
        yield Fleet(processes, stack, world.database)
