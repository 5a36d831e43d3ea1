"""`creditwell halted list`: the teams for which some work goes wrong, while it goes on for all others."""

import typer

from services.cli.showing import AsJson, print_json, print_table, to_the_second, with_database

COLUMNS = ("since", "tried_at", "work", "name", "shard", "position", "why")

LIST = """
    SELECT to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS since,
           to_char(tried_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS tried_at,
           work, name, shard, position, why
    FROM halted ORDER BY halted.since, work, name
"""

app = typer.Typer(help="Teams for which some work is halted.", no_args_is_help=True)


@app.callback()
def halted() -> None:
    """Teams for which some work is halted, while it goes on for all others."""


@app.command("list")
def list_halted(*, as_json: AsJson = False) -> None:
    """What is halted, for whom and why, the oldest first; exit code 1 where anything is.

    It is tried again each minute.

    Example: creditwell halted list --json
    """
    rows = with_database(lambda connection: connection.fetch(LIST))
    if as_json:
        print_json({"items": [dict(row) for row in rows]})
    else:
        shown = [[*map(to_the_second, row[:2]), *row[2:]] for row in map(tuple, rows)]
        print_table("Halted, oldest first", COLUMNS, shown, numbers=["shard", "position"], prose=["why"])
    raise typer.Exit(1 if rows else 0)
