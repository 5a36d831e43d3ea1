"""What a long log costs: the same backlog with a million facts stored, and the bytes that a fact takes."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import NamedTuple

import uvloop

from deploy.local.world import LocalWorld, connected
from schemas.catalog import load_catalog
from schemas.facts import NewFact, UsageRecorded
from schemas.pricing import CompiledCard, RateCards
from services.store.append import append_ready, make_ready
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.bench.throughput import in_worker, worker
from tests.bench.workload import BenchTeam, Use, new_id, uses

BATCH = 5_000

SIZES = """
    SELECT relname, pg_table_size(oid) AS rows_bytes, pg_indexes_size(oid) AS index_bytes
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY pg_total_relation_size(oid) DESC
"""


class Size(NamedTuple):
    """A table on the disk."""

    table: str
    rows_bytes: int
    index_bytes: int


async def fill(
    world: LocalWorld, teams: Sequence[BenchTeam], count: int, hot: BenchTeam, hot_count: int, *, ordered_ids: bool
) -> None:
    """Store so many facts of usage through the store's own append, with one process per core.

    Each process fills its own shards, so that they never wait for each other.
    """
    shares = os.cpu_count() or 1
    with ExitStack() as stack:
        await asyncio.gather(
            *(
                in_worker(
                    stack.enter_context(worker()), fill_in_worker, world.logins["recorder"], mine,
                    round(count * sum(len(team.members) for team in mine) / sum(len(team.members) for team in teams)),
                    [hot] if hot in mine else [], hot_count, "v7" if ordered_ids else "v4",
                )
                for share in range(shares)
                for mine in ([team for team in teams if shard_of(team.id) % shares == share],)
            )
        )  # fmt: skip


def fill_in_worker(
    database: str, teams: list[BenchTeam], count: int, hot: list[BenchTeam], hot_count: int, ids: str
) -> None:
    """A share of it."""

    async def work() -> None:
        async with connected(database) as connection:
            for whose, facts in ((teams, count), (hot, hot_count if hot else 0)):
                for start in range(0, facts, BATCH):
                    await _append(connection, whose, min(BATCH, facts - start), ordered_ids=ids == "v7")

    uvloop.run(work())


async def _append(connection: Connection, teams: Sequence[BenchTeam], count: int, *, ordered_ids: bool) -> None:
    random, now = Random(), datetime.now(UTC)
    facts = [
        make_ready(new_fact(use, new_id(random, now if ordered_ids else None), now + timedelta(microseconds=number)))
        for number, use in enumerate(uses(teams, count, random))
    ]
    async with connection.transaction():
        await append_ready(connection, facts)


def new_fact(use: Use, event_id: str, at: datetime) -> NewFact:
    """The fact that the recorder would make of it."""
    return NewFact(use.team.id, use.source, event_id, at, UsageRecorded(
        feature=use.feature, quantity=use.quantity, rate_card=1, member_id=use.member_id, attributes=use.attributes,
        credits=card().price(use.feature, Decimal(use.quantity), use.attributes),
    ))  # fmt: skip


@cache
def card() -> CompiledCard:
    """The catalog's, by which teams are charged now."""
    return RateCards([load_catalog().rate_card]).in_force(datetime.now(UTC))


async def sizes(owner: Connection) -> list[Size]:
    """Every table with its indexes, largest first."""
    return [Size(*row) for row in await owner.fetch(SIZES)]
