"""Fixtures of the tests that let one process of ours run against a real Kafka and a real PostgreSQL."""

from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.local.forkserver import fork_server
from deploy.local.processes import Processes
from deploy.local.stack import Stack
from services.store.connect import Connection
from tests.conftest import a_database
from tests.support.api import Api, an_api
from tests.support.desk import Desk, a_desk
from tests.support.fleet import Fleet
from tests.support.serving import connected
from tests.support.world import ServiceWorld, a_world


@pytest.fixture
async def world(stack: Stack, database: str) -> AsyncIterator[ServiceWorld]:
    """A database of its own, the rate card of the catalog, no team yet, and a place in the topic behind all other tests."""
    async with a_world(stack, database) as world:
        yield world


@pytest.fixture
def fleet(stack: Stack, world: ServiceWorld) -> Iterator[Fleet]:
    """Our processes as child processes over the world's database; all of them are stopped afterwards."""
    with Processes(stack, say=print, forks=fork_server()) as processes:
        world.processes = processes
        yield Fleet(processes, stack, world.database)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A stand-in of its own for each test."""
    async with a_desk() as open_desk:
        yield open_desk


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    """A superuser's, for what a test does to the world."""
    async with connected(database) as connection:
        yield connection


@pytest.fixture(scope="module")
async def running(stack: Stack, template: str) -> AsyncIterator[Api]:
    """The API over a database of its own, for all tests of a module."""
    async with a_database(stack, template) as database, an_api(stack, database) as api:
        yield api


@pytest.fixture
async def api(running: Api) -> Api:
    """The API, with a team that no other test has seen."""
    await running.begin()
    return running
