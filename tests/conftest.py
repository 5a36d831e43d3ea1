"""A real Kafka and a real PostgreSQL for the tests that ask for them, and a database of its own for each test."""

import asyncio
import gc
import logging
import os
import secrets
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from deploy.local.stack import Stack, start_stack
from services.read_models.versions import ensure_projections
from services.store.lives import admit, fork
from services.store.migrate import migrate

# What aiokafka says while a broker is away, several lines a second. It would drown the assertion of a test that fails.
NOISY = (
    "aiokafka", "aiokafka.cluster", "aiokafka.conn", "aiokafka.consumer.fetcher", "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
)  # fmt: skip


PARTITIONS = (
    8  # of the topics: less to make and to claim than the 64 with which `tests/e2e/test_other_languages.py` runs
)

# Files that take longest, most of it waiting, begin first: or one worker is still at them when nothing is left for others.
LONG = (
    "e2e/test_demo.py", "money/test_topup.py", "usage/test_recorder_faults.py", "api/test_openapi.py",
    "deploy/test_stack.py", "runtime/test_crashes.py", "money/test_lost_payments.py", "schemas/test_emitter.py",
    "deploy/test_kafka_topics.py", "money/test_stripe_requests.py", "audit/test_prove.py",
)  # fmt: skip

# No run may fail because a machine is busy: nothing has a deadline, and a slow drawing of examples is no fault.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# In CI none may fail by luck either: the same examples each time, and none from an earlier run. Others look further.
settings.register_profile(
    "ci", settings.get_profile("patient"), max_examples=100, derandomize=True, database=None, print_blob=True
)


def pytest_configure() -> None:
    """Which examples hypothesis draws; and of the connections to Kafka only what comes with a traceback is news."""
    settings.load_profile("ci" if os.environ.get("CI") == "true" else "patient")
    for name in NOISY:
        logging.getLogger(name).addFilter(lambda record: record.exc_info is not None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is loaded stays: to search it for garbage meanwhile takes a quarter of the time, and more again later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, then e2e, integration and unit as they lie: the short ones fill in at the end."""
    ranks = {name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get("/".join(item.path.parts[-2:]), len(LONG)))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Started with the first test that needs it, gone with the last. Its PostgreSQL waits for no disk: see `durable`."""
    with start_stack(say=print, name="tests", native=True, durable=False, partitions=PARTITIONS) as running:
        yield running


@pytest.fixture
async def durable(stack: Stack) -> AsyncIterator[None]:
    """For a test that crashes PostgreSQL: until its end what is committed is on the disk, as in production."""
    await asyncio.to_thread(stack.set_durable, durable=True)
    yield
    await asyncio.to_thread(stack.set_durable, durable=False)


@pytest.fixture(scope="session")
async def template(stack: Stack) -> AsyncIterator[str]:
    """The name of a database that is migrated once and copied for each test."""
    name = f"template_{secrets.token_hex(4)}"
    await _on_server(stack.database, f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(url_of(stack.database, name))
    try:
        await migrate(connection)
        await ensure_projections(connection)
    finally:
        await connection.close()
    yield name
    await _on_server(stack.database, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(stack: Stack, template: str) -> AsyncIterator[str]:
    """A superuser's URL of a fresh database with every table and nothing in it."""
    async with a_database(stack, template) as url:
        yield url


@asynccontextmanager
async def a_database(stack: Stack, template: str, *, same_log: bool = False) -> AsyncIterator[str]:
    """As the fixture `database`, for fixtures that live longer than a test; with `same_log`, of the template's name."""
    name = f"test_{secrets.token_hex(6)}"
    # Files are copied: page by page through the write-ahead log, as by default, would cost twice the processor time.
    await _on_server(stack.database, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        await begin_life(url_of(stack.database, name), same_log=same_log)
        yield url_of(stack.database, name)
    finally:
        await _on_server(stack.database, f"DROP DATABASE {name} WITH (FORCE)")


async def begin_life(database: str, *, same_log: bool = False) -> None:
    """A copy of a store is a log of its own, or with `same_log` the one that goes on."""
    connection = await asyncpg.connect(database)
    try:
        if await connection.fetchval("SELECT to_regclass('store_lives') IS NOT NULL"):
            await (admit(connection, "looked") if same_log else fork(connection, "test"))
    finally:
        await connection.close()


def url_of(server: str, name: str, *, role: str | None = None) -> str:
    """The URL of another database of the same server; with `role`, its sessions may do what that role may."""
    parts = urlsplit(server)
    query = f"role=creditwell_{role}" if role else parts.query
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", query, ""))


async def _on_server(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
