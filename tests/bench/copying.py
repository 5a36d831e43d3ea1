"""The yardstick: plain COPY of the same rows into a table that stays as it is, whatever becomes of ours.

Its ten columns and three indexes are those that `facts` had when the yardstick was made. Were it a copy of today's
table, whoever takes an index away would make COPY faster and look slower. It has one client, at the recorder's
priority, and so one core for itself and one for its session.
"""

import os
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import uvloop

from deploy.local.world import LocalWorld, connected
from services.runtime.niceness import give_way
from services.store.connect import Connection
from tests.bench.ground import SETTLE
from tests.bench.throughput import in_worker, worker

COPY_CHUNK = 5_000

TABLE = """
    CREATE TABLE bench_copy (
        shard smallint NOT NULL,
        position bigint NOT NULL,
        recorded_at timestamptz NOT NULL,
        occurred_at timestamptz NOT NULL,
        team_id text NOT NULL,
        source text NOT NULL,
        id text NOT NULL,
        type text NOT NULL,
        body bytea NOT NULL,
        leaf bytea NOT NULL,
        PRIMARY KEY (shard, position),
        UNIQUE (shard, team_id, source, id)
    );
    CREATE INDEX ON bench_copy (shard, team_id, position)
"""
USAGE = """
    SELECT shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf
    FROM facts WHERE type = 'usage.recorded.v1' ORDER BY recorded_at, shard, position LIMIT $1
"""

Rows = list[tuple[Any, ...]]


async def rows_of(owner: Connection, count: int) -> Rows:
    """The facts of usage in memory, in the order in which they were recorded."""
    return [tuple(row) for row in await owner.fetch(USAGE, count)]


async def copy(world: LocalWorld, rows: Rows) -> float:
    """Rows per second by plain COPY: one connection, 5,000 a transaction."""
    async with connected(world.database) as owner:
        await owner.execute(TABLE)
        await owner.execute(SETTLE)
        with worker() as copier:
            seconds: float = await in_worker(copier, copy_in_worker, world.database, rows)
        await owner.execute("DROP TABLE bench_copy")
    return len(rows) / seconds


def copy_in_worker(database: str, rows: Rows) -> float:
    """Seconds that it took, at the priority of a recorder: a session of its own, for the system may share out by them."""

    async def work() -> float:
        async with connected(database) as connection:
            began = perf_counter()
            for chunk in _chunks(rows):
                async with connection.transaction():
                    await connection.copy_records_to_table("bench_copy", records=chunk)
            return perf_counter() - began

    os.setsid()
    give_way()
    return uvloop.run(work())


def _chunks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), COPY_CHUNK):
        yield rows[start : start + COPY_CHUNK]
