"""The views of the schema `analytics`: what analysts read, in words and units of theirs.

Each SQL file here has the views of a subject. The sentence above a view is its comment, the one behind a column is the
column's: so the database, docs/analytics.md and dbt all say the same.

In the SQL, `:activity`, `:balance`, `:lots` and `:usage` are the rows of the live version of a projection, and
`:projector` is the reader that stands at them. `:activity_rows` and `:activity_runs` are the tables behind the first,
`:run_span` is how far a run reaches. `:sales` are the payments that brought credits, `:priced` the headings and units
of features, `:minor_units` how many of them a unit of `currency` has. `:counted` is usage by day as `usage_days` has
it, with the rest of the log, which is `:not_counted`. All of it is plain SQL after that. `OFFSET 0` has a body parsed
once for a row, however many of its members are asked for, and not at all where none is.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from projections.activity import RUN_SPAN_MAX
from projections.versions import VIEWS, at_version, live
from schemas.money import THOUSANDTHS, WHOLE

FILES = ("usage", "credits", "teams", "money")
ROWS_OF = {
    "activity": "activity",
    "activity_rows": "activity",
    "activity_runs": "activity",
    "balance": "balance",
    "lots": "balance",
    "usage": "usage",
    "usage_attributes": "usage",
}  # and whose version it has
VIEW = re.compile(r"^-- (.+)\n(CREATE VIEW analytics\.(\w+) AS\n(?:.*\n)*?.*);$", re.MULTILINE)
COLUMN = re.compile(r"^    .*?(\w+),? -- (.+)$", re.MULTILINE)


class ViewColumn(NamedTuple):
    """A column of a view and what it says."""

    name: str
    meaning: str


class View(NamedTuple):
    """A view for analysts; `sql` is written for no version yet."""

    name: str
    meaning: str
    columns: tuple[ViewColumn, ...]
    sql: str


@cache
def views() -> tuple[View, ...]:
    """Every view, in an order in which they can be made."""
    return tuple(view for file in FILES for view in _views_in(_sql(file)))


def _sql(file: str) -> str:
    return files("projections.analytics").joinpath(f"{file}.sql").read_text("utf-8")


def _views_in(text: str) -> Iterator[View]:
    for meaning, sql, name in VIEW.findall(text):
        yield View(name, meaning, tuple(ViewColumn(*column) for column in COLUMN.findall(sql)), sql)


def view_sql(view: View, versions: Mapping[str, int], shard_of_rate_cards: int) -> str:
    """The statement that makes a view over these live versions."""
    rows = {
        name: f"({at_version(VIEWS[name], versions[of])})" if name in VIEWS else f"{name}_v{versions[of]}"
        for name, of in ROWS_OF.items()
    }
    meanings = {
        **rows, "sales": f"({_no_view('sales')})", "usage_table": f"usage_v{versions['usage']}",
        "minor_units": _minor_units(), "projector": live("'projector_v0'"), "rate_card_shard": str(shard_of_rate_cards),
        "run_span": str(RUN_SPAN_MAX),
    }  # fmt: skip
    for query in ("priced", "not_counted", "counted"):
        meanings[query] = _filled(_no_view(query), meanings)
    return _filled(view.sql, meanings)


def _filled(sql: str, meanings: Mapping[str, str]) -> str:
    return re.sub(r"(?<!:):([a-z_]+)\b", lambda name: meanings[name[1]], sql)


def _no_view(file: str) -> str:
    """A query that views have in common, without the comment above it."""
    return re.sub(r"^--.*\n", "", _sql(file), flags=re.MULTILINE)


def _minor_units() -> str:
    whole, thousandths = (", ".join(f"'{one}'" for one in sorted(some)) for some in (WHOLE, THOUSANDTHS))
    return f"CASE WHEN currency IN ({whole}) THEN 1 WHEN currency IN ({thousandths}) THEN 1000 ELSE 100 END::numeric"
