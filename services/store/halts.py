"""Work that goes wrong for one team halts that team, and no other.

Whoever works for many teams puts a guard around what it does for each. What the guard catches is our mistake, or a row
that this build can't read: the team is left alone for a while and tried again, for a newer build or a mended row may be
what it waits for. Meanwhile it is named in health, in the log, and in a table that operators read (`creditwell halted
list`). What concerns everybody (the database is away, a right or a table is missing) is raised, as ever.
"""

import traceback
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from services.runtime.health import Health
from services.runtime.logs import get_log
from services.store.connect import RETRYABLE, Connection

AGAIN_SECONDS = 60.0
WHY_LENGTH_MAX = 500

# Nobody's row is wrong when a table, a column or a right is missing.
EVERYBODYS: tuple[type[Exception], ...] = (*RETRYABLE, asyncpg.SyntaxOrAccessError)

HALT = """
    INSERT INTO halted (work, name, shard, position, why) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (work, name) DO UPDATE
    SET shard = excluded.shard, position = excluded.position, why = excluded.why, tried_at = excluded.tried_at
"""
GO_ON = "DELETE FROM halted WHERE work = $1 AND name = ANY($2)"
HALTED = "SELECT name, shard, why FROM halted WHERE work = $1 AND ($2::smallint[] IS NULL OR shard = ANY($2))"


@dataclass(slots=True)
class Halts:
    """The teams (or shards, or Stripe's events) for which one kind of work is halted.

    Attributes:
        work: as the table names it; another build that works beside this one has a name, and so rows, of its own.
        health: of this process.
        again_at: the time of the next try, by name.
    """

    work: str
    health: Health
    again_at: dict[str, float] = field(default_factory=dict)

    async def begin(self, connection: Connection, shards: Collection[int] | None = None) -> dict[str, int | None]:
        """Take over what an earlier process had halted (of these shards), to try it at once: name and shard of each."""
        rows = await connection.fetch(HALTED, self.work, None if shards is None else list(shards))
        for row in rows:
            self.again_at.setdefault(row["name"], self.health.now())
            self.health.halt(self.work, row["name"], row["why"])
        return {row["name"]: row["shard"] for row in rows}

    def leave(self, names: Collection[str]) -> None:
        """These are another process's to try."""
        for name in names:
            self.again_at.pop(name, None)
            self.health.go_on(self.work, name)

    def waiting(self) -> list[str]:
        """Whom to leave alone now."""
        now = self.health.now()
        return [name for name, again_at in self.again_at.items() if again_at > now]

    def due(self) -> list[str]:
        """Who is halted and is to be tried again now, or may have nothing left to be tried for."""
        now = self.health.now()
        return [name for name, again_at in self.again_at.items() if again_at <= now]

    @asynccontextmanager
    async def guard(self, connection: Connection, name: str) -> AsyncIterator[None]:
        """Halt `name` if what is done inside goes wrong, let it go on if not. Outside of any transaction."""
        try:
            yield
        except EVERYBODYS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one team's
            await self.halt(connection, name, error)
        else:
            await self.go_on(connection, [name])

    async def halt(
        self,
        connection: Connection,
        name: str,
        error: Exception,
        *,
        shard: int | None = None,
        position: int | None = None,
    ) -> None:
        """Leave it alone for a while, and say so."""
        why = "; ".join(f"{type(one).__name__}: {one}" for one in (error, error.__cause__) if one is not None)
        why = why.encode("utf-8", "backslashreplace").decode().replace("\0", "")[:WHY_LENGTH_MAX]
        if name not in self.again_at:
            get_log().error(
                "halted; all others go on", work=self.work, name=name, shard=shard, position=position, why=why,
                where=_where(error.__cause__ or error),
            )  # fmt: skip
        self.again_at[name] = self.health.now() + AGAIN_SECONDS
        self.health.halt(self.work, name, why)
        await connection.execute(HALT, self.work, name, shard, position, why)

    async def go_on(self, connection: Connection, names: Collection[str]) -> None:
        """These went well; those that were halted are not any more."""
        mended = [name for name in names if name in self.again_at]
        if not mended:
            return
        await connection.execute(GO_ON, self.work, mended)
        for name in mended:
            del self.again_at[name]
            self.health.go_on(self.work, name)
            get_log().info("goes on", work=self.work, name=name)

    async def settle(self, connection: Connection, due: Collection[str]) -> None:
        """After a look: who was to be tried again and is not due any more has nothing left to be halted for."""
        waiting = {*self.waiting(), *due}
        await self.go_on(connection, [name for name in self.again_at if name not in waiting])


def _where(error: BaseException) -> str | None:
    """File and line from which it was raised; a whole traceback belongs to a process that ends."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
