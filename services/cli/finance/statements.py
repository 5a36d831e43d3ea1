"""`creditwell statement`: what happened to a team's credits in a cycle that is final."""

import re
import sys
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import asyncpg
import typer

from schemas.cycles import instant_of, load_zone
from schemas.instants import is_meant
from services.api.wording.statement_words import Language
from services.cli.showing import TeamArgument, with_database
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from services.books.statements import TeamCycles

NOON = timedelta(hours=12)
PERIOD = "A cycle's number, or a date: the cycle at noon of it, in the team's zone."


class StatementFormat(StrEnum):
    """How a statement is written; the page alone has names and receipts."""

    JSON = "json"
    CSV = "csv"
    HTML = "html"


def statement(
    team: TeamArgument,
    period: Annotated[str, typer.Argument(metavar="PERIOD", help=PERIOD)],
    *,
    format_: Annotated[
        StatementFormat,
        typer.Option("--format", help="JSON and CSV are the same bytes for ever; html is a page to print."),
    ] = StatementFormat.JSON,
    language: Annotated[Language, typer.Option(help="Of the page to print; JSON and CSV have none.")] = Language.EN,
) -> None:
    """What happened to a team's credits in a sealed cycle, signed and final.

    Exit code 1: the cycle is not sealed, or no signed checkpoint covers its seal yet.

    Example: creditwell statement team_42 2026-10-15 --format html --language de
    """
    grace = timedelta(seconds=load_settings().seal_grace_seconds)
    if not re.fullmatch(r"-?[0-9]{1,6}|[0-9]{4}-[0-9]{2}-[0-9]{2}", period, re.ASCII):
        exit_used_wrongly(f"{period!r} is no cycle and no date: write 3, or 2026-11-23.")

    async def work(connection: Connection) -> str | None:
        from services.books.statements import find_sealed, make_statement, read_cycles
        from services.credits.rate_cards import load_rate_cards

        async with connection.transaction(isolation="repeatable_read", readonly=True):
            cycles = await read_cycles(connection, team)
            if cycles is None:
                return None
            sealed = find_sealed(cycles, _number(cycles, period), grace)
            made = await make_statement(connection, cycles, sealed, await load_rate_cards(connection))
            return await _written(connection, team, made, format_, language)

    text = with_database(work)
    if text is None:
        exit_used_wrongly(f"there is no team {team!r}.")
    sys.stdout.write(text)


def _number(cycles: "TeamCycles", period: str) -> int:
    if re.fullmatch(r"-?[0-9]+", period):
        return int(period)
    try:
        noon = datetime.fromisoformat(period) + NOON
    except ValueError:
        exit_used_wrongly(f"{period!r} is no date: write 2026-11-23.")
    if not is_meant(noon):
        exit_used_wrongly(f"the year of {period} can't be meant.")
    return cycles.number_at(instant_of(noon, load_zone(cycles.plan.zone)))


async def _written(
    connection: Connection, team_id: str, made: dict[str, object], format_: StatementFormat, language: Language
) -> str:
    from projections.statements.document import csv_of, json_of
    from services.api.wording.statement_page import PageNames, statement_page
    from services.api.wording.statement_words import WORDS
    from services.books.statements import receipts_of
    from services.credits.directory import read_directory

    match format_:
        case StatementFormat.JSON:
            return json_of(made)
        case StatementFormat.CSV:
            return csv_of(made)
        case StatementFormat.HTML:
            try:
                async with connection.transaction():
                    team = await read_directory(connection, team_id)
            except asyncpg.InsufficientPrivilegeError:
                team = None  # the reader's role sees nobody's name: the page has ids
            name, members = (team.name, team.names) if team else (team_id, {})
            receipts = await receipts_of(connection, team_id, made)
            return statement_page(made, PageNames(name, members, receipts), WORDS[language])
