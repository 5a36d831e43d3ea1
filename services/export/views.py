"""The views of analysts as files, one each, all of one moment: what docs/analytics.md asks, without the database.

They are read in one snapshot. So an export that was killed begins anew, and its files are written again.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from projections.analytics import View, views
from schemas.instants import instant
from services.audit.checkpoints import origin_of
from services.audit.sign_log import LOG
from services.export.columns import ColumnType, ExportedColumn, Row
from services.export.exporting import NOW, OnRows, left_in
from services.export.files import FileDigest, FileFormat, TableFile
from services.export.manifest import (
    FORMAT,
    ExportRequest,
    Manifest,
    UnfinishedExport,
    complete,
    save,
    save_unfinished,
)
from services.export.parquet import pyarrow
from services.export.spans import spans_of
from services.runtime.errors import Refused
from services.store.connect import Connection

PAGE = 5_000
# All rows are wanted, not the first of them soon.
WHOLE = "SET LOCAL cursor_tuple_fraction = 1"
COLUMNS = """
    SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = ('analytics.' || $1)::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
TYPES = {
    "text": ColumnType.TEXT, "smallint": ColumnType.INTEGER, "integer": ColumnType.INTEGER, "bigint": ColumnType.INTEGER,
    "numeric": ColumnType.DECIMAL, "boolean": ColumnType.FLAG, "date": ColumnType.DATE,
    "timestamp with time zone": ColumnType.INSTANT, "jsonb": ColumnType.TEXTS,
}  # fmt: skip


async def export_views(
    connection: Connection, request: ExportRequest, folder: Path, on_rows: OnRows = lambda _: None
) -> tuple[Manifest, bool]:
    """Write the views that are asked for into a folder; the manifest, and whether it was there already.

    Bounds are those of `recorded_at`, the team that of `team_id`: a view without such a column is whole.

    Raises:
        Refused: there is no such view, something else is in the folder, or pyarrow is missing.
        OSError: the folder can't be written.
    """
    chosen = _chosen(request.views)
    if request.file_format is FileFormat.PARQUET:
        pyarrow()
    there, _ = left_in(folder, request)
    if there is not None:
        return there, True
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(WHOLE)
        log, now = origin_of(await connection.fetchval(LOG)), instant(await connection.fetchval(NOW))
        manifest = Manifest(FORMAT, log, request, now, await spans_of(connection), None)
        unfinished = UnfinishedExport(manifest)
        save_unfinished(folder, unfinished)
        for view in chosen:
            written = await _write(connection, view, request, folder, on_rows)
            manifest.files.append(written)
            unfinished.sums.rows += written.rows
    manifest = complete(unfinished, has_credits=False, has_money=False)
    save(folder, manifest)
    return manifest, False


def _chosen(names: Sequence[str]) -> list[View]:
    by_name = {view.name: view for view in views()}
    if unknown := sorted(set(names) - by_name.keys()):
        raise Refused("unknown_view", f"there is no view {', '.join(unknown)}; there are {', '.join(by_name)}")
    return [view for name, view in by_name.items() if not names or name in names]


async def _write(
    connection: Connection, view: View, request: ExportRequest, folder: Path, on_rows: OnRows
) -> FileDigest:
    """One view, all of its rows."""
    meanings = {column.name: column.meaning for column in view.columns}
    columns = [
        ExportedColumn(name, TYPES[kind], meanings[name]) for name, kind in await connection.fetch(COLUMNS, view.name)
    ]
    sql, values = _query(view, request)
    file = TableFile(folder, f"{view.name}.{request.file_format}", columns, request.file_format)
    try:
        cursor = await connection.cursor(sql, *values)
        while rows := await cursor.fetch(PAGE):
            file.write([_row(columns, tuple(row)) for row in rows])
            on_rows(len(rows))
        return file.finish()
    except BaseException:
        file.abandon()
        raise


def _query(view: View, request: ExportRequest) -> tuple[str, list[object]]:
    """The rows that are asked for, and the values in the question."""
    names = {column.name for column in view.columns}
    bounds: list[tuple[str, str, object]] = [
        (column, how, value)
        for column, how, value in (
            ("team_id", "=", request.team),
            ("recorded_at", ">=", request.since and datetime.fromisoformat(request.since)),
            ("recorded_at", "<", request.until and datetime.fromisoformat(request.until)),
        )
        if value is not None and column in names
    ]
    conditions = " AND ".join(f"{column} {how} ${number}" for number, (column, how, _) in enumerate(bounds, 1))
    return f"SELECT * FROM analytics.{view.name} WHERE {conditions or 'true'}", [value for *_, value in bounds]


def _row(columns: Sequence[ExportedColumn], row: Row) -> Row:
    return [
        msgspec.json.decode(value, type=dict[str, str] | None)
        if column.type is ColumnType.TEXTS and isinstance(value, str)
        else value
        for column, value in zip(columns, row, strict=True)
    ]
