"""Rows that the live and the rebuilt table of a projection do not share."""

from dataclasses import dataclass

from services.store.connect import Connection

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


async def compare_tables(connection: Connection, live: str, built: str, shard: int) -> list[RowDifference]:
    """The first rows of a shard that stand in one of two tables alone; nothing where they say the same."""
    columns = await connection.fetchval(COMMON_COLUMNS, live, built)
    digest = "SELECT count(*), sum(hashtextextended(row({0})::text, 0)::numeric) FROM {1} WHERE shard = $1"
    if await connection.fetchrow(digest.format(columns, live), shard) == await connection.fetchrow(
        digest.format(columns, built), shard
    ):
        return []
    rows = "SELECT row({0})::text FROM (SELECT {0} FROM {1} WHERE shard = $1 EXCEPT SELECT {0} FROM {2} WHERE shard = $1 LIMIT {3}) d"
    return [
        RowDifference(live, where, row[0])
        for where, here, there in (("live", live, built), ("rebuilt", built, live))
        for row in await connection.fetch(rows.format(columns, here, there, DIFFERENCES_SHOWN), shard)
    ]
