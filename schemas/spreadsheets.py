"""CSV as RFC 4180 has it, and cells that no spreadsheet takes for a formula."""

import csv
import re
from collections.abc import Iterable
from io import StringIO

# With these a spreadsheet takes a cell for a formula; the wide forms are those of CJK keyboards.
FORMULA = ("=", "+", "-", "@", "|", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# Where a decimal has a comma, as in German, a spreadsheet goes by semicolons: a cell begins in the middle of our text.
# It does so after a tab or a line end, too, where quotes are not taken for quotes.
INNER = re.compile("([;\t\r\n][ \"']*)(?=[=+\\-@|\uff1d\uff0b\uff0d\uff20])")


def as_text(cell: str) -> str:
    """Text that a spreadsheet would run as a formula is kept text by an apostrophe. Numbers do not belong here."""
    cell = INNER.sub(r"\1'", cell)
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def as_cell(cell: object) -> str:
    """What may be text or a number: a number stays one, also below zero."""
    text = "" if cell is None else str(cell)
    is_number = text.isascii() and text.removeprefix("-").replace(".", "", 1).isdecimal()
    return text if is_number else as_text(text)


def csv_lines(rows: Iterable[Iterable[str]], *, line_end: str = "\r\n") -> str:
    """Lines of CSV."""
    text = StringIO()
    csv.writer(text, lineterminator=line_end).writerows(rows)
    return text.getvalue()
