"""What commands share: the database, tables, progress, JSON, and how they end."""

import asyncio
import errno
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from schemas.instants import is_meant
from services.runtime.errors import Fenced, LogChanged, Refused, Unavailable
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import AWAY, Connection, connect

SHOWN_MAX = 20  # of what is wrong
FOUND_WRONG, NOT_NOW = 1, 3
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of a file, never of a connection
PLAIN_LINE_SECONDS = 10
PROSE_WIDTH_MIN = 16
WIDTH_ASKED = 10_000  # so that a table says how wide it would have to be

_COMMANDS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

T = TypeVar("T")
WithDatabase = Annotated[
    bool, typer.Option("--with-database", help="With folders: also what the database has after them.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of tables.")]
TeamArgument = Annotated[str, typer.Argument(metavar="TEAM", help="The team's id.")]


def with_database(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `work` on one connection without the time limits of a service; ends the process where that can't be done."""
    with or_said():
        return asyncio.run(_with_database(load_settings().needed("database"), work))


async def _with_database(url: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    connection = await connect(url, process="cli")
    try:
        return await work(connection)
    finally:
        await connection.close()


@contextmanager
def or_said() -> Iterator[None]:
    """What can't be done is said in a sentence, and ends the process with its exit code."""
    try:
        yield
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
        if isinstance(error, OSError) and error.filename is not None:
            exit_used_wrongly(f"{error.filename}: {error.strerror}.")
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            fail(NOT_NOW, f"a file can't be written: {error.strerror}")
        fail(NOT_NOW, f"the database does not answer: {error}")


def fail(code: int, sentence: str) -> NoReturn:
    """Say what is wrong and end."""
    print(f"creditwell: {sentence}", file=sys.stderr)
    raise typer.Exit(code)


def print_json(document: object) -> None:
    """The one document of `--json`."""
    print(json.dumps(document, ensure_ascii=False, default=str))


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[str] = (),
    prose: Iterable[str] = (),
) -> None:
    """A table for people, no wider than their terminal, or than 80 columns where nobody looks.

    Numbers line up on the right, prose is wrapped, and nothing else is ever broken: rows that are too wide are shown
    one below the other, a line for each value.
    """
    screen, cells = console(), [["" if value is None else _harmless(str(value)) for value in row] for row in rows]
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    right, wrapped = set(numbers), set(prose)
    for number, column in enumerate(columns):
        # Said for each column: of one that is not wrapped the library would take the longest word for enough, of its
        # heading too, and then cut off what has no room at the right.
        lines = (line for text in (column, *(row[number] for row in cells)) for line in text.splitlines())
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column not in wrapped, overflow="fold",
            min_width=PROSE_WIDTH_MIN if column in wrapped else max(map(cell_len, lines), default=0),
        )  # fmt: skip
    for row in cells:
        table.add_row(*map(Text, row))
    roomy = screen.options.update(max_width=WIDTH_ASKED)
    if Measurement.get(screen, roomy, table).minimum <= screen.width:
        screen.print(table)
    else:
        _print_blocks(screen, title, columns, cells)


def _harmless(text: str) -> str:
    """Text that tells a terminal nothing and turns no other text around: names are what somebody wrote."""
    return _COMMANDS.sub(lambda letter: repr(letter[0])[1:-1], text)


def _print_blocks(screen: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    screen.print(Text(title, style="italic"))
    for row in rows:
        block = Table.grid(padding=(0, 2))
        for name, cell in zip(columns, row, strict=True):
            block.add_row(Text(name, style="dim"), Text(cell, overflow="fold"))
        screen.print()
        screen.print(block)


def console() -> Console:
    """Standard output, as wide as the terminal is."""
    return Console() if sys.stdout.isatty() else Console(width=80, no_color=True)


def to_the_second(instant: object) -> str | None:
    """An instant of the API's as people read it in a table: `2026-11-23 10:15:30`, UTC."""
    return None if instant is None else str(instant)[:19].replace("T", " ")


def parse_instant(text: str | None, option: str) -> datetime | None:
    """An instant given on the command line; a date is its beginning in UTC."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        exit_used_wrongly(f"{option}: {text!r} is no instant: write 2026-11-23 or 2026-11-23T10:15:00Z.")
    if not is_meant(parsed):
        exit_used_wrongly(f"{option}: the year of {text} can't be meant.")
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def parse_duration(text: str | None, option: str) -> timedelta | None:
    """A duration given on the command line: a whole number and its unit."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if parts is None:
        exit_used_wrongly(f"{option}: {text!r} is no duration: write 90s, 10m, 2h or 1d.")
    return int(parts[1]) * UNITS[parts[2]]


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
