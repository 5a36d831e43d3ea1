"""A spreadsheet that opens any of our CSVs finds text and numbers, and nothing to evaluate.

IronCalc takes each cell as if somebody had typed it: it evaluates what begins with = and sums that begin with + or -. What Excel alone
takes for a formula, as @SUM, must have its apostrophe.
"""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import ironcalc
import pytest

from projections.books.tables import write_csv
from projections.statements.document import csv_of
from schemas.spreadsheets import FORMULA, as_cell, as_text, csv_lines
from services.export.columns import ColumnType, ExportedColumn
from services.export.files import FileFormat, TableFile
from tests.unit.api.test_downloads_in_words import ACTIVITY, USED, cells
from tests.unit.api.test_statement_page import told

HARMFUL = (
    '=HYPERLINK("http://evil.example";"pay")',
    "+1+SUM(1,2)",
    "-SUM(1,2)",
    "=1+1",
    "@SUM(1,2)",
    "=2+5+cmd|' /C calc'!A0",
)
BEFORE = ("", "\t", "\r", "\n", '"', "a;", 'a;"', "a; '", "a\n", "\r\n", "1;2\t")
HOSTILE = tuple(before + harmful for before, harmful in product(BEFORE, HARMFUL))
NUMBERS = ("0", "7", "-7", "-0.000005", "1234567.25", "-1234567890.123456")
AT = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)


def formulas_in(text: str) -> list[str]:
    """What a spreadsheet would evaluate, or Excel, where cells are told apart by commas, by semicolons or by tabs."""
    sheet = ironcalc.create("sheet", "en", "UTC", "en")
    found = []
    for delimiter in ",;\t":
        # A spreadsheet that goes by another sign does not see the quotes of ours.
        rows = csv.reader(
            text.splitlines(keepends=True) if delimiter == "," else text.splitlines(), delimiter=delimiter
        )
        for cell in (cell for row in rows for cell in row if cell):
            sheet.set_user_input(0, 1, 1, cell)
            if sheet.get_cell_formula(0, 1, 1) is not None or (cell.startswith(FORMULA) and not is_number(cell)):
                found.append(cell)
    return found


def is_number(cell: str) -> bool:
    """Whether a spreadsheet counts with it."""
    sheet = ironcalc.create("sheet", "en", "UTC", "en")
    sheet.set_user_input(0, 1, 1, cell)
    number = sheet.get_cell_type(0, 1, 1) == ironcalc.CellType.Number and sheet.get_cell_formula(0, 1, 1) is None
    return bool(number)


def test_a_spreadsheet_would_run_them() -> None:
    assert set(formulas_in(csv_lines([[text] for text in HARMFUL]))) >= set(HARMFUL)


def statement(text: str) -> str:
    made = told()
    made["by_member"][0]["member_id"] = made["payments"][0]["payment"] = text
    made["by_feature"] = [
        {
            "feature": text, "name": text, "taken_back": "-1", "quantities": {text: "-2"},
            "components": [{"name": text, "unit": text, "quantity": "-3", "uses": 1, "credits": "-4"}],
        }
    ]  # fmt: skip
    return csv_of(made)


def books(text: str) -> str:
    return write_csv(["currency", "team_id", "difference"], [[text, text, "-1.50"]])


def activity(text: str) -> str:
    line = cells(ACTIVITY, USED, name=text)
    return csv_lines([[*line.values(), "-1"]])


def export(text: str, folder: Path) -> str:
    # Where commas do not divide, a line is one cell; so it begins with what is neither text nor a number.
    types = sorted(ColumnType, key=lambda column_type: column_type != ColumnType.FLAG)
    columns = [ExportedColumn(column_type.value, column_type, "") for column_type in types]
    rows: dict[str, Any] = {
        "integer": -5, "credits": -1_500_000, "flag": True, "instant": AT, "text": text, "bytes": b"=", "json": b"=",
        "texts": {text: text}, "decimal": Decimal("-1.5"), "date": AT.date(),
    }  # fmt: skip
    file = TableFile(folder, "a.csv", columns, FileFormat.CSV)
    file.write([[rows[column.name] for column in columns]])
    return (folder / file.finish().path).read_bytes().decode()


@pytest.mark.parametrize("csv_with", [statement, books, activity], ids=lambda one: one.__name__)
def test_no_formula_runs_in_what_finance_opens(csv_with: Callable[[str], str]) -> None:
    assert {text: found for text in HOSTILE if (found := formulas_in(csv_with(text)))} == {}


def test_no_formula_runs_in_an_export(tmp_path: Path) -> None:
    folders = {text: tmp_path / str(number) for number, text in enumerate(HOSTILE)}

    assert {text: found for text, folder in folders.items() if (found := formulas_in(export(text, folder)))} == {}


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_stay_numbers_below_zero_too(number: str) -> None:
    assert as_cell(number) == number
    assert is_number(number)
    assert not is_number(as_text("-SUM(1,2)"))
    assert f",{number}," in write_csv(["a", "b", "c"], [["x", number, "y"]])


@pytest.mark.parametrize(
    "text", ["Ada", "AI image, high", 'an "odd" name', "a - b; c", "é", "Zürich\nBern", "", "a=b", "1;2"]
)
def test_what_no_spreadsheet_would_run_stays_as_it_is(text: str) -> None:
    assert as_text(text) == text
