"""Parquet, by pyarrow: an extra, `creditwell[parquet]`, for it is larger than everything else together.

Types that every engine reads alike: 64-bit integers, `timestamp[us, UTC]`, `decimal128(24, 6)` for credits, strings,
binary, a map of strings; and for views of analysts days and `decimal128(38, 18)`. No categories, no floats. Compressed
with zstd.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from services.export.columns import ColumnType, ExportedColumn, Row
from services.runtime.errors import Refused

PAGE = 5_000
EPOCH = datetime.fromtimestamp(0, UTC)
MISSING = "Parquet needs pyarrow: install creditwell[parquet], or ask for --format jsonl"
WIDE, PLACES = Context(prec=38), Decimal(1).scaleb(-18)  # the widest decimals that every engine has
GROUP_MAX = 64_000  # rows that are compressed together, and so held in memory until then


def check_parquet() -> None:
    """See that the library is there, without loading it: who only shares work out needs none of its memory.

    Raises:
        Refused: as `pyarrow`.
    """
    if find_spec("pyarrow") is None:
        raise Refused("no_parquet", MISSING)


def pyarrow() -> Any:
    """The library.

    Raises:
        Refused: `no_parquet`, it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise Refused("no_parquet", MISSING) from None
    return pyarrow


def schema_of(columns: Sequence[ExportedColumn]) -> Any:
    """The Arrow schema of a table.

    Raises:
        Refused: as `pyarrow`.
    """
    arrow = pyarrow()
    types = {
        ColumnType.INTEGER: arrow.int64(), ColumnType.CREDITS: arrow.decimal128(24, 6), ColumnType.FLAG: arrow.bool_(),
        ColumnType.INSTANT: arrow.timestamp("us", tz="UTC"), ColumnType.TEXT: arrow.string(),
        ColumnType.BYTES: arrow.binary(), ColumnType.JSON: arrow.binary(),
        ColumnType.TEXTS: arrow.map_(arrow.string(), arrow.string()),
        ColumnType.DECIMAL: arrow.decimal128(38, 18), ColumnType.DATE: arrow.date32(),
    }  # fmt: skip
    return arrow.schema([arrow.field(column.name, types[column.type]) for column in columns])


class ParquetRows:
    """Rows on their way into a file: groups of a size that depends on nothing but the rows."""

    def __init__(self, file: BinaryIO, columns: Sequence[ExportedColumn]) -> None:
        self._arrow, self._schema, self._columns = pyarrow(), schema_of(columns), columns
        self._batches: list[Any] = []
        self._waiting = 0
        self._writer = self._arrow.parquet.ParquetWriter(
            file, self._schema, compression="zstd", version="2.6", store_schema=False
        )

    def write(self, rows: Sequence[Row]) -> None:
        """The next rows."""
        values = zip(*rows, strict=True) if rows else [()] * len(self._columns)
        arrays = [
            self._arrow.array(_arrow_values(column.type, column_values), field.type)
            for column, field, column_values in zip(self._columns, self._schema, values, strict=True)
        ]
        self._batches.append(self._arrow.record_batch(arrays, schema=self._schema))
        self._waiting += len(rows)
        if self._waiting >= GROUP_MAX:
            self._write_group()

    def close(self) -> None:
        """There are no more; the file itself stays open."""
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._waiting:
            table = self._arrow.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table, row_group_size=GROUP_MAX * 2)
        self._batches, self._waiting = [], 0


def _arrow_values(column_type: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    match column_type:
        case ColumnType.CREDITS:
            return [None if value is None else Decimal(value).scaleb(-6) for value in values]
        case ColumnType.TEXTS:
            return [None if value is None else sorted(value.items()) for value in values]
        case ColumnType.DECIMAL:
            return [None if value is None else value.quantize(PLACES, context=WIDE) for value in values]
        case _:
            return values


def read_parquet(file: Path, columns: Sequence[ExportedColumn]) -> Iterator[list[Row]]:
    """The rows of a file, page by page.

    Raises:
        ValueError: it is no Parquet, or lacks a column.
        Refused: as `pyarrow`.
    """
    arrow = pyarrow()
    with arrow.parquet.ParquetFile(file) as parquet:
        expected = schema_of(columns)
        if not parquet.schema_arrow.equals(expected):
            message = "its columns are not those of this table"
            raise ValueError(message)
        for batch in parquet.iter_batches(batch_size=PAGE, use_threads=False):  # each would hold memory of its own
            yield list(
                zip(*(_python_values(column, array) for column, array in zip(columns, batch, strict=True)), strict=True)
            )


def _python_values(column: ExportedColumn, array: Any) -> list[Any]:
    if column.type is ColumnType.INSTANT:
        # pyarrow's own way to a datetime looks up the zone for each of them, which takes ten times as long.
        counts = array.cast(pyarrow().int64()).to_pylist()
        return [None if count is None else EPOCH + timedelta(microseconds=count) for count in counts]
    values: list[Any] = array.to_pylist()
    match column.type:
        case ColumnType.CREDITS:
            return [None if value is None else int(value.scaleb(6)) for value in values]
        case ColumnType.TEXTS:
            return [None if value is None else dict(value) for value in values]
        case _:
            return values
