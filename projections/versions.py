"""Names of projection tables: SQL is written for version 0 and can be pasted into psql after one replacement.

A projection's tables carry its version in their names (`balance_v1`). A changed shape is a new version, built beside
the old one by a replay. The number of the fold is part of each shape: other rows in equal tables are another version
too, and all projections follow from the one fold.

The views that a build reads (`balance_of_1a2b3c4d`) and the reader that fills what they show (`projector_of_1a2b3c4d`)
carry the shape of that build in their names. So two builds work side by side, each on versions of its own. `balance`
alone is for people: it shows what was switched to last.
"""

import re
from functools import cache
from hashlib import sha256
from importlib.resources import files

from projections import activity, usage
from projections.balance.fold import FOLD

# The tables of each projection.
TABLES = {
    "balance": ("balance", "lots", "balance_snapshots"),
    "activity": ("activity_rows", "activity_runs"),
    "usage": ("usage", "usage_attributes", "usage_counted"),
}
VIEWS = {"activity": activity.VIEW, "usage": usage.VIEW}  # whose rows are not a table's


def tables(name: str, version: int) -> str:
    """The DDL of a projection's tables."""
    return at_version(files("projections").joinpath(f"{name}.sql").read_text("utf-8"), version)


@cache
def at_version(sql: str, version: int | None) -> str:
    """The statement for the tables of one version; None means what is live of this build."""
    return sql.replace("_v0", of_build(SHAPE) if version is None else f"_v{version}")


def live(sql: str) -> str:
    """The statement for what is live of this build: its views, and its reader, which SQL calls `projector_v0`."""
    return at_version(sql, None)


def of_build(shape: str) -> str:
    """What the names of a build's views and of its projector end in."""
    return f"_of_{shape[:8]}"


@cache
def shape_of(name: str, fold: int = FOLD) -> str:
    """SHA-256 of what makes a projection: its fold, and its tables and view, comments and blanks aside.

    Another one means other tables, or other rows in them.
    """
    sql = re.sub(r"--.*", "", tables(name, 0) + VIEWS.get(name, ""))
    return sha256(f"fold {fold} {' '.join(sql.split())}".encode()).hexdigest()


def shape_of_all(fold: int = FOLD) -> str:
    """SHA-256 of the shapes of all projections: what tells a build's from another's."""
    return sha256("".join(shape_of(name, fold) for name in TABLES).encode()).hexdigest()


SHAPE = shape_of_all()
