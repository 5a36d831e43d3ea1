"""`creditwell notices …`: what the host product was told, what waits, and what was given up."""

from typing import Annotated, Literal

import asyncpg
import typer

from services.cli.showing import AsJson, print_json, print_table, to_the_second, with_database
from services.runtime.settings_loading import exit_used_wrongly
from services.store.connect import Connection

NoticeState = Literal["waiting", "delivered", "given_up"]
COLUMNS = ("noticed_at", "state", "type", "team_id", "tries", "last_answer", "due_at", "id")

LIST = """
    SELECT to_char(noticed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS noticed_at, state, type, team_id, tries,
           last_answer, notice_id AS id,
           CASE WHEN state = 'waiting' THEN to_char(due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') END AS due_at
    FROM notices WHERE ($1::text IS NULL OR team_id = $1) AND ($2::text IS NULL OR state = $2)
    ORDER BY notices.noticed_at DESC, shard, position DESC LIMIT $3
"""
STATES = "SELECT state, count(*) FROM notices WHERE $1::text IS NULL OR team_id = $1 GROUP BY state ORDER BY count DESC"
RETRY = """
    UPDATE notices SET state = 'waiting', tries = 0, due_at = clock_timestamp(), ended_at = NULL
    WHERE state <> 'delivered' AND (notice_id = ANY($1) OR $2) RETURNING notice_id
"""

app = typer.Typer(help="What the host product was told.", no_args_is_help=True)


@app.command("list")
def list_notices(
    *,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    state: Annotated[NoticeState | None, typer.Option(help="Only with this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest notices, and how many there are of each state; those that ended long ago are gone.

    Example: creditwell notices list --state given_up
    """

    async def work(connection: Connection) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        return await connection.fetch(LIST, team, state, limit), await connection.fetch(STATES, team)

    rows, states = with_database(work)
    if as_json:
        print_json({"items": [dict(row) for row in rows], "states": {row["state"]: row["count"] for row in states}})
        return
    times = ("noticed_at", "due_at")
    shown = [[to_the_second(row[column]) if column in times else row[column] for column in COLUMNS] for row in rows]
    print_table("Notices, newest first", COLUMNS, shown, numbers=["tries"])
    print_table("Of each state", ("state", "notices"), map(tuple, states), numbers=["notices"])


@app.command()
def retry(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As `notices list` shows them.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Everything that waits or was given up.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send notices now, under the same id, and count their tries from 0 again; exit code 1 where one can't be.

    Example: creditwell notices retry --all
    """
    if every == bool(ids):
        exit_used_wrongly("name notices by their ids, or write --all.")
    rows = with_database(lambda connection: connection.fetch(RETRY, ids or [], every))
    notice_ids = {row["notice_id"] for row in rows}
    missing = [name for name in ids or [] if name not in notice_ids]
    if as_json:
        print_json({"retried": sorted(notice_ids), "not_found": missing})
    else:
        print(f"{len(notice_ids):,} notices are due now")
        for name in missing:
            print(f"{name}: no such notice, or it is delivered")
    raise typer.Exit(1 if missing else 0)
