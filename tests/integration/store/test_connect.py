"""A database that is away is waited for; what it is asked wrongly is our mistake, and nobody waits for that to pass."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from services.api.problems import handle_problems
from services.runtime.health import Health
from services.runtime.retry import keep_going
from services.runtime.settings import WrongSettings
from services.store.connect import AWAY, RETRYABLE, Pool, connect_pool

NOT_A_NUMBER = "three"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await connect_pool(database, process="test", size=1)
    yield pool
    await pool.close()


@pytest.mark.parametrize("url", ["postgresql://db/creditwell?sslmode=yes", "postgresql://db/?target_session_attrs=all"])
async def test_a_url_that_makes_no_sense_is_a_wrong_setting_and_no_database_that_is_away(url: str) -> None:
    with pytest.raises(WrongSettings, match="CREDITWELL_DATABASE is wrong"):
        await connect_pool(url, process="test")


async def test_a_process_does_not_repeat_for_ever_what_can_not_be_encoded(pool: Pool) -> None:
    async def work() -> None:
        await pool.fetchval("SELECT $1::integer", NOT_A_NUMBER)

    with pytest.raises(asyncpg.DataError, match="three"):
        await keep_going("the database", work, asyncio.Event(), Health("test"), away=RETRYABLE)


async def test_a_session_that_has_ended_is_away(pool: Pool) -> None:
    async with pool.acquire() as connection:
        connection.terminate()
        with pytest.raises(AWAY):
            await connection.fetchval("SELECT $1::integer", 3)


@pytest.mark.parametrize(("asked", "status"), [("wrongly", 500), ("of a session that has ended", 503)])
async def test_a_request_is_told_to_come_again_only_where_that_helps(pool: Pool, asked: str, status: int) -> None:
    app = FastAPI()
    handle_problems(app)

    @app.get("/")
    async def ask() -> None:
        async with pool.acquire() as connection:
            if asked != "wrongly":
                connection.terminate()
            await connection.fetchval("SELECT $1::integer", NOT_A_NUMBER)

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        answer = await client.get("/")

    assert (answer.status_code, answer.json()["code"]) == (status, "internal" if status == 500 else "unavailable")
