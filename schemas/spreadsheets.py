"""CSV as RFC 4180 has it, and cells that no spreadsheet takes for a formula."""

import csv
from collections.abc import Iterable
from io import StringIO

# With these a spreadsheet takes a cell for a formula; the wide forms are those of CJK keyboards.
FORMULA = ("=", "+", "-", "@", "|", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_text(cell: str) -> str:
    """Text that a spreadsheet would run as a formula is kept text by an apostrophe. Numbers do not belong here."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def csv_lines(rows: Iterable[Iterable[str]]) -> str:
    """Lines of CSV."""
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
