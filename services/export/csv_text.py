"""CSV as RFC 4180 has it, and text that no spreadsheet takes for a formula."""

import csv
from collections.abc import Iterable
from io import StringIO

# With these a spreadsheet takes a cell for a formula; the wide forms are those of CJK keyboards.
FORMULA = ("=", "+", "-", "@", "|", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe_text(text: str) -> str:
    """Text by people and other programs: one that a spreadsheet would run is kept text by an apostrophe."""
    return f"'{text}" if text.startswith(FORMULA) else text


def csv_lines(rows: Iterable[Iterable[str]]) -> str:
    """Lines of CSV."""
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
