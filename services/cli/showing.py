"""What commands share: the database, tables, progress, JSON, and how they end."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from services.runtime.errors import Fenced, LogChanged, Refused, Unavailable
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import AWAY, Connection, connect

FOUND_WRONG, NOT_NOW = 1, 3
PLAIN_LINE_SECONDS = 10

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
TeamArgument = Annotated[str, typer.Argument(metavar="TEAM", help="The team's id.")]


def with_database(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work` on one connection without the time limits of a service; ends the process where that can't be done."""
    return asyncio.run(_with_database(load_settings().needed("database"), work))


async def _with_database(url: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    try:
        connection = await connect(url, process="cli")
        try:
            return await work(connection)
        finally:
            await connection.close()
    except (Refused, LogChanged, Fenced) as wrong:
        fail(FOUND_WRONG, str(wrong))
    except Unavailable as away:
        fail(NOT_NOW, str(away))
    except WrongSettings as wrong:
        exit_used_wrongly(*wrong.sentences)
    except asyncpg.InsufficientPrivilegeError as error:
        exit_used_wrongly(f"the role of CREDITWELL_DATABASE may not do that: {error}.")
    except asyncpg.UndefinedTableError as error:
        exit_used_wrongly(f"CREDITWELL_DATABASE is not up to date: {error}; run `creditwell migrate`.")
    except AWAY as error:
        fail(NOT_NOW, f"the database does not answer: {error}")


def fail(code: int, sentence: str) -> NoReturn:
    """Say what is wrong and end."""
    print(f"creditwell: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def print_json(document: object) -> None:
    """The one document of `--json`."""
    print(json.dumps(document, ensure_ascii=False, default=str))


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()
) -> None:
    """A table for people; numbers line up on the right."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    right = set(numbers)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row))
    console().print(table)


def console() -> Console:
    """Standard output; as wide as the content where nobody looks."""
    return Console() if sys.stdout.isatty() else Console(width=200, no_color=True)


def parse_instant(text: str | None, option: str) -> datetime | None:
    """An instant given on the command line; a date is its beginning in UTC."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        exit_used_wrongly(f"{option}: {text!r} is no instant: write 2026-11-23 or 2026-11-23T10:15:00Z.")
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s", style="progress.data.speed")


@contextmanager
def progress(what: str, total: int, *, of: str = "facts") -> Iterator[Callable[[int], None]]:
    """Tell on standard error how far it is, how fast, and how long still.

    A bar on a terminal, plain lines elsewhere.
    """
    if not sys.stderr.isatty():
        yield _plain_lines(what, total, of)
        return
    columns: list[Any] = [TextColumn(what), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)


def _plain_lines(what: str, total: int, of: str) -> Callable[[int], None]:
    began = told_at = monotonic()
    done = 0

    def tell(more: int) -> None:
        nonlocal told_at, done
        done += more
        if monotonic() - told_at < PLAIN_LINE_SECONDS:
            return
        told_at = monotonic()
        rate = done / (told_at - began)
        remaining = f", {max(0, total - done) / rate:,.0f} s left" if rate else ""
        print(f"{what}: {done:,} of {total:,} {of}, {rate:,.0f}/s{remaining}", file=sys.stderr, flush=True)

    return tell
