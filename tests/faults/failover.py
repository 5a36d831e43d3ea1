"""How soon all is well again after the database was switched, frozen or forgotten: for `bounds`, on an idle machine."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import asyncpg

from services.store.connect import AWAY, connect_pool
from services.store.sessions.pool import IDLE_SECONDS, Pool
from tests.support.promoted import a_primary, make_tables
from tests.support.proxy import a_proxy
from tests.support.waiting import until

WRITES = "UPDATE halted SET tried_at = tried_at"


async def promoted() -> float:
    """From the promotion of a standby until a pool that was busy at the old primary writes there."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        primary = await asyncio.to_thread(servers.enter_context, a_primary(Path(folder)))
        await make_tables(primary.url)
        standby = await asyncio.to_thread(primary.standby)
        both = primary.url.replace("/creditwell", f",{standby.url.rpartition('@')[2].partition('/')[0]}/creditwell")
        async with await connect_pool(both, process="bounds", size=2) as pool:
            await asyncio.to_thread(primary.stop, "immediate")
            promoting: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(standby.url)
            await promoting.execute("SELECT pg_promote(wait => false)")
            await promoting.close()
            return await _until_it_writes(pool)


async def frozen(database: str) -> float:
    """From the moment that the first of two hosts takes connections and says nothing, until a pool writes at the second."""
    async with a_proxy(database) as proxy:
        host = database.rpartition("@")[2].partition("/")[0]
        both = database.replace(host, f"127.0.0.1:{proxy.listens_on},{host}")
        async with await connect_pool(both, process="bounds", size=2) as pool:
            proxy.stall()
            return await _until_it_writes(pool)


async def writable_again(database: str) -> float:
    """From the moment that writes are taken again, until a pool of sessions that only read writes."""
    name = database.rpartition("/")[2]
    superuser: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(database)
    await superuser.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with await connect_pool(database, process="bounds", size=2) as pool:
        await superuser.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        seconds = await _until_it_writes(pool)
    await superuser.close()
    return seconds


async def forgotten(database: str) -> float:
    """What a read takes whose session was idle and is forgotten by the network."""
    async with (
        a_proxy(database) as proxy,
        await connect_pool(proxy.url(database), process="bounds", size=4) as pool,
    ):
        await asyncio.sleep(IDLE_SECONDS + 1)
        proxy.fall_silent()
        return await _timed(lambda: pool.fetchval("SELECT 1"))


async def _until_it_writes(pool: Pool) -> float:
    async def writes() -> bool:
        try:
            await pool.execute(WRITES)
        except AWAY:
            return False
        return True

    return await _timed(lambda: until(writes, what="a pool writes"))


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = monotonic()
    await work()
    return monotonic() - began
