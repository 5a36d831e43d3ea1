"""The primary is gone and its standby takes over: whoever has both addresses goes on without being started again."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.servers.postgres import NativePostgres
from services.runtime.health import Health
from services.store.connect import AWAY, connect_pool
from services.store.lives import read_standing
from services.store.sessions.pool import ABSENT, Pool
from tests.support.promoted import a_primary, make_tables
from tests.support.waiting import until

WRITES = "UPDATE halted SET tried_at = tried_at"


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[NativePostgres]:
    with a_primary(tmp_path) as server:
        yield server


async def test_whoever_knows_both_addresses_goes_on_where_writes_are_taken(primary: NativePostgres) -> None:
    await make_tables(primary.url)
    standby = await asyncio.to_thread(primary.standby)
    both = primary.url.replace("@", f"@{standby.url.rpartition('@')[2].partition('/')[0]},")
    health = Health("test")
    pool = await connect_pool(both, process="test", size=2, health=health)
    async with pool:
        assert await pool.fetchval("SELECT pg_is_in_recovery()") is False, "though the standby is named first"

        await asyncio.to_thread(primary.stop, "immediate")
        await until(lambda: _is_read_only(health), what="it is said that nobody takes writes")
        assert await pool.fetchval("SELECT count(*) FROM facts") == 0, "what can be read is read meanwhile"
        with pytest.raises(AWAY):  # so does the relay, which looks at the server's life first
            async with pool.acquire() as connection:
                await read_standing(connection)
        await _promote(standby.url)

        await until(lambda: _writes(pool), what="the new primary takes writes")
        await until(lambda: _is_back(health), what="the database is said to be back")


async def _promote(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT pg_promote()")
    finally:
        await connection.close()


async def _writes(pool: Pool) -> bool:
    try:
        await pool.execute(WRITES)
    except AWAY:
        return False
    return True


async def _is_read_only(health: Health) -> bool:
    return "read-only" in health.absent.get(ABSENT, "")


async def _is_back(health: Health) -> bool:
    return ABSENT not in health.absent
