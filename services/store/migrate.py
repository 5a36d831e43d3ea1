"""Brings the store up to date: numbered SQL files, each applied once, in order, and functions, made anew at each run.

A run is one transaction. So no process meets the tables of one build and the functions of another, and a run that dies
leaves nothing. A migration that was applied and then edited is refused. A function is edited where it stands, in the
folder `functions`; only one that takes or returns something else needs a migration, which drops the old one.

Migrations only add, so that the build before goes on beside this one. Where a newer build was here, an older one leaves
the functions as they are.

Projections have no migrations: their tables carry a version and are built by a replay.
"""

import asyncpg

from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.schema_check import APPLIED, check_same_history, digest, functions, migrations
from services.store.shards import SHARDS

JOURNAL = """
    CREATE TABLE IF NOT EXISTS migrations (
        name text COLLATE "C" PRIMARY KEY,
        sha256 text COLLATE "C" NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
# No advisory lock, which whoever may connect can take: this one is for those who may write there.
ONE_AT_A_TIME = "LOCK TABLE migrations IN SHARE ROW EXCLUSIVE MODE"
NOTE = "INSERT INTO migrations (name, sha256) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"


async def migrate(connection: Connection) -> list[str]:
    """Apply what is missing and make the functions; the names of what this database had not seen before.

    Raises:
        Refused: another build made the database, a migration that was applied has changed since, or the store was made
            with another number of shards.
    """
    try:
        return await _migrate(connection)
    except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):  # another run has made the journal meanwhile
        return await _migrate(connection)


async def _migrate(connection: Connection) -> list[str]:
    async with connection.transaction():
        await connection.execute(JOURNAL)
        await connection.execute(ONE_AT_A_TIME)
        applied = {row["name"]: row["sha256"] for row in await connection.fetch(APPLIED)}
        check_same_history(applied)
        missing = {name: sql for name, sql in migrations().items() if name not in applied}
        newer = any(not name.startswith("functions/") for name in applied.keys() - migrations().keys())
        # Last, so that a function may use what a migration makes.
        statements = missing | ({} if newer else functions())
        for name, sql in statements.items():
            await connection.execute(sql)
            await connection.execute(NOTE, name, digest(sql))
        await check_shards(connection)
    return [name for name in statements if name not in applied]


async def check_shards(connection: Connection) -> None:
    """Refuse a store that was made with another number of shards.

    Raises:
        Refused: `shards_changed`.
    """
    made_with = await connection.fetchval("SELECT value FROM store_constants WHERE name = 'shards'")
    if made_with != str(SHARDS):
        raise Refused("shards_changed", f"the store was made with {made_with} shards, this program has {SHARDS}")
