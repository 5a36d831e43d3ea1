"""Makes the views of the schema `analytics` over the live versions of the projections.

A view that stands on a table keeps it from being replaced. So a switch drops them before it locks anything that others
wait for, and makes them anew at its end, in its transaction: whoever asks meanwhile waits and gets the new ones. They
belong to the projector, whose tables they read, and show analysts nothing but their columns.
"""

from collections.abc import Mapping

from projections.analytics import View, view_sql, views
from schemas.facts import RATE_CARD_TEAM
from services.store.connect import Connection
from services.store.shards import shard_of

STANDING = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'analytics'::regnamespace AND relkind = 'v'"
# What stands on another of them goes with it: there is nothing of anybody else's in this schema.
DROP = "DROP VIEW IF EXISTS {} CASCADE"
SHARE = "GRANT SELECT ON analytics.{} TO creditwell_analyst, creditwell_reader"


async def drop_analytics(connection: Connection) -> None:
    """Drop every view of analysts, in the caller's transaction; waits for whoever reads one."""
    for (view,) in await connection.fetch(STANDING):
        await connection.execute(DROP.format(view))


async def make_analytics(connection: Connection, live: Mapping[str, int]) -> None:
    """Make every view anew over these live versions, in the caller's transaction, as the projector."""
    await drop_analytics(connection)
    for view in views():
        await connection.execute(view_sql(view, live, shard_of(RATE_CARD_TEAM)))
        await connection.execute(";\n".join((SHARE.format(view.name), *_comments(view))))


def _comments(view: View) -> list[str]:
    return [
        f"COMMENT ON VIEW analytics.{view.name} IS {_quoted(view.meaning)}",
        *(f'COMMENT ON COLUMN analytics.{view.name}."{name}" IS {_quoted(meaning)}' for name, meaning in view.columns),
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
