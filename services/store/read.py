"""Reading the log: one way for projector, relay, replay, verifier and CLI.

Positions are gapless and in commit order, so a reader that has seen n never meets n − 1 later. It checks that,
too: a gap means that somebody removed a fact, and nothing may be read past it.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from schemas.facts import Stored
from services.runtime.errors import LogChanged
from services.store.connect import Connection
from services.store.copying import instant
from services.store.protocols import Reads

# What every statement selects that gives facts: the fields of `Stored`, which are columns of `facts`.
FACT_COLUMNS = ", ".join(Stored._fields)
# The fact in such a row. It is called for every fact that is read, so no function of ours stands around it.
stored_of: Callable[[Iterable[Any]], Stored] = Stored._make

RawFact = asyncpg.Record  # with RAW_COLUMNS

READ_AFTER = f"""
    SELECT f.* FROM unnest($1::smallint[], $2::bigint[]) AS seen (shard, position)
    CROSS JOIN LATERAL (
        SELECT {FACT_COLUMNS} FROM facts WHERE facts.shard = seen.shard AND facts.position > seen.position
        ORDER BY facts.position LIMIT $3
    ) AS f
"""

# What a fold needs of facts that come by the million: their times are left as PostgreSQL sends them, and go on so. Who
# reported a usage, and under which id, changes no balance.
RAW_COLUMNS = """shard, position, team_id, type, body, timestamptz_send(recorded_at) AS recorded_at,
           timestamptz_send(occurred_at) AS occurred_at, CASE WHEN type <> 'usage.recorded.v1' THEN source END AS source,
           CASE WHEN type <> 'usage.recorded.v1' THEN id END AS id"""

READ_RAW_AFTER = f"""
    SELECT f.* FROM unnest($1::smallint[], $2::bigint[]) AS seen (shard, position)
    CROSS JOIN LATERAL (
        SELECT {RAW_COLUMNS} FROM facts WHERE facts.shard = seen.shard AND facts.position > seen.position
        ORDER BY facts.position LIMIT $3
    ) AS f
"""

# Of each shard that has grown, and how many are missing there: one half of so many facts is shared out equally, so
# that a shard far behind keeps nobody waiting, the other by what is missing, so that all of a backlog ends at once.
READ_RAW_NEW = f"""
    SELECT f.*, behind.missing
    FROM (
        SELECT h.shard, seen.position, h.next - 1 - seen.position AS missing,
               0.5 / count(*) OVER () AS equal_share,
               0.5 * (h.next - 1 - seen.position) / sum(h.next - 1 - seen.position) OVER () AS own_share
        FROM unnest($1::smallint[], $2::bigint[]) AS seen (shard, position)
        JOIN shard_heads h ON h.shard = seen.shard AND h.next - 1 > seen.position
    ) AS behind
    CROSS JOIN LATERAL (
        SELECT {RAW_COLUMNS} FROM facts WHERE facts.shard = behind.shard AND facts.position > behind.position
        ORDER BY facts.position LIMIT greatest(1, ($3::bigint * (behind.equal_share + behind.own_share))::bigint)
    ) AS f
    ORDER BY f.shard, f.position
"""

# Of each shard up to so many facts, and of those as many as fit into so many bytes, at least one.
READ_ROUND = f"""
    SELECT {", ".join(f"f.{column}" for column in Stored._fields)}
    FROM unnest($1::smallint[], $2::bigint[], $3::integer[]) AS seen (shard, position, most)
    CROSS JOIN LATERAL (
        SELECT next.*, sum(octet_length(next.body)) OVER (ORDER BY next.position) - octet_length(next.body) AS bytes_before
        FROM (
            SELECT {FACT_COLUMNS} FROM facts WHERE facts.shard = seen.shard AND facts.position > seen.position
            ORDER BY facts.position LIMIT seen.most
        ) AS next
    ) AS f
    WHERE f.bytes_before < $4
    ORDER BY f.shard, f.position
"""

READ_TEAM = f"""
    SELECT {FACT_COLUMNS}
    FROM facts WHERE shard = $1 AND team_id = $2 AND position > $3 ORDER BY position LIMIT $4
"""

HEADS = "SELECT shard, next - 1 AS position FROM shard_heads ORDER BY shard"
HEAD = "SELECT next - 1 AS position FROM shard_heads WHERE shard = $1"


async def heads(connection: Connection) -> dict[int, int]:
    """The last position of every shard, 0 where there is none."""
    return {row["shard"]: row["position"] for row in await connection.fetch(HEADS)}


async def head_of(connection: Reads, shard: int) -> int:
    """The last position of one shard."""
    row = await connection.fetchrow(HEAD, shard)
    assert row is not None, f"there is no shard {shard}"
    position: int = row["position"]
    return position


async def read_after(
    connection: Connection, positions: Mapping[int, int], limit_per_shard: int
) -> dict[int, list[Stored]]:
    """The next facts of each shard after the positions seen, in order.

    Raises:
        LogChanged: a position is missing.
    """
    rows = await connection.fetch(READ_AFTER, list(positions), list(positions.values()), limit_per_shard)
    return _by_shard(map(stored_of, rows), positions)


async def read_raw_after(
    connection: Connection, positions: Mapping[int, int], limit_per_shard: int
) -> dict[int, Sequence[RawFact]]:
    """As `read_after`, for a fold: see `RAW_COLUMNS`.

    Raises:
        LogChanged: a position is missing.
    """
    rows = await connection.fetch(READ_RAW_AFTER, list(positions), list(positions.values()), limit_per_shard)
    return _cut_by_shard(rows, positions)


async def read_raw_new(
    connection: Connection, positions: Mapping[int, int], most: int
) -> tuple[dict[int, Sequence[RawFact]], int]:
    """The next facts of the shards that have grown beyond the positions seen, some `most` in all, for a fold.

    And how many there are in all.

    Raises:
        LogChanged: a position is missing.
    """
    rows = await connection.fetch(READ_RAW_NEW, list(positions), list(positions.values()), most)
    facts = _cut_by_shard(rows, positions)
    return facts, sum(read[-1]["missing"] for read in facts.values())


def stored_of_raw(row: RawFact) -> Stored:
    """The fact in such a row, a usage without its source and its id."""
    return Stored(
        row["shard"], row["position"], instant(row["recorded_at"]), instant(row["occurred_at"]), row["team_id"],
        row["source"] or "", row["id"] or "", row["type"], row["body"],
    )  # fmt: skip


async def read_round(
    connection: Connection, positions: Mapping[int, int], most: Mapping[int, int], bytes_per_shard: int
) -> dict[int, list[Stored]]:
    """As `read_after`, with a number of facts for each shard, and a bound on the bytes of their bodies.

    Raises:
        LogChanged: a position is missing.
    """
    rows = await connection.fetch(
        READ_ROUND, list(positions), list(positions.values()), [most[shard] for shard in positions], bytes_per_shard
    )
    return _by_shard(map(stored_of, rows), positions)


def _by_shard(stored_in_order: Iterable[Stored], positions: Mapping[int, int]) -> dict[int, list[Stored]]:
    facts: dict[int, list[Stored]] = {}
    for stored in stored_in_order:
        facts.setdefault(stored.shard, []).append(stored)
    for shard, read in facts.items():
        _check_gapless(positions[shard], read)
    return facts


def _cut_by_shard(rows: Sequence[RawFact], positions: Mapping[int, int]) -> dict[int, Sequence[RawFact]]:
    """Rows of one shard stand together, in the order of their positions."""
    facts, start = dict[int, Sequence[RawFact]](), 0
    while start < len(rows):
        shard = rows[start]["shard"]
        stop = bisect_left(rows, True, start, key=lambda row: row[0] != shard)
        read = facts[shard] = rows[start:stop]
        if read[-1]["position"] != positions[shard] + len(read):
            _check_gapless(positions[shard], list(map(stored_of_raw, read)))
        start = stop
    return facts


def _check_gapless(position: int, read: list[Stored]) -> None:
    if read[-1].position == position + len(read):
        return
    for expected, stored in enumerate(read, position + 1):
        if stored.position != expected:
            message = f"shard {stored.shard} has no position {expected}: a fact was removed; run `creditwell verify`"
            raise LogChanged(message)


async def read_team(connection: Connection, shard: int, team_id: str, after: int, limit: int) -> list[Stored]:
    """A team's own facts after a position, in order."""
    return [stored_of(row) for row in await connection.fetch(READ_TEAM, shard, team_id, after, limit)]


async def follow(
    connection: Connection, shard: int, *, after: int = 0, page: int = 5_000
) -> AsyncIterator[list[Stored]]:
    """All facts of a shard after a position, page by page, up to the head of now."""
    while facts := (await read_after(connection, {shard: after}, page)).get(shard):
        yield facts
        after = facts[-1].position
