"""Migrations of the store: numbered SQL files, each applied once, in order, in a transaction of its own.

Projections have none: their tables carry a version and are built by a replay. A file that was applied and then edited is refused.
"""

from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.schema_check import check_unchanged, digest, migrations
from services.store.shards import SHARDS

JOURNAL = """
    CREATE TABLE IF NOT EXISTS migrations (
        name text PRIMARY KEY,
        sha256 text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('creditwell:migrate'))"


async def migrate(connection: Connection) -> list[str]:
    """Apply what is missing; the names of the files applied now.

    Raises:
        Refused: a file that was applied has changed since, or the store was made with another number of shards.
    """
    applied = [name for name, sql in sorted(migrations().items()) if await _apply(connection, name, sql)]
    await check_shards(connection)
    return applied


async def _apply(connection: Connection, name: str, sql: str) -> bool:
    async with connection.transaction():
        await connection.execute(ONE_AT_A_TIME)
        await connection.execute(JOURNAL)
        known = await connection.fetchval("SELECT sha256 FROM migrations WHERE name = $1", name)
        if known is not None:
            check_unchanged(name, sql, {name: known})
            return False
        await connection.execute(sql)
        await connection.execute("INSERT INTO migrations (name, sha256) VALUES ($1, $2)", name, digest(sql))
    return True


async def check_shards(connection: Connection) -> None:
    """Refuse a store that was made with another number of shards."""
    made_with = await connection.fetchval("SELECT value FROM store_constants WHERE name = 'shards'")
    if made_with != str(SHARDS):
        raise Refused("shards_changed", f"the store was made with {made_with} shards, this program has {SHARDS}")
