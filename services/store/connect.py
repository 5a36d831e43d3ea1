"""Connections to the store: bounded in number and in patience.

A process that hangs inside a transaction must not hold the heads for ever, so the server ends such a session by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import asyncpg

from services.runtime.errors import Fenced, Unavailable
from services.runtime.health import Health
from services.runtime.retry import keep_going
from services.runtime.settings import LEASE_SECONDS
from services.store.lives import StoreUnchecked
from services.store.schema_check import check_shape
from services.store.sessions.hosts import Hosts, Session
from services.store.sessions.pool import ABSENT
from services.store.sessions.pool import Pool as Pool  # noqa: PLC0414 - what `connect_pool` gives

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection

# For who asks Stripe between two transactions, and keeps no connection meanwhile.
Transaction = Callable[[], AbstractAsyncContextManager[Connection]]

LOCK_TIMEOUT_MS = 15_000

# What means that the database is away or overloaded, not that we are wrong: repeat the same later. A value that can't
# be encoded is none of them: asyncpg documents an InterfaceError and raises the DataError of the same name that is
# PostgreSQL's.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when a session is ended in the midst of an answer
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that was a primary, or a primary that is to write no more
    StoreUnchecked,  # a promoted standby, say, until the relay has looked at what was published
)

# The same for whoever works for as long as it takes: a shard that somebody else owns is waited for, too.
RETRYABLE: tuple[type[Exception], ...] = (Fenced, Unavailable, *AWAY)

# A session that broke under a statement: whoever only reads asks again at once, by another one.
SESSION_LOST = (
    asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError,
)  # fmt: skip


async def connect_pool(
    database: str,
    *,
    process: str,
    size: int = 4,
    lease_seconds: float = LEASE_SECONDS,
    statement_timeout_ms: int = 30_000,
    settings: Mapping[str, str] | None = None,
    projections: bool = True,
    health: Health | None = None,
    listens: bool = False,
) -> Pool:
    """A pool whose sessions are named after the process, speak UTC and give up in time.

    They are opened at the start and kept, and so is every statement once it is prepared: nobody who asks waits for a
    handshake.
    PostgreSQL ends a session that stands still inside a transaction for half a lease: who takes the work over finds no
    locks. The roles have the same settings, for what a pooler keeps from passing.
    One that `listens` rings its bell `heard` when facts were appended by anybody.

    Raises:
        Refused: another build made the database, or the `projections` that the process reads.
        WrongSettings: the URL is wrong, or what it leads to is not what we rely on: it would never be back.
    """
    session_settings = {**_services(process, lease_seconds, statement_timeout_ms), **(settings or {})}
    pool = Pool(
        Hosts(database), session_settings, size=size, command_timeout=statement_timeout_ms / 1000 + 5, health=health,
        listens=listens,
    )  # fmt: skip
    try:
        await pool.start()
        await check_shape(pool, projections=projections)
    except BaseException:
        pool.terminate()
        raise
    return pool


async def connect(database: str, *, process: str) -> Session:
    """One session without the time limits of a service, for whoever works for as long as it takes.

    Raises:
        WrongSettings: as `connect_pool`. ConnectionError: the database is away.
    """
    opened = await Hosts(database).open_session(_everybodys(process) | {"statement_timeout": "0"})
    return opened.session


def _services(process: str, lease_seconds: float, statement_timeout_ms: int) -> dict[str, str]:
    """Settings of a service's sessions: they give up in time."""
    return {
        **_everybodys(process),
        "jit": "off",  # compiling a statement takes longer than any of ours
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(int(lease_seconds * 500)),
    }


def _everybodys(process: str) -> dict[str, str]:
    """Settings of every session."""
    return {
        "application_name": f"creditwell-{process}",
        "timezone": "UTC",
        "search_path": "public",
        "default_transaction_isolation": "read committed",
    }


async def connect_when_there(
    connect: Callable[[], Coroutine[Any, Any, Pool]], stop: asyncio.Event, health: Health
) -> Pool | None:
    """The pool that `connect` makes, as soon as the database answers; None where told to stop before.

    Raises:
        Refused, WrongSettings: as `connect_pool`.
    """
    pools: list[Pool] = []

    async def once() -> None:
        pools.append(await connect())
        health.back(ABSENT)

    await keep_going(ABSENT, once, stop, health, away=RETRYABLE)
    return pools[0] if pools else None


async def in_memory(rows: bytes) -> AsyncIterator[bytes]:
    """Rows for COPY, sent at once.

    Bytes asyncpg takes for a path. What looks like a file it reads in a thread, bit by bit.
    """
    yield rows
