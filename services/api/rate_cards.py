"""The rate cards as the API knows them: looked for again every ten seconds, as recorders do."""

import asyncio
from collections.abc import Iterable
from time import monotonic

from schemas.facts import RATE_CARD_TEAM
from schemas.pricing import RateCards
from services.credits.rate_cards import load_rate_cards, newest_version
from services.store.connect import Connection, Pool
from services.store.teams import SEE_TEAM

LOOK_EVERY_SECONDS = 10


class CurrentRateCards:
    """Every published card; the ones in hand are given while somebody looks for newer ones."""

    def __init__(self, pool: Pool, listed: Iterable[str] = ()) -> None:
        self._pool = pool
        self._listed = tuple(listed)
        self._cards: RateCards | None = None
        self._looked_at = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def current(self) -> RateCards:
        """The cards.

        Raises:
            Unavailable: none is published yet.
        """
        if self._cards is not None and monotonic() - self._looked_at < LOOK_EVERY_SECONDS:
            return self._cards
        async with self._one_at_a_time:
            if self._cards is None or monotonic() - self._looked_at >= LOOK_EVERY_SECONDS:
                self._cards = await self._look()
                self._looked_at = monotonic()
        return self._cards

    def look_again(self) -> None:
        """A card was published here: the next request shall know it."""
        self._looked_at = 0.0

    async def _look(self) -> RateCards:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SEE_TEAM, RATE_CARD_TEAM)
            return await self._newest(connection)

    async def _newest(self, connection: Connection) -> RateCards:
        if self._cards is not None and await newest_version(connection) == self._cards.newest_version:
            return self._cards
        return await load_rate_cards(connection, self._listed)
