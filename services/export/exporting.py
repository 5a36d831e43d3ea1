"""An export, shard by shard. What was done is kept beside it, so that one that was killed goes on where it was.

Positions are fixed when it begins, and the log only grows: whatever is asked for again from the same positions gives
the same rows in the same order.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path

from schemas.instants import instant
from schemas.places import Place, place_of
from services.audit.anchors import parse_anchor
from services.audit.checkpoints import origin_of
from services.audit.notes.vectors import EMPTY_SHARD
from services.audit.sign_log import LOG
from services.export.columns import Row
from services.export.files import FileDigest, FileFormat, TableFile
from services.export.manifest import (
    FORMAT,
    ExportRequest,
    Manifest,
    ManifestInvalid,
    ShardSpan,
    Sums,
    UnfinishedExport,
    complete,
    is_export,
    read_manifest,
    read_unfinished,
    save,
    save_unfinished,
)
from services.export.parquet import pyarrow
from services.export.spans import MICROSECOND, Bound, anchor_text, covers, note_for, spans_of
from services.export.tables import BLOCK_COLUMNS, EVENTS, TABLES, Table, blocks_of
from services.runtime.errors import Refused
from services.runtime.long_work.whole_files import PART
from services.store.connect import Connection

BLOCKS = "blocks"
NOW = "SELECT clock_timestamp()"

OnRows = Callable[[int], None]
Exporter = Callable[[Connection, ExportRequest, Path, OnRows], Awaitable[tuple[Manifest, bool]]]


async def export(
    connection: Connection, request: ExportRequest, folder: Path, on_rows: OnRows = lambda _: None
) -> tuple[Manifest, bool]:
    """Write what is asked for into a folder; the manifest, and whether it was there already.

    An export that was begun there is finished, from where it was.

    Raises:
        Refused: another export, or something else, is in the folder; the format does not fit, or pyarrow is missing.
        Unavailable: the projections are not that far.
        LogChanged: a fact was removed, or one can't be read.
        OSError: the folder can't be written.
    """
    table = table_of(request)
    there, unfinished = left_in(folder, request)
    if there is not None:
        return there, True
    if unfinished is None:
        unfinished = await _begin(connection, table, request, folder)
    await _go_on(connection, table, unfinished, folder, on_rows)
    manifest = complete(unfinished, has_credits=table.has("credits"), has_money=table.has("charge_cents"))
    save(folder, manifest)
    return manifest, False


def left_in(folder: Path, request: ExportRequest) -> tuple[Manifest | None, UnfinishedExport | None]:
    """What is there of the same export: all of it, or how far one came that was killed. Else the folder is made.

    Raises:
        Refused: another export, or something else, is in the folder.
    """
    try:
        there = read_manifest(folder) if is_export(folder) else None
        unfinished = read_unfinished(folder)
    except ManifestInvalid as invalid:
        raise Refused("folder_in_use", f"{folder}: {invalid}") from invalid
    if there is not None:
        _check_same(there.request, request, folder)
    elif unfinished is not None:
        _check_same(unfinished.manifest.request, request, folder)
    else:
        _make_empty(folder)
    return there, unfinished


def table_of(request: ExportRequest) -> Table:
    """The table that is asked for.

    Raises:
        Refused: it is not written in this format, or pyarrow is missing.
    """
    table = TABLES[request.what]
    if request.file_format not in table.formats:
        raise Refused("wrong_format", f"{request.what} are written as {' or '.join(table.formats)}")
    if request.file_format is FileFormat.PARQUET:
        pyarrow()
    return table


def _check_same(there: ExportRequest, request: ExportRequest, folder: Path) -> None:
    """An instant that was not given is the one of the beginning."""
    same = (there.what, there.file_format, there.since, there.until, there.team, there.month, there.views) == (
        request.what, request.file_format, request.since, request.until, request.team, request.month, request.views,
    ) and all(new is None or old == new for old, new in ((there.at, request.at), (there.known_at, request.known_at)))  # fmt: skip
    if not same:
        raise Refused(
            "folder_in_use", f"{folder} has an export in it that was asked for otherwise: give another folder"
        )


async def _begin(connection: Connection, table: Table, request: ExportRequest, folder: Path) -> UnfinishedExport:
    """Fix the positions."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        now = await connection.fetchval(NOW)
        if table.name == "balances":
            request = _resolved(request, now)
            known_at = None if request.known_at is None else datetime.fromisoformat(request.known_at)
            until: Bound | None = None if known_at is None else known_at + MICROSECOND
            spans = await spans_of(connection, None, until, team_id=request.team)
        else:
            since, until = _bound(request.since), _bound(request.until)
            spans = await spans_of(connection, since, until, team_id=request.team, folded=table.folded)
        month_ended = None if request.month is None or request.until is None else datetime.fromisoformat(request.until)
        note = await note_for(connection, spans, month_ended)
        if month_ended is not None and (note is None or note.vector.signed_at < month_ended or not covers(note, spans)):
            raise Refused("not_signed_yet", f"no checkpoint that was signed after {request.month} covers it yet")
        # An archive has no time of its own, so whoever makes it again gets the same bytes.
        made_at = now if month_ended is None or note is None else note.vector.signed_at
        manifest = Manifest(
            FORMAT, origin_of(await connection.fetchval(LOG)), request, instant(made_at), spans,
            None if note is None else await anchor_text(connection, note),
        )  # fmt: skip
    unfinished = UnfinishedExport(manifest)
    save_unfinished(folder, unfinished)
    return unfinished


def _make_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Refused("folder_in_use", f"{folder} is not empty: give another folder")


def _clear(folder: Path) -> None:
    """Take away what a process that was killed left half written."""
    for left_over in folder.rglob(f"*{PART}"):
        left_over.unlink()


def _resolved(request: ExportRequest, now: datetime) -> ExportRequest:
    """With the instants that were not given.

    Raises:
        Refused: they have not come yet.
    """
    at = request.at or request.known_at or instant(now)
    known_at = request.known_at or instant(now)
    if max(map(datetime.fromisoformat, (at, known_at))) > now:
        raise Refused("in_the_future", f"{max(at, known_at)} has not come yet; it is {instant(now)}")
    return ExportRequest(request.what, request.file_format, team=request.team, at=at, known_at=known_at)


def _bound(text: str | None) -> Bound | None:
    if text is None:
        return None
    return place_of(text) if text.count(":") == 1 else datetime.fromisoformat(text)


def bound_text(bound: Bound | None) -> str | None:
    """A bound as a manifest has it."""
    return None if bound is None else str(bound) if isinstance(bound, Place) else instant(bound)


async def _go_on(
    connection: Connection, table: Table, unfinished: UnfinishedExport, folder: Path, on_rows: OnRows
) -> None:
    """Each shard that is not done."""
    manifest = unfinished.manifest
    noted = {} if manifest.note is None else parse_anchor(manifest.note).vector.shards
    _clear(folder)
    for span in manifest.shards:
        if span.shard in unfinished.done:
            continue
        rows = table.rows(connection, span, manifest.request)
        files, sums = await _write(rows, table, span.shard, manifest.request, folder, on_rows)
        if table is EVENTS and manifest.request.team is None:
            files += await _write_blocks(connection, span, noted.get(span.shard, EMPTY_SHARD).last, manifest, folder)
        manifest.files += files
        unfinished.sums.add(sums)
        unfinished.done.append(span.shard)
        save_unfinished(folder, unfinished)


async def _write(
    rows: AsyncIterator[list[Row]], table: Table, shard: int, request: ExportRequest, folder: Path, on_rows: OnRows
) -> tuple[list[FileDigest], Sums]:
    """One shard: a file, or one for each month in which facts were recorded."""
    files, sums, file = list[FileDigest](), Sums(), None
    name, month = f"shard-{shard:02d}.{request.file_format}", ""
    try:
        async for page in rows:
            for of_month, some_rows in _by_month(table, page):
                if file is None or of_month != month:
                    files += [] if file is None else [file.finish()]
                    month, path = of_month, f"{table.name}/{of_month}{name}"
                    file = TableFile(folder, path, table.columns, request.file_format)
                file.write(some_rows)
                sums.add(table.sums(some_rows))
                on_rows(len(some_rows))
    except BaseException:
        if file is not None:
            file.abandon()
        raise
    return files if file is None else [*files, file.finish()], sums


def _by_month(table: Table, page: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each month; they come in the order in which they were recorded."""
    if page and _month(table, page[0]) == _month(table, page[-1]):
        yield _month(table, page[0]), page
        return
    for month, rows in groupby(page, key=partial(_month, table)):
        yield month, list(rows)


def _month(table: Table, row: Row) -> str:
    """The folder of a row."""
    if not table.by_month:
        return ""
    recorded = row[table.recorded]
    assert isinstance(recorded, datetime)
    return f"recorded={recorded:%Y-%m}/"


async def _write_blocks(
    connection: Connection, span: ShardSpan, noted: int, manifest: Manifest, folder: Path
) -> list[FileDigest]:
    """The blocks of a shard, and those that lead from there to the end that the note gives it."""
    until = max(span.last, noted)
    file_format = manifest.request.file_format
    path, file = f"{BLOCKS}/shard-{span.shard:02d}.{file_format}", None
    async for page in blocks_of(connection, span, until):
        file = file or TableFile(folder, path, BLOCK_COLUMNS, file_format)
        file.write(page)
    return [] if file is None else [file.finish()]
