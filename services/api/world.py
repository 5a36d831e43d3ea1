"""What every request shares: built once, in `serve`, and passed on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from schemas.catalog import Catalog
from services.api.cards import Cards
from services.api.reports import Reports
from services.api.watch import Watch
from services.clock import Clock
from services.health import Health
from services.settings import Settings
from services.store.connect import Connection, Pool
from services.tokens import Tokens

SEE_ONE_TEAM = "SELECT set_config('creditwell.team', $1, true)"


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside a request that a route may touch."""

    settings: Settings
    pool: Pool
    tokens: Tokens
    catalog: Catalog
    cards: Cards
    reports: Reports
    watch: Watch
    health: Health
    clock: Clock


@asynccontextmanager
async def as_team(pool: Pool, team_id: str) -> AsyncIterator[Connection]:
    """A transaction that sees and writes the rows of one team: row-level security knows no other way in for the API's role."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(SEE_ONE_TEAM, team_id)
        yield connection
