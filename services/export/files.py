"""Writing and reading one file of an export, a page of rows at a time.

A file is there whole or not at all: it is written beside its place, brought to the disk, and renamed.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import file_digest
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from schemas.credits import format_credits, parse_credits
from schemas.instants import instant
from schemas.spreadsheets import as_text, csv_lines
from services.export.columns import ColumnType, ExportedColumn, Row
from services.export.parquet import ParquetRows, read_parquet
from services.runtime.long_work.whole_files import PART

PAGE = 5_000
AS_BYTES = "_base64"  # the key beside a body's, which has its text

ToText = Callable[[object], object]


class FileFormat(StrEnum):
    """How a table is written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class FileRows(Protocol):
    """Rows on their way into a file."""

    def write(self, rows: Sequence[Row]) -> None:
        """The next rows."""

    def close(self) -> None:
        """There are no more; the file itself stays open."""


class FileDigest(msgspec.Struct, frozen=True):
    """A file of an export: where it lies under the folder, and what is in it."""

    path: str
    rows: int
    size: int
    sha256: str


class TableFile:
    """A file that is being written."""

    def __init__(self, folder: Path, path: str, columns: Sequence[ExportedColumn], file_format: FileFormat) -> None:
        self.path, self._file, self.rows = path, folder / path, 0
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._open = self._file.with_name(self._file.name + PART).open("w+b")
        self._rows = ROWS[file_format](self._open, columns)

    def write(self, rows: Sequence[Row]) -> None:
        """The next rows."""
        self._rows.write(rows)
        self.rows += len(rows)

    def finish(self) -> FileDigest:
        """Bring it to the disk and to its place."""
        self._rows.close()
        digest = digest_of(self._open)
        os.fsync(self._open.fileno())
        size = self._open.seek(0, os.SEEK_END)
        self._open.close()
        Path(self._open.name).rename(self._file)
        return FileDigest(self.path, self.rows, size, digest)

    def abandon(self) -> None:
        """It will not be finished."""
        self._open.close()
        Path(self._open.name).unlink(missing_ok=True)


def digest_of(file: BufferedReader | BufferedRandom) -> str:
    """SHA-256 of a file, from its beginning."""
    file.seek(0)
    return file_digest(file, "sha256").hexdigest()


class _CsvRows:
    def __init__(self, file: BinaryIO, columns: Sequence[ExportedColumn]) -> None:
        self._file, self._cells = file, [CELLS[column.type] for column in columns]
        self._file.write(csv_lines([[column.name for column in columns]]).encode())

    def write(self, rows: Sequence[Row]) -> None:
        lines = ([_cell(cell, value) for cell, value in zip(self._cells, row, strict=True)] for row in rows)
        self._file.write(csv_lines(lines).encode())

    def close(self) -> None:
        pass


def _cell(to_text: ToText, value: object) -> str:
    return "" if value is None else str(to_text(value))


class _JsonRows:
    def __init__(self, file: BinaryIO, columns: Sequence[ExportedColumn]) -> None:
        self._file, self._columns = file, columns

    def write(self, rows: Sequence[Row]) -> None:
        self._file.write(msgspec.json.Encoder().encode_lines([self._object(row) for row in rows]))

    def _object(self, row: Row) -> dict[str, object]:
        line: dict[str, object] = {}
        for (name, column_type, _), value in zip(self._columns, row, strict=True):
            if column_type is ColumnType.JSON:
                line[name] = value.decode(errors="replace") if isinstance(value, bytes) else None
                name += AS_BYTES  # noqa: PLW2901 - the same value in another form
            line[name] = None if value is None else VALUES[column_type](value)
        return line

    def close(self) -> None:
        pass


ROWS: dict[FileFormat, Callable[[BinaryIO, Sequence[ExportedColumn]], FileRows]] = {
    FileFormat.CSV: _CsvRows,
    FileFormat.JSONL: _JsonRows,
    FileFormat.PARQUET: ParquetRows,
}


def read_rows(file: Path, columns: Sequence[ExportedColumn]) -> Iterator[list[Row]]:
    """The rows of a file of JSON lines or Parquet, page by page.

    Raises:
        ValueError: it is no such file, or lacks a column.
        OSError: it can't be read.
    """
    if file.suffix == f".{FileFormat.PARQUET}":
        yield from read_parquet(file, columns)
        return
    readers = [(_key(column), READERS[column.type]) for column in columns]
    with file.open("rb") as lines:
        page: list[Row] = []
        for line in lines:
            try:
                decoded = msgspec.json.decode(line)
                page.append([None if (value := decoded[key]) is None else read(value) for key, read in readers])
            except (KeyError, TypeError, AttributeError) as error:
                message = f"a line lacks something or has something else ({error})"
                raise ValueError(message) from error
            if len(page) == PAGE:
                yield page
                page = []
        yield page


def _key(column: ExportedColumn) -> str:
    return column.name + AS_BYTES if column.type is ColumnType.JSON else column.name


def _same(value: object) -> object:
    return value


def _credits(value: object) -> str:
    assert isinstance(value, int)
    return format_credits(value)


def _instant(value: object) -> str:
    assert isinstance(value, datetime)
    return instant(value)


def _decimal(value: object) -> str:
    assert isinstance(value, Decimal)
    return f"{value:f}"


def _base64(value: object) -> str:
    assert isinstance(value, bytes)
    return b64encode(value).decode()


def _object_text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


VALUES: dict[ColumnType, ToText] = {
    ColumnType.INTEGER: _same, ColumnType.CREDITS: _credits, ColumnType.FLAG: _same, ColumnType.INSTANT: _instant,
    ColumnType.TEXT: _same, ColumnType.BYTES: _base64, ColumnType.JSON: _base64, ColumnType.TEXTS: _same,
    ColumnType.DECIMAL: _decimal, ColumnType.DATE: str,
}  # fmt: skip
CELLS: dict[ColumnType, ToText] = VALUES | {
    ColumnType.FLAG: lambda value: "true" if value else "false",
    ColumnType.TEXT: lambda value: as_text(str(value)),
    ColumnType.TEXTS: lambda value: as_text(_object_text(value)),
}
READERS: dict[ColumnType, Callable[..., object]] = {
    ColumnType.INTEGER: int, ColumnType.CREDITS: parse_credits, ColumnType.FLAG: bool,
    ColumnType.INSTANT: datetime.fromisoformat, ColumnType.TEXT: str, ColumnType.BYTES: b64decode,
    ColumnType.JSON: b64decode, ColumnType.TEXTS: dict, ColumnType.DECIMAL: Decimal, ColumnType.DATE: date.fromisoformat,
}  # fmt: skip
