"""The rows of the live projections, and the same rows from a fold of the whole log from its beginning."""

from collections.abc import Iterable

from services.store.connect import Connection
from services.store.rebuild import TABLES, begin, compare_shard, discard
from services.store.shards import SHARDS

Rows = dict[str, list[str]]


async def every_row(connection: Connection) -> Rows:
    """What readers see, as text, sorted."""
    return await _rows(connection, [table for tables in TABLES.values() for table in tables], suffix="")


async def folded_anew(connection: Connection) -> Rows:
    """What a replay gives up to where the live projections stand; its tables are gone afterwards."""
    version = await begin(connection)
    for shard in range(SHARDS):
        await compare_shard(connection, version, shard, "test")
    rows = await _rows(connection, [table for tables in TABLES.values() for table in tables], suffix=f"_v{version}")
    await discard(connection, version)
    return rows


async def _rows(connection: Connection, tables: Iterable[str], *, suffix: str) -> Rows:
    return {
        table: sorted(row[0] for row in await connection.fetch(f"SELECT t::text FROM {table}{suffix} t"))
        for table in tables
    }
