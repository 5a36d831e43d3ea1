"""What every request shares: built once, in `serve`, and passed on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal

import asyncpg
from prometheus_client import Counter

from schemas.catalog import Catalog
from services.api.lanes import Crowd, Lanes
from services.api.rate_cards import CurrentRateCards
from services.api.rate_limits import RateLimiter
from services.api.tokens import Tokens
from services.api.usage_producer import UsageProducer
from services.api.watch import HeadWatch
from services.money.stripe_client import Charges
from services.runtime.clock import Clock
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.store.connect import Connection, Pool
from services.store.teams import SEE_TEAM

SEE_FOR_ONE_STATEMENT = """
    SELECT rows.* FROM set_config('creditwell.team', ${last}, true) AS seen (team)
    CROSS JOIN LATERAL (SELECT * FROM ({statement}) AS statement WHERE seen.team <> '' OFFSET 0) AS rows
"""


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Everything outside a request that a route may touch."""

    settings: Settings
    pool: Pool
    tokens: Tokens
    rate_limiter: RateLimiter
    catalog: Catalog
    cards: CurrentRateCards
    charges: Charges | None
    reports: UsageProducer
    watch: HeadWatch
    crowd: Crowd
    lanes: Lanes
    simulations: Lanes  # one of each, for what is dear: a page of a download, a balance of the past
    downloads: Lanes
    past: Lanes
    filtered: Lanes  # one for each shard: what is rare in a large team's activity is looked for in all of it
    webhooks: Lanes  # two, for all that Stripe sends
    health: Health
    clock: Clock
    thin_events: Counter  # of Stripe's, which nobody can act upon
    dropped_attributes: Counter  # of captures, which nobody listed


@asynccontextmanager
async def as_team(
    pool: Pool, team_id: str, isolation: Literal["read_committed", "repeatable_read"] = "read_committed"
) -> AsyncIterator[Connection]:
    """A transaction that sees and writes the rows of one team.

    Row-level security knows no other way in for the API's role.
    """
    async with pool.acquire() as connection, connection.transaction(isolation=isolation):
        await connection.execute(SEE_TEAM, team_id)
        yield connection


class QuickRead:
    """Reads that each see one team for themselves, without a transaction around them.

    BEGIN, the setting and COMMIT are three round trips more, and on a busy machine each waits twice for a core. The
    setting ends with the statement. It comes first because the statement is lateral to it; came it later, no row would
    be seen.
    """

    __slots__ = ("_pool", "_team_id")

    def __init__(self, pool: Pool, team_id: str) -> None:
        self._pool, self._team_id = pool, team_id

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]:
        """All rows, in their order."""
        return await self._pool.fetch(see_for_one_statement(query, len(args) + 1), *args, self._team_id)

    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None:
        """The first row, if there is one."""
        return await self._pool.fetchrow(see_for_one_statement(query, len(args) + 1), *args, self._team_id)


class PatientRead(QuickRead):
    """The same for who reads much: before each statement those go first who want little."""

    __slots__ = ("_crowd",)

    def __init__(self, pool: Pool, team_id: str, crowd: Crowd) -> None:
        super().__init__(pool, team_id)
        self._crowd = crowd

    async def fetch(self, query: str, /, *args: object) -> list[asyncpg.Record]:
        """All rows, in their order."""
        await self._crowd.passed()
        return await super().fetch(query, *args)

    async def fetchrow(self, query: str, /, *args: object) -> asyncpg.Record | None:
        """The first row, if there is one."""
        await self._crowd.passed()
        return await super().fetchrow(query, *args)


@cache
def see_for_one_statement(statement: str, last: int) -> str:
    """The statement as it sees the team that its last argument names."""
    return SEE_FOR_ONE_STATEMENT.format(statement=statement, last=last)
