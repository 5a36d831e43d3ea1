"""`creditwell refused …`: usage that was not accepted, with the reason, and its bytes as they came."""

import json
import re
from base64 import b64decode, b64encode
from typing import Annotated

import asyncpg
import typer

from services.cli.showing import AsJson, print_json, print_table, with_database
from services.settings import exit_used_wrongly
from services.store.connect import Connection

PLACE = re.compile(r"(.+):([0-9]+):([0-9]+)", re.ASCII)
COLUMNS = ("refused_at", "reason", "detail", "team_id", "source", "event_id", "size", "place")

LIST = """
    SELECT to_char(refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS refused_at, reason, detail, team_id, source,
           event_id, size, concat_ws(':', topic, partition, "offset") AS place
    FROM refused WHERE ($1::text IS NULL OR team_id = $1) AND ($2::text IS NULL OR reason = $2)
    ORDER BY refused.refused_at DESC, topic, partition, "offset" DESC LIMIT $3
"""
REASONS = (
    "SELECT reason, count(*) FROM refused WHERE $1::text IS NULL OR team_id = $1 GROUP BY reason ORDER BY count DESC"
)
SHOW = """
    SELECT topic, partition, "offset", refused_at, reason, detail, team_id, source, event_id, key, value, headers, sha256, size
    FROM refused WHERE topic = $1 AND partition = $2 AND "offset" = $3
"""

app = typer.Typer(help="Usage that was not accepted.", no_args_is_help=True)


@app.command("list")
def list_refused(
    *,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only with this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest refused records, and how many there are of each reason."""

    async def work(connection: Connection) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        return await connection.fetch(LIST, team, reason, limit), await connection.fetch(REASONS, team)

    rows, reasons = with_database(work)
    if as_json:
        print_json({"items": [dict(row) for row in rows], "reasons": {row["reason"]: row["count"] for row in reasons}})
        return
    print_table(
        "Refused, newest first", COLUMNS, [[row[column] for column in COLUMNS] for row in rows], numbers=["size"]
    )
    print_table("Of each reason", ("reason", "records"), map(tuple, reasons), numbers=["records"])


@app.command()
def show(
    place: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="As `refused list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """One refused record, whole."""
    parts = PLACE.fullmatch(place)
    if parts is None:
        exit_used_wrongly(f"{place!r} is no place: write topic:partition:offset, such as usage:3:1042.")
    row = with_database(lambda connection: connection.fetchrow(SHOW, parts[1], int(parts[2]), int(parts[3])))
    if row is None:
        exit_used_wrongly(f"nothing was refused at {place}.")
    said = {
        "place": place, "refused_at": row["refused_at"].isoformat(), "reason": row["reason"], "detail": row["detail"],
        "team_id": row["team_id"], "source": row["source"], "event_id": row["event_id"], "size": row["size"],
        "sha256": row["sha256"].hex(), "key": _text(row["key"]),
        "headers": [[name, _text(b64decode(value))] for name, value in json.loads(row["headers"])],
        "value": _text(row["value"]),
    }  # fmt: skip
    if as_json:
        print_json(said)
        return
    print_table(f"Refused at {place}", ("", ""), [(key, value) for key, value in said.items() if key != "value"])
    print(said["value"])


def _text(data: bytes | None) -> str | None:
    """Bytes as text where they are text that a terminal may show, in base64 where not."""
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"base64:{b64encode(data).decode()}"
    return text if text.isprintable() or text.replace("\n", "").isprintable() else f"base64:{b64encode(data).decode()}"
