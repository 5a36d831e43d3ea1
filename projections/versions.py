"""Names of projection tables: SQL is written for version 0 and can be pasted into psql after one replacement.

A projection's tables carry its version in their names (`balance_v1`). A changed shape is a new version, built beside the old one
by a replay.
"""

from functools import cache
from importlib.resources import files


@cache
def at_version(sql: str, version: int | None) -> str:
    """The statement for the tables of one version; None means the views, which show what is live."""
    return sql.replace("_v0", "" if version is None else f"_v{version}")


def tables(name: str, version: int) -> str:
    """The DDL of a projection's tables."""
    return at_version(files("projections").joinpath(f"{name}.sql").read_text("utf-8"), version)
