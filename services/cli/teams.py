"""Commands about one team: what it has, and what happened to it."""

from datetime import timedelta
from typing import Annotated

import typer

from services.cli.showing import (
    AsJson,
    TeamArgument,
    parse_instant,
    print_json,
    print_table,
    to_the_second,
    with_database,
)
from services.runtime.clock import system_clock
from services.runtime.errors import Refused
from services.runtime.settings_loading import catalog_of, exit_used_wrongly, load_settings
from services.store.connect import Connection

BALANCE_LINES = (
    ("total", "Credits"), ("included", "  included"), ("additional", "  additional"), ("held", "Held"), ("available", "Available"),
    ("low_below", "  low below"), ("plan", "Plan"), ("allowance", "  allowance per cycle"), ("next_refill_at", "  next refill"), ("next_allowance", "  credits then"), ("top_up_enabled", "Top-ups"),
    ("position", "Position"), ("as_of", "As of"),
)  # fmt: skip
ACTIVITY_COLUMNS = ("recorded (UTC)", "what", "member", "credits", "after", "id")


def balance(
    team: TeamArgument,
    *,
    at: Annotated[str | None, typer.Option(help="The balance at this instant.")] = None,
    known_at: Annotated[str | None, typer.Option(help="By what was known at this instant.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a team has: exact at the head of the log, or as of then.

    Example: creditwell balance team_42 --at 2026-11-01T00:00:00Z
    """
    from services.api.wording.balances import balance_body
    from services.read_models.balances import ExactBalance, read_balance
    from services.read_models.history import balance_as_of, refuse_the_future

    then, known_until, now = parse_instant(at, "--at"), parse_instant(known_at, "--known-at"), system_clock()
    try:
        refuse_the_future(now, then, known_until)
    except Refused as refused:
        exit_used_wrongly(f"{refused.detail}.")

    async def work(connection: Connection) -> ExactBalance | None:
        if then is None and known_until is None:
            return await read_balance(connection, team, now)
        return await balance_as_of(connection, team, at=then or known_until or now, known_at=known_until or now)

    exact = with_database(work)
    if exact is None:
        exit_used_wrongly(f"there is no team {team!r}{' by then' if then or known_until else ''}.")
    body = balance_body(exact, exact.position)
    if as_json:
        print_json(body)
        return
    shown = {**body, "top_up_enabled": "on" if body["top_up_enabled"] else "off"}
    shown["available"] += ", low" if body["low"] else ""
    print_table(team, ("", "now" if then is None else "then"), [(label, shown[key]) for key, label in BALANCE_LINES])


def activity(
    team: TeamArgument,
    *,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="How many times 24 hours back.")] = 30,
    since: Annotated[
        str | None, typer.Option("--from", help="Recorded at this instant or later; instead of --days.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Recorded before this instant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many entries.")] = 50,
    as_json: AsJson = False,
) -> None:
    """What happened to a team's credits, newest first.

    Example: creditwell activity team_42 --from 2026-10-01 --until 2026-11-01 --json
    """
    from services.api.wording.entries import item
    from services.credits.rate_cards import load_rate_cards
    from services.read_models.activity import Filter, read_activity
    from services.read_models.balances import read_balance

    catalog, now = catalog_of(load_settings()), system_clock()
    end = parse_instant(until, "--until")
    start = parse_instant(since, "--from") or (end or now) - timedelta(days=days)
    if end is not None and end <= start:
        exit_used_wrongly("--until: it is not after --from.")

    async def work(connection: Connection) -> list[dict[str, object]] | None:
        if await read_balance(connection, team, now) is None:
            return None
        cards = await load_rate_cards(connection)
        rows = await read_activity(connection, team, Filter(since=start, until=end), limit=limit)
        return [dict(item(row, cards, catalog)) for row in rows]

    items = with_database(work)
    if items is None:
        exit_used_wrongly(f"there is no team {team!r}.")
    if as_json:
        print_json({"items": items})
        return
    rows = [
        (to_the_second(one["recorded_at"]), *(one[key] for key in ("description", "member_id", "credits", "balance_after", "id")))
        for one in items
    ]  # fmt: skip
    title = f"{team}, the last {days} days" if since is until is None else f"{team}, {start} to {end or now}"
    print_table(title, ACTIVITY_COLUMNS, rows, numbers=("credits", "after"), prose=["what"])
