"""Heads of shards moved by hand, as no role of ours may: for tests of what then has to be noticed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from services.store.connect import Connection
from services.store.shards import shard_of


@asynccontextmanager
async def heads_unguarded(connection: Connection) -> AsyncIterator[None]:
    """As a superuser who knows the way around the trigger; in one transaction."""
    async with connection.transaction():
        await connection.execute("ALTER TABLE shard_heads DISABLE TRIGGER shard_heads_full")
        yield
        await connection.execute("ALTER TABLE shard_heads ENABLE ALWAYS TRIGGER shard_heads_full")


@asynccontextmanager
async def it_is(connection: Connection, moment: datetime, team_id: str) -> AsyncIterator[None]:
    """While the block runs it is this moment for whatever is decided about a team under the lock of its shard.

    A shard goes by the time that it has reached, as where the database's clock has stepped back. So nobody waits for an
    end, and nobody has to be quick enough to look before it.
    """
    await _reaches(connection, moment, team_id)
    yield
    await _reaches(connection, None, team_id)


async def _reaches(connection: Connection, moment: datetime | None, team_id: str) -> None:
    async with heads_unguarded(connection):
        await connection.execute(
            "UPDATE shard_heads SET recorded_at = coalesce($2, clock_timestamp()) WHERE shard = $1",
            shard_of(team_id), moment,
        )  # fmt: skip
