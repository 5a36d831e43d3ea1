"""Connections to the store: bounded in number and in patience.

A process that hangs inside a transaction must not hold the heads for ever, so the server ends such a session by itself.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import asyncpg

from services.runtime.errors import Fenced, Unavailable
from services.runtime.settings import LEASE_SECONDS, WrongSettings, advice
from services.store.schema_check import check_shape

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

# For who asks Stripe between two transactions, and keeps no connection meanwhile.
Transaction = Callable[[], AbstractAsyncContextManager[Connection]]

QUERIES_MAX = 2**62  # of one session: a new one costs a handshake, in the middle of somebody's request


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
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
)

# The same for whoever works for as long as it takes: a shard that somebody else owns is waited for, too.
RETRYABLE: tuple[type[Exception], ...] = (Fenced, Unavailable, *AWAY)


async def connect_pool(
    database: str,
    *,
    process: str,
    size: int = 4,
    lease_seconds: float = LEASE_SECONDS,
    statement_timeout_ms: int = 30_000,
    settings: Mapping[str, str] | None = None,
    projections: bool = True,
) -> Pool:
    """A pool whose sessions are named after the process, speak UTC and give up in time.

    They are opened at the start and kept, and so is every statement once it is prepared: nobody who asks waits for a
    handshake.
    PostgreSQL ends a session that stands still inside a transaction for half a lease: who takes the work over finds no
    locks.

    Raises:
        Refused: another build made the database, or the `projections` that the process reads.
        WrongSettings: asyncpg can't make sense of the URL, which it says with an InterfaceError: it would never be
            back.
    """
    try:
        pool = await _open_pool(database, process, size, statement_timeout_ms, {
            "idle_in_transaction_session_timeout": str(int(lease_seconds * 500)), **(settings or {}),
        })  # fmt: skip
    except asyncpg.ClientConfigurationError as error:
        raise WrongSettings(f"CREDITWELL_DATABASE is wrong: {error}. {advice('database')}") from None
    try:
        await check_shape(pool, projections=projections)
    except BaseException:
        pool.terminate()
        raise
    return pool


async def _open_pool(
    database: str, process: str, size: int, statement_timeout_ms: int, settings: Mapping[str, str]
) -> Pool:
    return await asyncpg.create_pool(
        database,
        min_size=size,
        max_size=size,
        max_inactive_connection_lifetime=0,
        max_queries=QUERIES_MAX,
        max_cached_statement_lifetime=0,
        reset=_nothing_to_reset,
        command_timeout=statement_timeout_ms / 1000 + 5,
        server_settings={
            "application_name": f"creditwell-{process}",
            "timezone": "UTC",
            "jit": "off",  # compiling a statement takes longer than any of ours
            "statement_timeout": str(statement_timeout_ms),
            "lock_timeout": "15000",
            **settings,
        },
    )


async def _nothing_to_reset(_: Connection) -> None:
    """Between two uses of a session: a statement to make sure would be a round trip in every request.

    Settings, locks and cursors of ours end with their transaction, and one that is open asyncpg rolls back.
    """


async def in_memory(rows: bytes) -> AsyncIterator[bytes]:
    """Rows for COPY, sent at once.

    Bytes asyncpg takes for a path. What looks like a file it reads in a thread, bit by bit.
    """
    yield rows
