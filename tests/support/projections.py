"""The rows of the live projections, and the same rows from a fold of the whole log from its beginning."""

from collections.abc import Mapping

from projections.balance.snapshots import CADENCE, Cadence
from projections.versions import TABLES, VIEWS, at_version
from services.read_models.comparing import AS_SHOWN, compared
from services.read_models.rebuild import begin, compare_shard, discard
from services.read_models.versions import live_versions
from services.store.connect import Connection
from services.store.shards import SHARDS

Rows = dict[str, list[str]]


async def every_row(connection: Connection) -> Rows:
    """What the live tables hold, as text, sorted; of the activity its entries, whichever share a row."""
    return await _rows(connection, await live_versions(connection))


async def folded_anew(connection: Connection, cadence: Cadence = CADENCE) -> Rows:
    """What a replay gives up to where the live projections stand; its tables are gone afterwards."""
    version = await begin(connection)
    for shard in range(SHARDS):
        await compare_shard(connection, version, shard, "test", cadence)
    rows = await _rows(connection, dict.fromkeys(TABLES, version))
    await discard(connection, version)
    return rows


async def _rows(connection: Connection, versions: Mapping[str, int]) -> Rows:
    return {
        table: sorted(
            row[0] for row in await connection.fetch(f"SELECT t::text FROM {_source(table, versions[name])} t")
        )
        for name, tables in TABLES.items()
        for table in compared(name, tables)
    }


def _source(table: str, version: int) -> str:
    return f"({at_version(VIEWS[table], version)})" if table in AS_SHOWN else f"{table}_v{version}"
