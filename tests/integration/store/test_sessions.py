"""Whatever happens to a session or to its server, the next one is where there is an answer; what is wrong is said."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local.stack import Stack
from services.read_models import projector
from services.read_models.versions import ensure_projections
from services.runtime.health import Health
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import load_settings
from services.store.connect import AWAY, connect, connect_pool
from services.store.migrate import migrate
from services.store.sessions.hosts import Hosts
from services.store.sessions.pool import ABSENT, Pool
from tests.conftest import url_of
from tests.support.api import an_api, key
from tests.support.proxy import Cut, Proxy, a_proxy
from tests.support.serving import as_role
from tests.support.waiting import until

NOWHERE = "127.0.0.1:9"
UTC = {"timezone": "UTC"}


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[Proxy]:
    async with a_proxy(database) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ("channel_binding=require", "`channel_binding` is no parameter of it; take it out"),
        ("connect_timeout=10", "`connect_timeout` is no parameter of it"),
        ("pgbouncer=true&connection_limit=1", "`pgbouncer` .* `connection_limit`"),
        ("schema=public", "`schema` is no parameter of it"),
        ("sslmode=require", "`sslmode` asks for an encrypted connection, and the server has none"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "`sslrootcert` names /nowhere.pem, which is not a file"),
        ("sslmode=always", "sslmode"),
        ("work_mem=much", "work_mem"),
        ("no_such_thing=1", "no_such_thing"),
        ("nonsense", "parameters can't be read"),
        ("role=creditwell_nobody", "creditwell_nobody"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named_and_no_outage(database: str, parameters: str, sentence: str) -> None:
    with pytest.raises(WrongSettings, match=f"CREDITWELL_DATABASE is wrong: .*{sentence}"):
        await connect_pool(f"{database}?{parameters}", process="test", size=1)


@pytest.mark.parametrize("wrong", ["password", "database"])
async def test_a_wrong_login_is_said_and_no_outage(stack: Stack, wrong: str) -> None:
    url = url_of(stack.database, "missing") if wrong == "database" else stack.database.replace("@", "x@")

    with pytest.raises(WrongSettings, match="CREDITWELL_DATABASE is wrong"):
        await connect_pool(url, process="test", size=1)


async def test_a_database_that_is_away_at_the_start_is_named_and_waited_for(database: str) -> None:
    async with a_proxy(database) as proxy:
        away = proxy.url(database)
    health, stop = Health("projector"), asyncio.Event()
    serving = asyncio.create_task(projector.serve(load_settings(database=away), stop, health))

    await until(lambda: _told(health), what="the process says what is away")
    assert f"127.0.0.1:{proxy.listens_on}" in health.absent[ABSENT]
    assert "CREDITWELL_DATABASE" in health.absent[ABSENT]

    stop.set()
    await serving


async def _told(health: Health) -> bool:
    return ABSENT in health.absent


async def test_a_host_that_takes_the_connection_and_never_answers_is_passed_over(database: str, proxy: Proxy) -> None:
    proxy.stall()
    host = database.rpartition("@")[2].partition("/")[0]
    hosts = Hosts(database.replace(host, f"127.0.0.1:{proxy.listens_on},{host}"))

    for _ in range(2):
        opened = await hosts.open_session(UTC)
        assert await opened.session.fetchval("SELECT 1") == 1
        await opened.session.close()

    assert proxy.stalled == 1, "it was asked once, and last the second time"


async def test_an_idle_session_that_a_network_forgot_is_replaced_before_anybody_gets_it(
    database: str, proxy: Proxy
) -> None:
    pool = Pool(Hosts(proxy.url(database)), UTC, size=3, command_timeout=600, health=None, idle_seconds=0)
    async with pool:
        proxy.fall_silent()

        assert await pool.fetchval("SELECT 1") == 1
        assert proxy.forgotten, "a session was asked, and did not answer"
        async with pool.acquire(), pool.acquire() as other:
            assert await other.fetchval("SELECT 1") == 1


async def test_a_session_that_ends_just_behind_its_answer_is_handed_to_nobody(database: str) -> None:
    pool = Pool(Hosts(database), UTC, size=1, command_timeout=600, health=None, idle_seconds=0)
    async with pool:
        async with pool.acquire() as session:
            ending: asyncpg.Connection[asyncpg.Record] = session._con
            ending.add_query_logger(lambda _: ending.terminate())

        async with pool.acquire() as another:
            assert another._con is not ending
            assert await another.fetchval("SELECT 1") == 1
        assert ending.is_closed()


async def test_a_session_that_ends_in_the_midst_of_a_statement_is_an_outage(database: str) -> None:
    pool = Pool(Hosts(database), UTC, size=1, command_timeout=600, health=None)
    async with pool:
        with pytest.raises(ConnectionError):
            await _ended_in_the_midst(pool)

        assert await pool.fetchval("SELECT 1") == 1


async def _ended_in_the_midst(pool: Pool) -> None:
    async with pool.acquire() as proxy:
        session: Any = proxy._con
        await session.fetchval("SELECT 1")
        session.terminate()
        await session._execute("SELECT 1", (), 0, None)  # as if asyncpg had looked before whether it is open


async def test_who_waits_for_a_server_that_froze_hears_of_it_and_goes_on_when_it_answers(
    database: str, proxy: Proxy
) -> None:
    health = Health("test")
    pool = await connect_pool(proxy.url(database), process="test", size=1, statement_timeout_ms=600_000, health=health)
    async with pool:
        proxy.stall()
        with pytest.raises(AWAY):
            await pool.fetchval("SELECT pg_sleep(3600)")
        assert await _told(health)
        proxy.go_on()

        assert await pool.fetchval("SELECT 1") == 1
        await until(lambda: _is_back(health), what="the server is said to be back")


async def _is_back(health: Health) -> bool:
    return ABSENT not in health.absent


async def test_a_slow_network_is_no_outage(database: str, proxy: Proxy) -> None:
    proxy.delay_seconds = 0.01
    health = Health("test")
    pool = await connect_pool(proxy.url(database), process="test", size=1, health=health)
    async with pool:
        assert await pool.fetchval("SELECT 1") == 1
        assert not health.absent


async def test_a_password_that_changes_meanwhile_is_waited_for(stack: Stack, template: str) -> None:
    async with _a_login(stack) as login:
        url = url_of(stack.database, template).replace("//postgres:", f"//{login}:")
        pool = await connect_pool(url, process="test", size=1)
        async with pool:
            await _on(stack, f"ALTER ROLE {login} PASSWORD 'another'")
            async with pool.acquire() as session:
                session.terminate()

            with pytest.raises(AWAY, match="authentication failed"):
                await pool.fetchval("SELECT 1")


async def test_a_request_that_reads_is_repeated_when_its_session_breaks(stack: Stack, database: str) -> None:
    async with a_proxy(database) as proxy:
        async with an_api(stack, proxy.url(database)) as api:
            await api.begin()
            proxy.cut_next(b"balance", Cut.UNHEARD)
            answer = await api.member.get(f"{api.path}/balance")

            assert proxy.happened.is_set()
            assert answer.status_code == 200


async def test_a_database_that_takes_no_writes_is_said_and_left_as_soon_as_it_does_again(
    stack: Stack, database: str
) -> None:
    name = database.rpartition("/")[2]
    read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
    async with an_api(stack, database) as api:
        await api.begin()
        hold = {"credits": "1", "member_id": "mem_1"}

        async def place(attempt: str) -> int:
            return (await api.service.post(f"{api.path}/holds", json=hold, headers=key(attempt))).status_code

        async def ready() -> bool:
            return (await api.member.get("/readyz")).status_code == 200

        await until(ready, what="the API is ready")
        await _on(stack, read_only)
        await _on(stack, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
                         "AND application_name = 'creditwell-api'")  # fmt: skip
        refused = await api.service.post(f"{api.path}/holds", json=hold, headers=key("one"))
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True), refused.text
        assert (await api.member.get(f"{api.path}/balance")).status_code == 200

        await until(lambda: _told(api.health), what="the API is not ready")
        answer = await api.member.get("/readyz")
        assert (answer.status_code, "read-only" in answer.text) == (503, True)

        await _on(stack, read_only.replace("SET", "RESET").partition(" = ")[0])
        await until(ready, what="the API is ready again")
        assert await place("one") in (200, 201)


async def test_nobody_who_only_reads_can_hold_up_a_migration(database: str) -> None:
    reader, owner = await connect(as_role(database, "reader"), process="test"), await connect(database, process="test")
    locks = (
        "SELECT pg_advisory_xact_lock(hashtext('creditwell:' || of)) FROM unnest('{migrate,projections}'::text[]) of"
    )
    try:
        async with reader.transaction():
            await reader.fetch(locks)
            await reader.fetch("SELECT * FROM migrations, projections")

            assert await migrate(owner) == []
            await ensure_projections(owner)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with reader.transaction():
                    await reader.execute("LOCK TABLE migrations IN SHARE ROW EXCLUSIVE MODE")
    finally:
        await reader.close()
        await owner.close()


@asynccontextmanager
async def _a_login(stack: Stack) -> AsyncIterator[str]:
    """A superuser with the password of the stack's own."""
    name, password = f"login_{secrets.token_hex(4)}", urlsplit(stack.database).password
    await _on(stack, f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{password}'")
    try:
        yield name
    finally:
        await _on(stack, f"DROP ROLE {name}")


async def _on(stack: Stack, statement: str) -> None:
    connection = await asyncpg.connect(stack.database)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
