"""A pooler between us and the database: what our sessions rest on comes with the role, or it is said that it does not."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.stack import Stack
from services.runtime.settings import WrongSettings
from services.store.connect import connect_pool
from tests.support.pgbouncer import IGNORED, KEEPS_STATEMENTS, a_pooler, version
from tests.support.production import a_production, migrated
from tests.support.proxy import a_proxy

Login = Callable[[str], str]

# What PgBouncer passes by itself: see docs/postgresql.md.
PASSED = frozenset({b"user", b"database", b"client_encoding", b"application_name", b"TimeZone", b"timezone"})
HEARD_SECONDS = 60
BY_ROLE = {"recorder": 30_000, "projector": 30_000, "worker": 30_000, "signer": 30_000, "api": 10_000}


@pytest.fixture(scope="module")
async def login(stack: Stack) -> AsyncIterator[Login]:
    async with a_production(stack) as login:
        await migrated(login("migrator"))
        yield login


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that an unprivileged user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize("role", BY_ROLE)
async def test_each_role_brings_what_its_sessions_rest_on_past_a_pooler_that_drops_it(login: Login, role: str) -> None:
    async with a_proxy(login(role)) as proxy:
        proxy.settings_that_pass = PASSED
        pool = await connect_pool(
            proxy.url(login(role)), process="test", size=2, statement_timeout_ms=BY_ROLE[role], projections=False
        )
        async with pool:
            assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
            assert await pool.fetchval("SHOW default_transaction_isolation") == "read committed"


async def test_settings_that_neither_arrive_nor_come_with_the_role_are_named(database: str) -> None:
    async with a_proxy(database) as proxy:
        proxy.settings_that_pass = PASSED
        with pytest.raises(WrongSettings) as wrong:
            await connect_pool(proxy.url(database), process="test", size=1)

    named = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    assert [name for name in named if any(f"which {name} is 0 ms" in one for one in wrong.value.sentences)] == named
    assert all("ALTER ROLE postgres SET" in one for one in wrong.value.sentences)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pool_mode": "session"}, "unsupported startup parameter"),
        (
            {"pool_mode": "statement", "ignore_startup_parameters": IGNORED},
            "statement pooling mode|prepared statements",
        ),
        ({"pool_mode": "session", "ignore_startup_parameters": IGNORED}, None),
        ({"pool_mode": "transaction", "ignore_startup_parameters": IGNORED}, "keeps no prepared statements"),
        (
            {"pool_mode": "transaction", "ignore_startup_parameters": IGNORED, "max_prepared_statements": "200"},
            None,
        ),
    ],
    ids=["startup", "statement", "session", "transaction", "transaction-prepared"],
)
async def test_behind_a_pgbouncer_it_works_or_says_what_to_change(
    login: Login, folder: Path, settings: Mapping[str, str], sentence: str | None
) -> None:
    if version() < KEEPS_STATEMENTS and settings.get("max_prepared_statements"):
        settings = {name: value for name, value in settings.items() if name != "max_prepared_statements"}
        sentence = "keeps no prepared statements"
    elif version() >= KEEPS_STATEMENTS and settings["pool_mode"] == "transaction":
        settings = {"max_prepared_statements": "0", **settings}
    with a_pooler(folder, login("recorder"), settings) as url:
        if sentence is not None:
            with pytest.raises(WrongSettings, match=sentence):
                await connect_pool(url, process="test", size=3, projections=False)
            return
        pool = await connect_pool(url, process="test", size=3, projections=False, listens=True)
        async with pool, pool.acquire() as one, pool.acquire() as other:
            async with one.transaction(), other.transaction():
                for session in (one, other):
                    assert await session.fetchval("SELECT $1::integer", 7) == 7
                    assert await session.fetchval("SHOW statement_timeout") == "30s"
            assert await pool.heard.wait(HEARD_SECONDS), "for what came before it listened"
            assert not pool.heard.is_heard, "a pooler may swallow it"
