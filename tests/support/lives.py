"""A store that goes back in time, for tests: what it publishes, and a copy of it that is the store from then on."""

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer

from deploy.local.stack import Stack
from schemas.facts import Stored
from schemas.topics import EVENTS
from services.credits.rate_cards import load_rate_cards
from services.publishing.batches import Origin, cloud_event, route
from services.publishing.beyond import keep_offsets, read_ends
from services.runtime.settings import Settings
from services.store.append import append_ready
from services.store.connect import Connection
from services.store.lives import LOG
from services.store.read import heads, read_after
from services.usage.door import ParsedUsage, StoredContext, judge, parse
from tests.conftest import url_of
from tests.support.serving import connected
from tests.support.usage import reported, structured
from tests.support.world import ServiceWorld

# The copy is what a standby is after its promotion: the same system, on another timeline, started at another time.
PROMOTED = """
    UPDATE store_lives SET database = (SELECT oid FROM pg_database WHERE datname = current_database()),
                           timeline = '00000000', started_at = started_at - interval '1 hour'
"""
LOOKED_AT = """
    UPDATE store_lives SET timeline = here.timeline, started_at = here.started_at FROM this_life() AS here
"""
RESTARTED = "UPDATE store_lives SET started_at = started_at - interval '1 hour'"


@asynccontextmanager
async def gone_back(stack: Stack, database: str, *, life: str = PROMOTED) -> AsyncIterator[str]:
    """The store as it is now, as it will be found later. Nobody may be connected to it at this moment."""
    name = f"back_{secrets.token_hex(6)}"
    async with connected(stack.database) as server:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {database.rpartition('/')[2]}")
        try:
            copy = url_of(stack.database, name)
            async with connected(copy) as connection:
                await connection.execute(life)
            yield copy
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def settings_of(stack: Stack, database: str, **chosen: Any) -> Settings:
    """Those of a process on a store."""
    return Settings(kafka=stack.kafka, database=database, insecure_dev=True, **chosen)


async def begin_to_publish(world: ServiceWorld) -> None:
    """From here on what is published belongs to this test."""
    await keep_offsets(world.connection, await read_ends(settings_of(world.stack, world.database)))


async def record_usage(world: ServiceWorld, team: str, *ids: str, reported_too: bool = True) -> None:
    """Usage comes, by Kafka, and is recorded."""
    cards = await load_rate_cards(world.connection)
    for id in ids:
        message = structured(reported(team, id))
        if reported_too:
            await world.send(message)
        usage = parse(message)  # type: ignore[arg-type]  # all that it reads of a record
        assert isinstance(usage, ParsedUsage)
        context = StoredContext(frozenset({team}), {}, {})
        outcome = judge([usage], context, cards, datetime.now(UTC))
        async with world.connection.transaction():
            await append_ready(world.connection, outcome.facts)


async def publish(stack: Stack, connection: Connection, *, up_to: Mapping[int, int] | None = None) -> None:
    """As the relay does, of each shard up to a position; what Kafka has acknowledged the store does not hear of."""
    log = await connection.fetchval(LOG)
    read = await read_after(connection, dict.fromkeys(await heads(connection), 0), 100_000)
    blocks: dict[int, list[tuple[int, int]]] = {}
    for shard, first, last in await connection.fetch("SELECT shard, first, last FROM blocks ORDER BY shard, last"):
        blocks.setdefault(shard, []).append((first, last))
    seen = {
        row["shard"]: row["position"]
        for row in await connection.fetch("SELECT shard, position FROM checkpoints WHERE reader = 'relay'")
    }
    facts = [
        stored for shard, stored_facts in read.items() for stored in stored_facts
        if seen.get(shard, 0) < stored.position <= (up_to or {}).get(shard, stored.position)
    ]  # fmt: skip
    await put(stack, facts, Origin(log, 1, blocks))
    for shard, stored_facts in read.items():
        reached = min((up_to or {}).get(shard, stored_facts[-1].position), stored_facts[-1].position)
        await connection.execute(
            "INSERT INTO checkpoints (reader, shard, position) VALUES ('relay', $1, $2) "
            "ON CONFLICT (reader, shard) DO UPDATE SET position = excluded.position", shard, reached,
        )  # fmt: skip


async def put(stack: Stack, facts: Iterable[Stored], origin: Origin) -> None:
    """Onto the topic, whoever may say that he is the relay."""
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
    await producer.start()
    try:
        count = len(await producer.partitions_for(EVENTS))
        for stored in facts:
            key, partition = route(stored.team_id, count)
            (headers,) = origin.headers([stored])
            await producer.send_and_wait(EVENTS, cloud_event(stored), key=key, partition=partition, headers=headers)
    finally:
        await producer.stop()
