"""A table comes back from its file as it went in, or the file is not there at all."""

import csv
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from services.export.columns import ColumnType, ExportedColumn
from services.export.files import FileFormat, TableFile, read_rows
from services.export.parquet import check_parquet
from services.runtime.errors import Refused

COLUMNS = [ExportedColumn(column_type.value, column_type, "") for column_type in ColumnType]
AT = datetime(2026, 11, 23, 10, 15, 30, 123456, tzinfo=UTC)
ROWS: list[tuple[object, ...]] = [
    (
        -(2**63), -1_500_000, True, AT, 'é,"\r\n', b"\x00\xff", b'{"a": 1.10}', {"tier": "low", "a": "=1"},
        Decimal("-1E-18"), date(2024, 2, 29),
    ),
    (
        2**63 - 1, 4 * 10**18, False, AT.replace(year=1900), "", b"", b"\xff", {}, Decimal("9" * 20), date(1900, 1, 1),
    ),
    (None,) * len(ColumnType),
]  # fmt: skip
READ_BACK = (FileFormat.JSONL, FileFormat.PARQUET)


def written(folder: Path, file_format: FileFormat, rows: list[tuple[object, ...]]) -> Path:
    file = TableFile(folder, f"a/b.{file_format}", COLUMNS, file_format)
    for row in rows:
        file.write([row])
    return folder / file.finish().path


@pytest.mark.parametrize("file_format", READ_BACK)
def test_every_type_comes_back_to_the_last_digit(tmp_path: Path, file_format: FileFormat) -> None:
    file = written(tmp_path, file_format, ROWS)

    assert [tuple(row) for page in read_rows(file, COLUMNS) for row in page] == ROWS


def test_csv_has_plain_decimals_and_no_formula(tmp_path: Path) -> None:
    signs = ("=", "+", "-", "@", "\t", "\r")
    rows: list[tuple[object, ...]] = [
        (1, -5, True, AT, f"{sign}1+1", b"", b"", {}, Decimal("1E+2"), AT.date()) for sign in signs
    ]

    file = written(tmp_path, FileFormat.CSV, rows)

    with file.open(newline="", encoding="utf-8") as lines:
        read = list(csv.DictReader(lines))
    assert [row["text"] for row in read] == [f"'{sign}1+1" for sign in signs]
    assert {(row["credits"], row["flag"], row["instant"], row["decimal"], row["date"]) for row in read} == {
        ("-0.000005", "true", "2026-11-23T10:15:30.123456Z", "100", "2026-11-23")
    }
    assert file.read_bytes().count(b"\r\n") == len(rows) + 1


@pytest.mark.parametrize("file_format", READ_BACK)
def test_what_is_no_such_file_is_a_value_error_or_an_os_error(tmp_path: Path, file_format: FileFormat) -> None:
    file = written(tmp_path, file_format, ROWS)
    whole = file.read_bytes()
    for data in (b"{}\n", b"[1]\n", b"\xff\xfe", whole[: len(whole) // 2], b"PAR1" + bytes(20) + b"PAR1"):
        file.write_bytes(data)
        with pytest.raises((ValueError, OSError)):
            list(read_rows(file, COLUMNS))


def test_a_file_that_is_abandoned_is_not_there(tmp_path: Path) -> None:
    file = TableFile(tmp_path, "a/b.csv", COLUMNS, FileFormat.CSV)
    file.write(ROWS)
    file.abandon()

    assert list((tmp_path / "a").iterdir()) == []


def test_without_pyarrow_a_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(Refused, match=r"install creditwell\[parquet\]"):
        TableFile(tmp_path, "a/b.parquet", COLUMNS, FileFormat.PARQUET)


def test_who_only_shares_work_out_is_told_what_to_install_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(Refused, match=r"install creditwell\[parquet\]"):
        check_parquet()


def test_a_decimal_of_more_places_is_rounded_in_parquet_and_whole_as_text(tmp_path: Path) -> None:
    column = [ExportedColumn("value", ColumnType.DECIMAL, "")]
    third = Decimal("0." + "3" * 30)
    for file_format, expected in ((FileFormat.PARQUET, Decimal("0." + "3" * 18)), (FileFormat.JSONL, third)):
        file = TableFile(tmp_path, f"third.{file_format}", column, file_format)
        file.write([(third,)])
        assert list(read_rows(tmp_path / file.finish().path, column)) in ([[(expected,)]], [[[expected]]])
