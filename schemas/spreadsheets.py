"""Cells of a CSV that people open with a spreadsheet."""

# With these a spreadsheet takes a cell for a formula; the wide forms are those of CJK keyboards.
FORMULA = ("=", "+", "-", "@", "|", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_text(cell: str) -> str:
    """Text that a spreadsheet would run as a formula is kept text by an apostrophe. Numbers do not belong here."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell
