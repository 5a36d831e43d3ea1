"""Connections to the store: bounded in number and in patience.

A process that hangs inside a transaction must not hold the heads for ever, so the server ends such a session by itself.
"""

from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    type_checking_only = PoolConnectionProxy[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    Pool = asyncpg.Pool[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool

# What means that the database is away or overloaded, not that we are wrong: repeat the same later.
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


async def connect_pool(database: str, *, process: str, size: int = 4, statement_timeout_ms: int = 30_000) -> Pool:
    """A pool whose sessions are named after the process, speak UTC and give up in time."""
    return await asyncpg.create_pool(
        database,
        min_size=size,  # opened at the start: the first to ask at once must not wait for a handshake each
        max_size=size,
        command_timeout=statement_timeout_ms / 1000 + 5,
        server_settings={
            "application_name": f"creditwell-{process}",
            "timezone": "UTC",
            "statement_timeout": str(statement_timeout_ms),
            "idle_in_transaction_session_timeout": "5000",
            "lock_timeout": "15000",
        },
    )
