"""Two versions of a projection: which rows they do not share.

Tables are compared row by row. The activity is compared as its view shows it: which entries share a row is nobody's
business. Usage by attributes is compared where both versions count by the attribute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from projections.versions import VIEWS, at_version
from services.store.connect import Connection

AS_SHOWN = ("activity",)
OF_NO_SHARD = ("usage_counted",)
DIFFERENCES_SHOWN = 5

COMMON_COLUMNS = """
    SELECT string_agg(quote_ident(a.column_name), ', ' ORDER BY a.ordinal_position)
    FROM information_schema.columns a JOIN information_schema.columns b USING (table_schema, column_name)
    WHERE a.table_schema = current_schema() AND a.table_name = $1 AND b.table_name = $2
"""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that live and rebuilt tables do not share."""

    table: str
    found_in: str
    row: str


def compared(name: str, tables: Sequence[str]) -> Sequence[str]:
    """What of a projection is compared."""
    return (name,) if name in AS_SHOWN else [table for table in tables if table not in OF_NO_SHARD]


async def compare(connection: Connection, table: str, live: int, built: int, shard: int) -> list[RowDifference]:
    """The first rows of a shard that the live version and another one do not share."""
    if table in AS_SHOWN:
        live_rows, built_rows = (f"({at_version(VIEWS[table], version)}) AS {table}" for version in (live, built))
        columns = await connection.fetchval(COMMON_COLUMNS, table, table)
    else:
        live_rows, built_rows = f"{table}_v{live}", f"{table}_v{built}"
        columns = await connection.fetchval(COMMON_COLUMNS, live_rows, built_rows)
    if table == "usage_attributes":
        counted = f"(SELECT name FROM usage_counted_v{live} INTERSECT SELECT name FROM usage_counted_v{built})"
        live_rows, built_rows = (
            f"(SELECT * FROM {rows} WHERE name IN {counted}) AS {table}" for rows in (live_rows, built_rows)
        )
    digest = "SELECT count(*), sum(hashtextextended(row({0})::text, 0)::numeric) FROM {1} WHERE shard = $1"
    if await connection.fetchrow(digest.format(columns, live_rows), shard) == await connection.fetchrow(
        digest.format(columns, built_rows), shard
    ):
        return []
    rows = "SELECT row({0})::text FROM (SELECT {0} FROM {1} WHERE shard = $1 EXCEPT SELECT {0} FROM {2} WHERE shard = $1 LIMIT {3}) d"
    return [
        RowDifference(f"{table}_v{live}", where, row[0])
        for where, here, there in (("live", live_rows, built_rows), ("rebuilt", built_rows, live_rows))
        for row in await connection.fetch(rows.format(columns, here, there, DIFFERENCES_SHOWN), shard)
    ]
