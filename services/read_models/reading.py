"""What the projector folds next. Of a backlog the next batch is read while one is folded and saved.

Facts never change, and positions have no gaps. So what was read ahead is right as long as it goes on where its shard
stands by then; else it is dropped and read when its time comes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from schemas.facts import Stored
from services.store.connect import Connection, Pool
from services.store.read import read_new

BATCH_MAX = 20_000  # facts; the more, the fewer cells and balances are written per fact. Two such are in memory
AHEAD_MIN = 2_000  # after fewer, there is nothing to read yet

Facts = tuple[dict[int, list[Stored]], int]  # by shard, and how many there are in all


@dataclass(slots=True)
class Reading:
    """The projector's way to the facts. It ends with the block that it is opened for."""

    pool: Pool
    ahead: asyncio.Task[Facts] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ahead is not None:
            self.ahead.cancel()
            await asyncio.wait({self.ahead})
            if not self.ahead.cancelled():
                self.ahead.exception()  # nobody asks for it any more

    async def read(self, connection: Connection, positions: Mapping[int, int]) -> Facts:
        """The next facts after these positions, some of each shard that has any, and how many there are in all.

        Raises:
            LogChanged: a position is missing.
        """
        facts, missing = await self._take_ahead(positions)
        if not facts:
            facts, missing = await read_new(connection, positions, BATCH_MAX)
        if sum(map(len, facts.values())) >= AHEAD_MIN:
            reached = {shard: read[-1].position for shard, read in facts.items()}
            self.ahead = asyncio.create_task(self._read_ahead({**positions, **reached}))
        return facts, missing

    async def _take_ahead(self, positions: Mapping[int, int]) -> Facts:
        """What was read ahead, as far as it goes on at these positions."""
        ahead, self.ahead = self.ahead, None
        if ahead is None:
            return {}, 0
        facts, missing = await ahead
        return {shard: read for shard, read in facts.items() if positions.get(shard) == read[0].position - 1}, missing

    async def _read_ahead(self, positions: Mapping[int, int]) -> Facts:
        async with self.pool.acquire() as connection:
            return await read_new(connection, positions, BATCH_MAX)
