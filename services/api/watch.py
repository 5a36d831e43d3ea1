"""Watching the heads of the log: who waits for something new is woken when their shard has moved.

One statement for all who wait, and none while nobody does. Readers of the log are woken by NOTIFY; here that would be a
statement for each append of all teams, for the few that somebody watches.
"""

import asyncio

from services.runtime.clock import pause, until_stopped
from services.runtime.retry import Retry
from services.store.connect import AWAY, Pool
from services.store.read import head_of

LOOK_EVERY_SECONDS = 0.025
HEADS = "SELECT shard, next - 1 AS position FROM shard_heads WHERE shard = ANY($1)"


class HeadWatch:
    """The heads of the shards that somebody waits for."""

    def __init__(self, pool: Pool, stop: asyncio.Event) -> None:
        self._pool, self.stop = pool, stop
        self._heads: dict[int, int] = {}
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._somebody_waits = asyncio.Event()

    async def head(self, shard: int) -> int:
        """The last position of a shard."""
        return await head_of(self._pool, shard)

    async def moved(self, shard: int, beyond: int, seconds: float) -> bool:
        """Wait until the head of a shard is beyond a position.

        False if it was not within the time, or the process stops.
        """
        woken = asyncio.Event()
        self._waiting.setdefault(shard, set()).add(woken)
        self._somebody_waits.set()
        try:
            async with asyncio.timeout(seconds):
                while self._heads.get(shard, 0) <= beyond and not self.stop.is_set():
                    woken.clear()
                    await woken.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting[shard].discard(woken)
        return not self.stop.is_set()

    async def run(self) -> None:
        """Look at the heads until the process stops; a database that is away is asked again."""
        retry = Retry("the heads of the log", AWAY, stop=self.stop)
        try:
            while not self.stop.is_set():
                async with retry:
                    await self._round()
        finally:
            self._wake(set(self._waiting))

    async def _round(self) -> None:
        shards = [shard for shard, waiting in self._waiting.items() if waiting]
        if not shards:
            self._somebody_waits.clear()
            await until_stopped(self._somebody_waits.wait(), self.stop)
            return
        rows = await self._pool.fetch(HEADS, shards)
        moved = {shard for shard, position in rows if position > self._heads.get(shard, 0)}
        self._heads.update((shard, position) for shard, position in rows)
        self._wake(moved)
        await pause(self.stop, LOOK_EVERY_SECONDS)

    def _wake(self, shards: set[int]) -> None:
        for shard in shards:
            for woken in self._waiting.get(shard, ()):
                woken.set()
