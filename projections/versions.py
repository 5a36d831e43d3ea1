"""Names of projection tables: SQL is written for version 0 and can be pasted into psql after one replacement.

A projection's tables carry its version in their names (`balance_v1`). A changed shape is a new version, built beside
the old one by a replay. The number of the fold is part of each shape: other rows in equal tables are another version
too, and all projections follow from the one fold.
"""

import re
from functools import cache
from hashlib import sha256
from importlib.resources import files

from projections import activity, usage
from projections.balance.fold import FOLD

VIEWS = {"activity": activity.VIEW, "usage": usage.VIEW}  # whose rows are not a table's


@cache
def at_version(sql: str, version: int | None) -> str:
    """The statement for the tables of one version; None means the views, which show what is live."""
    return sql.replace("_v0", "" if version is None else f"_v{version}")


def tables(name: str, version: int) -> str:
    """The DDL of a projection's tables."""
    return at_version(files("projections").joinpath(f"{name}.sql").read_text("utf-8"), version)


@cache
def shape_of(name: str, fold: int = FOLD) -> str:
    """SHA-256 of what makes a projection: its fold, and its tables and view, comments and blanks aside.

    Another one means other tables, or other rows in them.
    """
    sql = re.sub(r"--.*", "", tables(name, 0) + VIEWS.get(name, ""))
    return sha256(f"fold {fold} {' '.join(sql.split())}".encode()).hexdigest()


def shape_of_all(names: tuple[str, ...]) -> str:
    """SHA-256 of the shapes of several projections."""
    return sha256("".join(map(shape_of, names)).encode()).hexdigest()
