"""Who goes first: one command about a shard at a time, and what is dear after all that is quick.

A command locks the head of its team's shard until COMMIT. Whoever waits for that lock in the database keeps one of the
process's few sessions meanwhile, so that a rush of commands of one team would let all who only want to read a balance
wait, too. Between several processes, and with the recorder, the lock decides as ever.

A download, or a balance of the past, reads page after page, and each page keeps the event loop for some milliseconds.
So each page waits until nobody else is being answered: all share one core, and who asks for little must not wait behind
who asks for much.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from math import inf

from services.runtime.errors import Unavailable
from services.store.shards import SHARDS

PATIENCE_SECONDS = 15  # as long as a lock in the database is waited for
COURTESY_SECONDS = 0.1  # a page waits no longer: on a process that is always busy, what is dear gets on slowly
PACE_SECONDS = 0.01  # from page to page while others ask, too: some 3 ms of them are the page's
BUSY_SECONDS = 0.1  # so long after an answer others are thought to ask


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


class Crowd:
    """The requests that are being answered, but for those that want much and have stepped aside."""

    def __init__(self, *, courtesy_seconds: float = COURTESY_SECONDS) -> None:
        self._courtesy_seconds = courtesy_seconds
        self._under_way = set[object]()
        self._gone = asyncio.Event()
        self._gone.set()
        self._busy_until = self._rests_until = -inf

    @contextmanager
    def joined(self, request: object) -> Iterator[None]:
        """The request is being answered."""
        self._under_way.add(request)
        self._gone.clear()
        try:
            yield
        finally:
            if request in self._under_way:
                self._busy_until = _now() + BUSY_SECONDS
            self.step_aside(request)

    def step_aside(self, request: object) -> None:
        """The request wants much, and keeps nobody waiting from now on."""
        self._under_way.discard(request)
        if not self._under_way:
            self._gone.set()

    async def passed(self) -> None:
        """Nobody else is being answered, and the last page was long enough ago; or it was waited for long enough."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._courtesy_seconds):
                await self._gone.wait()
                while (now := _now()) < min(self._rests_until, self._busy_until):
                    await asyncio.sleep(self._rests_until - now)
                    await self._gone.wait()
        self._rests_until = _now() + PACE_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()
