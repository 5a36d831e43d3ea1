"""Whether a database has the shape that this build reads and writes: every process asks when it connects.

So what is wrong is said at once and in full, and not by the first statement that misses a column. What a newer build
has added is none of our business: ours goes on until it is replaced. A newer build adds migrations of higher numbers
and other texts of functions. A strange migration under a number of ours is of another history: nothing leads from there
to ours.
"""

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from projections.versions import SHAPE
from services.runtime.errors import Refused, Unavailable

if TYPE_CHECKING:
    from services.store.protocols import Reads

APPLIED = "SELECT name, sha256 FROM migrations"
LIVE = "SELECT count(*) AS live FROM projections WHERE sha256 = $1 AND switched_at IS NOT NULL"


async def check_shape(database: "Reads", *, projections: bool = True) -> None:
    """Refuse a database that another build made; `projections` for whoever reads them.

    Raises:
        Refused: `migrations_missing`, `migrations_replaced` or `migration_changed`; the detail says what to do.
        Unavailable: this build's projections are not live yet (`projections_not_there`).
    """
    try:
        applied = {row["name"]: row["sha256"] for row in await database.fetch(APPLIED)}
    except asyncpg.UndefinedTableError:
        applied = {}
    check_same_history(applied)
    if missing := [name for name in migrations() | functions() if name not in applied]:
        lacks = f"lacks {', '.join(missing)}" if applied else "was never migrated"
        raise Refused("migrations_missing", f"the database {lacks}: run `creditwell migrate`")
    if not projections:
        return
    row = await database.fetchrow(LIVE, SHAPE)
    if row is None or not row["live"]:
        raise Unavailable(
            "the projections of this build are not there yet: its projector makes them, beside those of the build "
            "before; `creditwell rebuild all` does so on every core",
            code="projections_not_there",
        )


def migrations() -> dict[str, str]:
    """The migrations of this build by name, in their order."""
    return _sql_files("migrations")


def functions() -> dict[str, str]:
    """The SQL functions of this build by name. Their files may change, so the name tells which text it is."""
    return {f"functions/{name}@{digest(sql)[:12]}": sql for name, sql in _sql_files("functions").items()}


def _sql_files(folder: str) -> dict[str, str]:
    entries = files("services.store").joinpath(folder).iterdir()
    sql = {file.name: file.read_text("utf-8") for file in entries if file.name.endswith(".sql")}
    return dict(sorted(sql.items()))


def digest(sql: str) -> str:
    """By what a file is known again."""
    return sha256(sql.encode()).hexdigest()


def check_same_history(applied: Mapping[str, str]) -> None:
    """Refuse a database whose migrations, by name, are others than ours or were applied with other contents.

    Raises:
        Refused: `migrations_replaced` or `migration_changed`; the sentence says what to do.
    """
    ours = migrations()
    by_number = {_number(name): name for name in ours}
    for other in sorted(applied.keys() - ours.keys()):
        if _number(other) in by_number:
            raise Refused(
                "migrations_replaced",
                f"an earlier build made the database, with {other} where this one has {by_number[_number(other)]}: "
                "go on with that build, or begin with a new database",
            )
    for name, sql in ours.items():
        if applied.get(name, digest(sql)) != digest(sql):
            raise Refused(
                "migration_changed",
                f"{name} was applied with other contents, by another build: go on with that build, or begin with a new "
                "database (a file that was applied is never edited; add a new one)",
            )


def _number(migration: str) -> str:
    return migration.partition("_")[0]
