"""What a table of an export is made of: columns, each of one type that every format has."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

Row = Sequence[object]


class ColumnType(StrEnum):
    """What a column holds; docs/exports.md has what becomes of it in each format."""

    INTEGER = "integer"  # 64 bits
    CREDITS = "credits"  # micro-credits in Python, a decimal of six places outside
    FLAG = "flag"
    INSTANT = "instant"  # an aware datetime in Python
    TEXT = "text"
    BYTES = "bytes"
    JSON = "json"  # bytes that hold JSON: as bytes in Parquet, as text and as bytes in JSON
    TEXTS = "texts"  # a map of strings
    DECIMAL = "decimal"  # a Decimal in Python; Parquet keeps 18 places of it
    DATE = "date"


class ExportedColumn(NamedTuple):
    """One column, and its meaning for the page about exports."""

    name: str
    type: ColumnType
    meaning: str
