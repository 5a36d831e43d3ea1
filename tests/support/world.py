"""A small world for one test: a database of its own, teams with plans, a producer, recorders, and questions to the log."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from deploy.local.processes import Processes
from deploy.local.stack import Stack
from projections.balance.state import TeamBalance
from schemas.catalog import load_catalog
from schemas.facts import Stored
from schemas.topics import RECORD_BYTES_MAX, USAGE
from services.credits.plans import assign_plan
from services.credits.rate_cards import seed_catalog
from services.publishing import relay
from services.read_models import projector
from services.read_models.balances import PROJECTOR, read_balance
from services.runtime.clock import system_clock
from services.runtime.health import Health
from services.runtime.retry import FIRST_SECONDS
from services.runtime.settings_loading import load_settings
from services.store.connect import AWAY, Connection
from services.store.read import heads, read_after
from services.usage import consuming
from tests.support.usage import Message
from tests.support.waiting import until

# An idempotent producer whose batch has expired is lost: the broker waits for its sequence numbers. So ours never expire.
PATIENCE_MS = 300_000
REFUSED = """
    SELECT r.*, b.detail, b.key, b.value, b.headers
    FROM refused r LEFT JOIN refused_bytes b USING (topic, partition, "offset") ORDER BY partition, "offset"
"""


@dataclass
class Service:
    """One of our processes, running as a task of the test."""

    task: asyncio.Task[None]
    stop: asyncio.Event
    health: Health


@dataclass
class ServiceWorld:
    """What a test needs of the world, by name."""

    stack: Stack
    database: str  # a superuser's URL
    connection: Connection
    producer: AIOKafkaProducer
    ends: dict[int, int] = field(default_factory=dict)  # how far Kafka acknowledged what the test sent
    running: list[Service] = field(default_factory=list)
    processes: Processes | None = None  # where a test has processes of its own: whoever waits for them sees their death

    async def team(
        self, *team_ids: str, plan: str = "pro", anchor: datetime | None = None, zone: str | None = None
    ) -> None:
        """These teams exist from now on."""
        for team_id in team_ids:
            async with self.connection.transaction():
                await assign_plan(self.connection, load_catalog(), team_id, plan, anchor=anchor, zone=zone)

    async def send(self, *messages: Message) -> list[tuple[int, int]]:
        """Send in this order, and wait for Kafka's word; (partition, offset) of each."""
        waiting = [
            await self.producer.send(
                USAGE, message.value, key=message.key, headers=list(message.headers), partition=message.partition,
                timestamp_ms=message.timestamp_ms,
            )
            for message in messages
        ]  # fmt: skip
        places = [(done.partition, done.offset) for done in [await ack for ack in waiting]]
        for partition, offset in places:
            self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)
        return places

    async def recorded(self, *, within: float = 60) -> None:
        """Everything that was sent has been stored, refused or counted."""

        async def look() -> bool:
            self.raise_if_dead()
            reached = await self.cursors()
            return all(reached.get(partition, 0) >= end for partition, end in self.ends.items())

        await until(look, within=within, what=f"the cursors reach {self.ends}")

    async def reconnect(self) -> None:
        """Ask through a new connection, after the server was restarted."""
        self.connection.terminate()
        self.connection = await until(lambda: connected(self.database), what="PostgreSQL answers")

    async def cursors(self) -> dict[int, int]:
        """The next offset of each partition."""
        rows = await self.connection.fetch("SELECT partition, next_offset FROM kafka_cursors WHERE topic = $1", USAGE)
        return {row["partition"]: row["next_offset"] for row in rows}

    async def facts(self, team_id: str | None = None, *, type: str | None = None) -> list[Stored]:
        """The log, shard by shard in order; of one team, of one type."""
        seen: Mapping[int, int] = dict.fromkeys(await heads(self.connection), 0)
        read = await read_after(self.connection, seen, 1_000_000)
        return [
            stored
            for facts in read.values()
            for stored in facts
            if team_id in (None, stored.team_id) and type in (None, stored.type)
        ]

    async def usage_ids(self, team_id: str = "team_1") -> list[str]:
        """The ids of a team's recorded usages, in the order of the log."""
        return [stored.id for stored in await self.facts(team_id, type="usage.recorded.v1")]

    async def refused(self) -> list[asyncpg.Record]:
        """What was refused, with its bytes, in the order of Kafka."""
        return await self.connection.fetch(REFUSED)

    async def reasons(self) -> list[str]:
        """Why, in the order of Kafka."""
        return [row["reason"] for row in await self.refused()]

    async def repeats(self, id: str) -> tuple[int, int]:
        """How many duplicates and conflicts came after the first of this id."""
        row = await self.connection.fetchrow(
            "SELECT sum(duplicates)::bigint, sum(conflicts)::bigint FROM repeats WHERE id = $1", id
        )
        assert row is not None
        return row[0] or 0, row[1] or 0

    async def balance(self, team_id: str = "team_1") -> TeamBalance:
        """Exactly, at the head of the log."""
        exact = await read_balance(self.connection, team_id, system_clock())
        assert exact is not None, f"{team_id} does not exist"
        return exact.team

    def recorder(self, **settings: Any) -> AbstractAsyncContextManager[Service]:
        """A recorder in this event loop, until the block ends; what it raised is raised at the end."""
        return self._serving("recorder", consuming.serve, kafka_session_timeout_ms=6_000, **settings)

    def projector(
        self, *, first_wait_seconds: float = FIRST_SECONDS, **settings: Any
    ) -> AbstractAsyncContextManager[Service]:
        """A projector in the same way."""
        serve = partial(projector.serve, first_wait_seconds=first_wait_seconds)
        return self._serving("projector", serve, **settings)

    def relay(self, **settings: Any) -> AbstractAsyncContextManager[Service]:
        """A relay in the same way."""
        return self._serving("relay", relay.serve, **settings)

    @asynccontextmanager
    async def _serving(
        self, name: str, serve: Callable[..., Coroutine[Any, Any, None]], **settings: Any
    ) -> AsyncIterator[Service]:
        chosen = {"kafka": self.stack.kafka, "database": self.database, "insecure_dev": True}
        stop, health = asyncio.Event(), Health(name)
        task = asyncio.create_task(serve(load_settings(**(chosen | settings)), stop, health))
        service = Service(task, stop, health)
        self.running.append(service)
        try:
            yield service
        finally:
            self.running.remove(service)
            stop.set()
            await task

    async def projected(self, *, within: float = 60) -> None:
        """The live projections have everything that is stored now."""
        goal = await heads(self.connection)

        async def look() -> bool:
            self.raise_if_dead()
            rows = await self.connection.fetch("SELECT shard, position FROM checkpoints WHERE reader = $1", PROJECTOR)
            reached = {row["shard"]: row["position"] for row in rows}
            return all(reached.get(shard, 0) >= position for shard, position in goal.items())

        await until(look, within=within, what="the projector is at the head")

    def raise_if_dead(self) -> None:
        """What a service of ours raised; of a process that ended though nobody had asked it to, the last lines."""
        for service in self.running:
            if service.task.done():
                service.task.result()
        if self.processes is not None:
            nobody_died(self.processes)


@asynccontextmanager
async def a_world(stack: Stack, database: str, *, seeded: bool = True) -> AsyncIterator[ServiceWorld]:
    """A world that begins at the end of the topic, with the catalog's rate card (unless not `seeded`) and no team."""
    connection: Connection = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    try:
        async with a_producer(stack.kafka) as producer:
            if seeded:
                async with connection.transaction():
                    await seed_catalog(connection, load_catalog())
            await begin_at(connection, await ends_of(stack.kafka))
            world = ServiceWorld(stack, database, connection, producer)
            yield world
            await world.connection.close()
    finally:
        await connection.close()


@asynccontextmanager
async def a_transaction(kafka: str, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """One that is open until it is committed, and whatever happens no longer than the block.

    Everybody's usage behind it would wait: the topic is that of all tests.
    """
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=name, transaction_timeout_ms=600_000
    ) as producer:
        await producer.begin_transaction()
        try:
            yield producer
        except BaseException:
            await producer.abort_transaction()
            raise


@asynccontextmanager
async def a_producer(kafka: str) -> AsyncIterator[AIOKafkaProducer]:
    """Patient: the broker may be away for as long as a slow machine takes to start it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", enable_idempotence=True, request_timeout_ms=PATIENCE_MS,
        max_request_size=RECORD_BYTES_MAX,
    )  # fmt: skip
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def connected(database: str) -> Connection | None:
    """A connection, or None while the server is away."""
    try:
        return await asyncpg.connect(database, server_settings={"timezone": "UTC"}, timeout=5)
    except AWAY:
        return None


def nobody_died(processes: Processes) -> None:
    """AssertionError with the last lines of each process that ended though nobody had asked it to."""
    told = [f"{died.name} ended with code {died.code}; its last lines:\n{died.last_lines}" for died in processes.died]
    assert not told, "\n".join(told)


async def begin_at(connection: Connection, offsets: Mapping[int, int]) -> None:
    """Let the recorder begin here: what other tests left in the topic is none of this one's business."""
    await connection.executemany(
        "INSERT INTO kafka_cursors (topic, partition, epoch, owner, next_offset) VALUES ($1, $2, 0, '', $3)",
        [(USAGE, partition, offset) for partition, offset in offsets.items()],
    )


async def ends_of(kafka: str, topic: str = USAGE) -> dict[int, int]:
    """The offset after the last record of each partition."""
    async with a_consumer(kafka, topic) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
    assert ends, f"{topic} has no partitions"
    return {place.partition: end for place, end in ends.items()}


@asynccontextmanager
async def a_consumer(kafka: str, topic: str, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, of all partitions."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, enable_auto_commit=False, **settings)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
