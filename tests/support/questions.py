"""The questions of docs/analytics.md, each with its SQL."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "analytics.md"
QUESTION = re.compile(r"^### (.+?)\n.*?```sql\n(.*?)```", re.MULTILINE | re.DOTALL)
OPENING = re.compile(r"```python\n(.*?)```", re.DOTALL)


def questions() -> dict[str, str]:
    """Their SQL by their heading, in the order of the page."""
    return dict(QUESTION.findall(PAGE.read_text("utf-8")))


def opening() -> str:
    """The Python by which DuckDB comes to the files of an export."""
    found = OPENING.search(PAGE.read_text("utf-8"))
    assert found is not None
    return found[1]
