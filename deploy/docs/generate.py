"""Writes the tables of `docs/` from the code.

    python -m deploy.docs.generate            writes each table anew
    python -m deploy.docs.generate --check    exits 1, naming each page that is out of date

Files that nobody writes by hand, as `analytics-sources.yml`, are written whole.

A page is prose, written by hand. What follows from the code stands in it between `<!-- table: NAME -->` and
`<!-- end -->`.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.docs.tables import FILES, TABLES

DOCS = Path(__file__).parents[2] / "docs"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str], docs: Path = DOCS) -> int:
    """Write the pages below `docs`, or with --check say which are not as they should be."""
    if unknown := set(arguments) - {"--check"}:
        print(f"unknown argument {', '.join(sorted(unknown))}: only --check is known", file=sys.stderr)
        return 2
    pages = {path: path.read_text("utf-8") for path in sorted(docs.rglob("*.md"))}
    pages |= {path: path.read_text("utf-8") for name in FILES if (path := docs / name).exists()}
    stale = [path for path, text in pages.items() if as_it_should_be(path, text) != text]
    if "--check" in arguments:
        for path in stale:
            print(f"docs/{path.relative_to(docs)} is out of date: run python -m deploy.docs.generate", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(as_it_should_be(path, pages[path]), "utf-8")
    return 0


def as_it_should_be(path: Path, text: str) -> str:
    """A file that is written whole, or a page with its tables."""
    return FILES[path.name]() if path.name in FILES else filled(text)


def filled(page: str) -> str:
    """A page with each of its tables as the code has it now. Raises KeyError for a table that nobody can write."""
    return TABLE.sub(lambda mark: f"{mark[1]}\n{TABLES[mark[2]]()}\n{mark[3]}", page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
