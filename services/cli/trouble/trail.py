"""`creditwell trail ID`: what came of one request, or of what is in one trace."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer
from asyncpg import Record

from schemas.instants import instant
from services.cli.showing import FOUND_WRONG, AsJson, fail, print_json, print_table, to_the_second, with_database
from services.store.connect import Connection

COLUMNS = ("recorded_at", "place", "type", "team_id", "notice")
FOUND_MAX = 1_000

# The facts, and what the host product was told of them.
TRAIL = """
    SELECT f.recorded_at, f.shard, f.position, f.type, f.team_id, n.notice_id, n.state AS notice_state, t.request_id,
           substr(t.traceparent, 4, 32) AS trace_id
    FROM traces t JOIN facts f USING (shard, position) LEFT JOIN notices n USING (shard, position)
    WHERE t.request_id = $1 OR substr(t.traceparent, 4, 32) = $2
    ORDER BY f.recorded_at, f.shard, f.position LIMIT $3
"""

Id = Annotated[
    str, typer.Argument(metavar="ID", help="A request's `X-Request-Id`, a trace's id, or a whole `traceparent`.")
]


def trail(id_: Id, *, as_json: AsJson = False) -> None:
    """What came of one request or in one trace: usage, what ran low, charges, credits, and what the host was told.

    It is known for 30 days, of requests whose caller named them and of what came with a trace. Exit code 1 where
    nothing is known of it.

    Example: creditwell trail checkout-7f3a
    """
    whole = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-.*", id_)
    rows = with_database(lambda connection: _read(connection, id_, whole[1] if whole else id_))
    shown, is_more = rows[:FOUND_MAX], len(rows) > FOUND_MAX
    if as_json:
        print_json({"items": [_item(row) for row in shown], "more": is_more})
    elif shown:
        print_table(f"What came of {id_}", COLUMNS, [_shown(row) for row in shown])
        print(f"and more: these are the first {FOUND_MAX:,}" if is_more else "", end="\n" if is_more else "")
    if not rows:
        fail(FOUND_WRONG, f"Nothing is known of {id_}: look for it in the logs, as request_id and as trace_id.")


async def _read(connection: Connection, request_id: str, trace_id: str) -> Sequence[Record]:
    return await connection.fetch(TRAIL, request_id, trace_id, FOUND_MAX + 1)


def _item(row: Record) -> dict[str, object]:
    return {**row, "recorded_at": instant(row["recorded_at"])}


def _shown(row: Record) -> list[object]:
    place = f"{row['shard']}:{row['position']}"
    return [to_the_second(instant(row["recorded_at"])), place, row["type"], row["team_id"], row["notice_state"]]
