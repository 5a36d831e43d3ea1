"""What functions ask of a connection, so that a pool's and a plain one both serve."""

from typing import Protocol

import asyncpg


class Reads(Protocol):
    """What reading needs of a connection: a transaction's own, or one that sees a team for a statement at a time."""

    async def fetch(self, query: str, /, *args: object) -> "list[asyncpg.Record]":
        """All rows."""

    async def fetchrow(self, query: str, /, *args: object) -> "asyncpg.Record | None":
        """The first row, if there is one."""
