"""One command about a shard at a time: whoever comes meanwhile waits here, and not in the database.

A command locks the head of its team's shard until COMMIT. Whoever waits for that lock in the database keeps one of the
process's few sessions meanwhile, so that a rush of commands of one team would let all who only want to read a balance
wait, too. Between several processes, and with the recorder, the lock decides as ever.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.runtime.errors import Unavailable
from services.store.shards import SHARDS

PATIENCE_SECONDS = 15  # as long as a lock in the database is waited for


class Lanes:
    """Who comes first is served first, in each lane; for commands, every shard has one."""

    def __init__(self, count: int = SHARDS, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._locks = [asyncio.Lock() for _ in range(count)]

    @asynccontextmanager
    async def of(self, lane: int) -> AsyncIterator[None]:
        """Have the lane to oneself.

        Raises:
            Unavailable: busy, too many are waiting.
        """
        lock = self._locks[lane]
        try:
            async with asyncio.timeout(self._patience_seconds):
                await lock.acquire()
        except TimeoutError as waited:
            raise Unavailable("too many wait for the same; send it again in a moment", code="busy") from waited
        try:
            yield
        finally:
            lock.release()
