"""Readers of the log share the shards: each claims some, and keeps its place in fenced checkpoint rows.

A claim is a lease by the database's clock. Whoever finds one run out raises its epoch and goes on from the checkpoint;
the former owner's next move matches no row and ends as `Fenced`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import NamedTuple

from services.runtime.errors import Fenced
from services.runtime.settings import LEASE_SECONDS
from services.store.connect import Connection
from services.store.shards import SHARDS

MAKE_ROWS = """
    INSERT INTO checkpoints (reader, shard) SELECT $1, generate_series(0, $2 - 1) ON CONFLICT DO NOTHING
"""

HERE = """
    INSERT INTO readers (reader, owner, seen_at) VALUES ($1, $2, clock_timestamp())
    ON CONFLICT (reader, owner) DO UPDATE SET seen_at = excluded.seen_at
"""

FORGET = "DELETE FROM readers WHERE reader = $1 AND seen_at < clock_timestamp() - make_interval(secs => $2)"

# A fair share is all shards over the processes that live, rounded up.
SHARE = "SELECT ceil($2 / count(*)::numeric)::integer FROM readers WHERE reader = $1"

CLAIM = """
    WITH free AS (
        SELECT shard FROM checkpoints
        WHERE reader = $1 AND (owner = '' OR seen_at <= clock_timestamp() - make_interval(secs => $3))
        ORDER BY shard LIMIT $4 FOR UPDATE SKIP LOCKED
    )
    UPDATE checkpoints SET owner = $2, epoch = epoch + 1, seen_at = clock_timestamp()
    FROM free WHERE checkpoints.reader = $1 AND checkpoints.shard = free.shard
    RETURNING checkpoints.shard, checkpoints.epoch, checkpoints.position
"""

TAKE = """
    UPDATE checkpoints SET owner = $2, epoch = epoch + 1, seen_at = clock_timestamp()
    WHERE reader = $1 AND shard = ANY($3) RETURNING shard, epoch, position
"""

RENEW = """
    UPDATE checkpoints c SET seen_at = clock_timestamp()
    FROM unnest($3::smallint[], $4::bigint[]) AS held (shard, epoch)
    WHERE c.reader = $1 AND c.owner = $2 AND c.shard = held.shard AND c.epoch = held.epoch RETURNING c.shard
"""

RELEASE = "UPDATE checkpoints SET owner = '' WHERE reader = $1 AND owner = $2 AND shard = ANY($3)"

# All of the shards or none: what is written in the same statement asks `fence` whether it may be.
FENCED = """
    step AS (
        SELECT * FROM unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS s (shard, epoch, seen, position)
    ), mine AS (
        SELECT c.shard FROM checkpoints c JOIN step s USING (shard)
        WHERE c.reader = $1 AND c.epoch = s.epoch AND c.position = s.seen
        ORDER BY c.shard FOR UPDATE OF c
    ), fence AS (
        SELECT (SELECT count(*) FROM mine) = (SELECT count(*) FROM step) AS is_ours
    ), moved AS (
        UPDATE checkpoints c SET position = s.position, seen_at = clock_timestamp()
        FROM step s JOIN mine USING (shard)
        WHERE c.reader = $1 AND c.shard = s.shard AND (SELECT is_ours FROM fence)
    )
"""
MISSING = "SELECT (SELECT count(*) FROM step) - (SELECT count(*) FROM mine)"
FENCED_PARAMETERS = 5

IS_OURS = "(SELECT is_ours FROM fence)"


class Part(NamedTuple):
    """What is written together with a move of the checkpoints: a statement and its arguments.

    It names the condition `IS_OURS`, and it counts its parameters from $1.
    """

    sql: str
    arguments: Sequence[object]


def columns(rows: Sequence[Sequence[object]], count: int) -> list[list[object]]:
    """Rows as `unnest` takes them; empty columns where there are none."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(count)]


def in_braces(values: Iterable[object]) -> str:
    """An array as text, where each row has one of its own: `unnest` would take them all for one. None has a comma."""
    return "{" + ",".join(map(str, values)) + "}"


def renumbered(sql: str, before: int) -> str:
    """A statement whose parameters are numbered after so many of others."""
    return re.sub(r"\$(\d+)", lambda mark: f"${int(mark[1]) + before}", sql)


@cache
def _together(parts: tuple[tuple[str, int], ...]) -> str:
    """One statement of several, each given with how many parameters it has."""
    texts, before = [FENCED], FENCED_PARAMETERS
    for number, (sql, parameters) in enumerate(parts):
        texts.append(f"part_{number} AS ({renumbered(sql, before)})")
        before += parameters
    return f"WITH {', '.join(texts)} {MISSING}"


@dataclass(slots=True)
class Claims:
    """The shards that this process reads, with the epoch of each claim and the position reached."""

    reader: str
    owner: str
    lease_seconds: float = LEASE_SECONDS
    epochs: dict[int, int] = field(default_factory=dict)
    positions: dict[int, int] = field(default_factory=dict)

    @property
    def renew_seconds(self) -> float:
        """How often to `join`: three renewals may fail before the lease runs out."""
        return self.lease_seconds / 4

    async def join(self, connection: Connection) -> bool:
        """Renew what is held, drop what was lost, and take a fair share of what is free; True if anything changed."""
        await self.make_rows(connection)
        renewed = await connection.fetch(RENEW, self.reader, self.owner, list(self.epochs), list(self.epochs.values()))
        held = {row["shard"] for row in renewed}
        lost = set(self.epochs) - held
        self._drop(lost)
        await connection.execute(HERE, self.reader, self.owner)
        await connection.execute(FORGET, self.reader, self.lease_seconds)
        share = await connection.fetchval(SHARE, self.reader, SHARDS)
        if too_many := sorted(self.epochs)[share:]:
            await self._release(connection, too_many)
        claimed = await connection.fetch(
            CLAIM, self.reader, self.owner, self.lease_seconds, max(0, share - len(self.epochs))
        )
        for shard, epoch, position in claimed:
            self.epochs[shard], self.positions[shard] = epoch, position
        return bool(lost or too_many or claimed)

    async def make_rows(self, connection: Connection) -> None:
        """A checkpoint at the beginning of each shard, where the reader has none."""
        await connection.execute(MAKE_ROWS, self.reader, SHARDS)

    async def take(self, connection: Connection, shards: list[int]) -> None:
        """Take exactly these shards, whoever had them: a rebuild shares them out by itself.

        Raises:
            Fenced: the reader's checkpoints are gone: another process has finished its work, or given it up.
        """
        rows = await connection.fetch(TAKE, self.reader, self.owner, shards)
        if len(rows) != len(shards):
            raise Fenced(f"{self.reader}: another process has finished it, or given it up")
        for shard, epoch, position in rows:
            self.epochs[shard], self.positions[shard] = epoch, position

    async def leave(self, connection: Connection) -> None:
        """Give everything back, so that others need not wait for the lease."""
        await self._release(connection, list(self.epochs))
        await connection.execute("DELETE FROM readers WHERE reader = $1 AND owner = $2", self.reader, self.owner)

    async def _release(self, connection: Connection, shards: list[int]) -> None:
        await connection.execute(RELEASE, self.reader, self.owner, shards)
        self._drop(set(shards))

    def _drop(self, shards: set[int]) -> None:
        for shard in shards:
            del self.epochs[shard], self.positions[shard]

    async def lock_and_move(
        self, connection: Connection, reached: Mapping[int, int], parts: Sequence[Part] = ()
    ) -> None:
        """Move the checkpoints and write `parts`, in one statement; call `moved` after COMMIT.

        Without a transaction of the caller's, the statement is its own.

        Raises:
            Fenced: a shard has another owner, or its checkpoint stands elsewhere. Nothing was moved or written.
        """
        shards = list(reached)
        missing = await connection.fetchval(
            _together(tuple((part.sql, len(part.arguments)) for part in parts)),
            self.reader, shards, [self.epochs[s] for s in shards], [self.positions[s] for s in shards],
            list(reached.values()), *chain.from_iterable(part.arguments for part in parts),
        )  # fmt: skip
        if missing:
            raise Fenced(f"{self.reader}: another process owns {missing} of {len(shards)} shards")

    def moved(self, reached: Mapping[int, int]) -> None:
        """The transaction is committed."""
        self.positions.update(reached)
