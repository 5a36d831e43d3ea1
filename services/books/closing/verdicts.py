"""What was checked when a month was closed, and the page that says what ties and what does not.

It says something of this time and of whoever made the folder, so no manifest names it.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from projections.books.month import MonthBooks
from projections.books.tables import FIGURES, figures_of
from schemas.money import major_units
from services.books.closing.month_folder import MonthFolder, write_text

SHOWN_MAX = 100  # of what one check finds
VERDICTS = {True: "ties", False: "does not tie", None: "not asked"}
STYLE = """
@page { size: auto; margin: 18mm 16mm; }
body { font: 10pt/1.45 system-ui, sans-serif; color: #111; max-width: 178mm; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; font-weight: 600; padding: 1.4em 0 .4em; }
th, td { padding: .25em .6em .25em 0; border-bottom: 1px solid #ccc; text-align: left; vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; } tr { break-inside: avoid; }
"""


class CloseCheck(NamedTuple):
    """One thing that was checked: what it says where it ties, and else what does not. `ties` is None: not asked."""

    name: str
    ties: bool | None
    what: str
    problems: Sequence[str] = ()


def all_tie(checks: Sequence[CloseCheck]) -> bool:
    """Nothing that was asked is wrong."""
    return all(check.ties is not False for check in checks)


def document_of(checks: Sequence[CloseCheck]) -> list[dict[str, Any]]:
    """The checks as JSON."""
    return [check._asdict() | {"problems": list(check.problems[:SHOWN_MAX])} for check in checks]


def write_verdicts(folder: Path, written: MonthFolder, checks: Sequence[CloseCheck]) -> None:
    """`checks.json` and `index.html`. Raises OSError."""
    write_text(folder / "checks.json", {"ok": all_tie(checks), "checks": document_of(checks)})
    write_text(folder / "index.html", _page(written, checks))


def _page(written: MonthFolder, checks: Sequence[CloseCheck]) -> str:
    month = written.books.month
    verdict = "Everything that was checked ties." if all_tie(checks) else "Something does not tie."
    title = f"Close of {month.name}"
    sealed = f"{len(written.statements):,} statements were sealed in it."
    about = f"{escape(month.zone)}. {verdict} {sealed} manifest.json names the files that follow from the log alone."
    parts = (f"<h1>{escape(title)}</h1>", f"<p>{about}</p>", _checks(checks), *_figures(written.books))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _checks(checks: Sequence[CloseCheck]) -> str:
    rows = "\n".join(
        f"<tr><td>{escape(check.name)}</td><td>{VERDICTS[check.ties]}</td><td>"
        + "<br>".join(map(escape, (check.what, *check.problems[:SHOWN_MAX])))
        + "</td></tr>"
        for check in checks
    )
    return f"<table><caption>What was checked</caption>\n{rows}\n</table>"


def _figures(books: MonthBooks) -> list[str]:
    tables = []
    for currency, balances in books.by_currency().items():
        figures = figures_of(balances)
        rows = "\n".join(
            f'<tr><td>{escape(label)}</td><td class="n">{major_units(figures[name], currency)}</td></tr>'
            for name, label in FIGURES.items()
        )
        tables.append(f"<table><caption>{escape(currency.upper())}</caption>\n{rows}\n</table>")
    return tables
