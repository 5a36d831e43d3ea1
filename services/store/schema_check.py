"""Whether a database has the shape that this build reads and writes: every process asks when it connects.

So what is wrong is said at once and in full, and not by the first statement that misses a column. Migrations that this build does
not know are none of its business: a newer build has migrated, and ours goes on until it is replaced.
"""

from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

import asyncpg

from projections.versions import shape_of
from services.runtime.errors import Refused

if TYPE_CHECKING:
    from services.store.protocols import Reads

APPLIED = "SELECT name, sha256 FROM migrations"
MADE = "SELECT name, sha256 FROM projections ORDER BY name"


async def check_shape(database: "Reads", *, projections: bool = True) -> None:
    """Refuse a database that another build made; `projections` for whoever reads them.

    Raises:
        Refused: `migrations_missing`, `migration_changed` or `projection_changed`, with what to do.
    """
    try:
        applied = {row["name"]: row["sha256"] for row in await database.fetch(APPLIED)}
    except asyncpg.UndefinedTableError:
        applied = {}
    for name, sql in migrations().items():
        check_unchanged(name, sql, applied)
    if missing := sorted(migrations().keys() - applied.keys()):
        lacks = f"lacks {', '.join(missing)}" if applied else "was never migrated"
        raise Refused("migrations_missing", f"the database {lacks}: run `creditwell migrate`")
    if not projections:
        return
    made = await database.fetch(MADE)
    if changed := [row["name"] for row in made if row["sha256"] != shape_of(row["name"])]:
        which = changed[0] if len(changed) == 1 else "all"
        raise Refused(
            "projection_changed",
            f"another build made the tables of {', '.join(changed)}: run `creditwell rebuild {which}`",
        )


def migrations() -> dict[str, str]:
    """The migrations of this build, by name."""
    folder = files("services.store").joinpath("migrations")
    return {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}


def digest(sql: str) -> str:
    """By what a migration is known again."""
    return sha256(sql.encode()).hexdigest()


def check_unchanged(name: str, sql: str, applied: Mapping[str, str]) -> None:
    """Refuse a migration that was applied with other contents."""
    if applied.get(name, digest(sql)) != digest(sql):
        raise Refused(
            "migration_changed",
            f"{name} was applied with other contents, by another build: go on with that build, or begin with a new database "
            "(a file that was applied is never edited; add a new one)",
        )
