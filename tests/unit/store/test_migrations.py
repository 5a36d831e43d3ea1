"""Migrations only add, and none keeps anybody from appending: the build before goes on beside them."""

import re
from pathlib import Path

import pytest

from services.store.schema_check import migrations

FIRST = next(iter(migrations()))
TAKES_AWAY = re.compile(
    r"\b(DROP|RENAME|SET NOT NULL|TRUNCATE|DELETE FROM)\b|\bALTER (COLUMN )?\w+ (SET DATA )?TYPE\b", re.IGNORECASE
)
COMMENT = re.compile(r"--.*")
INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX\s+(?:IF NOT EXISTS )?\w+ ON (\w+)", re.IGNORECASE)
TABLE = re.compile(r"CREATE TABLE\s+(?:IF NOT EXISTS )?(\w+)", re.IGNORECASE)


def takes_away(sql: str) -> bool:
    """Whether the build before would miss something."""
    return TAKES_AWAY.search(COMMENT.sub("", sql)) is not None


def indexed_while_in_use(sql: str) -> set[str]:
    """Tables that get an index and that the migration has not made itself: nobody could write there meanwhile."""
    plain = COMMENT.sub("", sql)
    return set(INDEX.findall(plain)) - set(TABLE.findall(plain))


@pytest.mark.parametrize("name", migrations())
def test_a_migration_takes_nothing_away_and_builds_no_index_on_a_table_in_use(name: str) -> None:
    sql = migrations()[name]

    assert name == FIRST or not takes_away(sql)
    assert not indexed_while_in_use(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE teams DROP COLUMN zone", "ALTER TABLE teams RENAME COLUMN zone TO timezone",
        "ALTER TABLE teams ALTER COLUMN plan SET NOT NULL", "ALTER TABLE teams ALTER cycle TYPE bigint",
        "DROP TABLE halted", "DELETE FROM repeats",
    ],
)  # fmt: skip
def test_what_the_build_before_would_miss_is_found(sql: str) -> None:
    assert takes_away(sql)


def test_what_only_adds_is_let_through() -> None:
    assert not takes_away("CREATE TABLE new (a int); ALTER TABLE teams ADD COLUMN note text; -- no DROP")
    assert not indexed_while_in_use("CREATE TABLE new (a int); CREATE UNIQUE INDEX new_a ON new (a)")


def test_of_each_table_docs_sizing_says_what_it_grows_by() -> None:
    page = (Path(__file__).parents[3] / "docs" / "sizing.md").read_text("utf-8")
    tables = {table for sql in migrations().values() for table in TABLE.findall(COMMENT.sub("", sql))}
    named = {name for row in page.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)}

    assert tables - named == set()
    assert len(tables) > 20


def test_an_index_on_the_log_is_found() -> None:
    assert indexed_while_in_use("CREATE INDEX IF NOT EXISTS facts_by_time ON facts (recorded_at)") == {"facts"}
