"""A standby that was behind and is promoted: a primary and its asynchronous standby, really, from the wheel of the local stack."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

from deploy.local.children import Guard
from deploy.local.servers.postgres import NativePostgres
from services.read_models.versions import ensure_projections
from services.store.lives import Life, StoreUnchecked, admit, read_standing
from services.store.migrate import migrate
from tests.support.waiting import until

Server = TypeVar("Server", bound=NativePostgres)


@contextmanager
def a_server(kind: type[Server], folder: Path) -> Iterator[Server]:
    """A server of its own, durable; whatever is made of it ends with it."""
    (folder / "logs").mkdir(parents=True)
    guard = Guard(folder / "lock")
    try:
        server = kind(guard, folder, say=print)
        server.create()
        yield server
    finally:
        guard.close()


a_primary = partial(a_server, NativePostgres)


async def make_tables(url: str) -> None:
    """As `creditwell migrate` does."""
    connection = await asyncpg.connect(url)
    try:
        await migrate(connection)
        await ensure_projections(connection)
    finally:
        await connection.close()


async def behind(primary: NativePostgres) -> NativePostgres:
    """A standby that has followed up to this moment, and from now on gets nothing more: its network is gone."""
    standby = await asyncio.to_thread(primary.standby)
    leader, follower = await asyncpg.connect(primary.url), await asyncpg.connect(standby.url)
    try:
        reached = await leader.fetchval("SELECT pg_current_wal_lsn()::text")

        async def has_followed() -> bool:
            return bool(await follower.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", reached))

        async def is_alone() -> bool:
            return bool(await follower.fetchval("SELECT count(*) = 0 FROM pg_stat_wal_receiver"))

        await until(has_followed)
        await follower.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await follower.execute("SELECT pg_reload_conf()")
        await until(is_alone)
    finally:
        await leader.close()
        await follower.close()
    return standby


async def synchronous(primary: NativePostgres) -> NativePostgres:
    """A standby for which every commit of the primary waits from now on."""
    standby = await asyncio.to_thread(primary.standby)
    leader = await asyncpg.connect(primary.url)
    try:
        await leader.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await leader.execute("SELECT pg_reload_conf()")
        waits = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'"
        await until(lambda: leader.fetchval(waits), what="commits wait for the standby")
    finally:
        await leader.close()
    return standby


async def promote(primary: NativePostgres, standby: NativePostgres) -> None:
    """The primary is gone from one moment to the next, and somebody forces the standby, which is behind, to be it."""
    await asyncio.to_thread(primary.stop, "immediate")
    connection = await asyncpg.connect(standby.url)
    try:
        assert await connection.fetchval("SELECT pg_promote()")
    finally:
        await connection.close()


async def let_go_on(url: str) -> None:
    """Nothing was published, so nobody but a person can say that the standby's log may go on; before, it may not."""
    connection = await asyncpg.connect(url)
    try:
        assert (await read_standing(connection)).life is Life.PROMOTED
        with pytest.raises(StoreUnchecked):
            await connection.execute("SELECT check_life()")
        await admit(connection, "resumed", "test")
    finally:
        await connection.close()
