"""Sessions of the database for tests that need several at once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from services.store.connect import Connection


@asynccontextmanager
async def connections(database: str, count: int) -> AsyncIterator[list[Connection]]:
    """So many sessions at once."""
    async with AsyncExitStack() as stack:
        opened: list[Connection] = []
        for _ in range(count):
            connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
            stack.push_async_callback(connection.close)
            opened.append(connection)
        yield opened
