"""Everything that was stored goes out on Kafka: facts to `credits.events`, refused records to `usage.refused`.

The store is the outbox, so nothing is published that was rolled back, and nothing that was stored is forgotten. At
least once and in order: consumers drop the positions that they have seen. The order holds through every crash, because

- a round puts one batch at most into each partition, and the next one is sent when all of them are acknowledged: there
  is never a later fact in Kafka without the ones before it;
- a checkpoint moves when Kafka has acknowledged, and is fenced: where two relays believe that a shard is theirs, one
  gives up.

While Kafka writes one round the next is read and made ready; while it writes that one, the checkpoint of the first is
committed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.facts import Stored
from schemas.topics import EVENTS, RECORD_BYTES_MAX, REFUSED
from services.publishing.batches import AWAY_NAME, BATCH_BYTES, GOODBYE_SECONDS, Batches, Origin, fill, shares
from services.publishing.beyond import keep_offsets, kept_offsets
from services.publishing.looking import StoreLook
from services.publishing.notices import notify
from services.publishing.others import Others
from services.publishing.refused import RefusedBytes, relay_refused
from services.runtime import kafka
from services.runtime.clock import Clock, system_clock
from services.runtime.crashpoints import crashpoint
from services.runtime.health import Health
from services.runtime.kafka.assurance import Assurance
from services.runtime.kafka.watch import watch_kafka
from services.runtime.logs import get_log
from services.runtime.processes import PROCESSES
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.runtime.tracing.spans import span
from services.store.beside.traces import OldTraces, trails_of
from services.store.claims import Claims
from services.store.connect import AWAY, RETRYABLE, Connection, connect_pool
from services.store.lives import LOG
from services.store.read import read_round
from services.store.sessions.bell import IdleWait

# Read, sent and acknowledged well within the lease. Of a fact the bytes of its body count; the usual has 500.
ROUND_FACTS = 4_000
ROUND_BYTES = 8 * 1024 * 1024
REFUSED_SECONDS = 0.2

# Whoever appends a fact keeps its trail in the same transaction; so where no facts have any, nobody asks for them.
BEHIND = """
    SELECT seen.shard, h.next - 1 - seen.position AS facts, EXISTS (
        SELECT FROM traces t WHERE t.shard = seen.shard AND t.position > seen.position
    ) AS traced
    FROM check_life() AS may
    JOIN unnest($1::smallint[], $2::bigint[]) AS seen (shard, position) ON may
    JOIN shard_heads h ON h.shard = seen.shard AND h.next - 1 > seen.position
"""

# Blocks follow each other, so no more of them can hold so many facts.
BLOCKS = """
    SELECT b.shard, b.first, b.last
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS part (shard, first, last)
    CROSS JOIN LATERAL (
        SELECT blocks.shard, blocks.first, blocks.last FROM blocks
        WHERE blocks.shard = part.shard AND blocks.last >= part.first
        ORDER BY blocks.last LIMIT part.last - part.first + 1
    ) AS b
    WHERE b.first <= part.last ORDER BY b.shard, b.last
"""


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Publish until told to stop. What is away is waited for; anything else that goes wrong ends the process."""
    del clock  # nothing here depends on the time of day
    settings.require(*PROCESSES["relay"].needed(settings))
    owner = f"relay-{uuid4()}"
    claims, refused = (Claims(reader, owner, settings.lease_seconds) for reader in ("relay", "relay-refused"))
    looking = StoreLook(settings, health)

    async def relay() -> None:
        pool = await connect_pool(
            settings.needed("database"),
            process="relay",
            lease_seconds=settings.lease_seconds,
            size=1,
            projections=False,
            health=health,
            listens=True,
        )
        async with pool, pool.acquire() as connection, AsyncExitStack() as open_producer:
            # A session is of one life of the server, from its beginning to its end.
            life = await looking.until_sure(connection)
            producer = await open_producer.enter_async_context(_producer(settings))
            await claims.leave(connection)  # what a broken connection left claimed need not wait for the lease
            await refused.leave(connection)
            log = await connection.fetchval(LOG)
            others = Others(settings, log, await kept_offsets(connection))
            relaying = Relaying(connection, producer, claims, stop, health, log, life, others)
            keeping = RefusedBytes(timedelta(days=settings.refused_bytes_days))
            await _relay(relaying, refused, keeping, IdleWait(pool.heard, stop))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_going(AWAY_NAME, relay, stop, health, away=(*RETRYABLE, KafkaError)))
        tasks.create_task(notify(settings, stop, health))
        tasks.create_task(Assurance(settings, health, EVENTS, REFUSED).until_told(stop))
        tasks.create_task(watch_kafka(settings, health, stop))


async def _relay(facts: "Relaying", refused: Claims, keeping: RefusedBytes, idle: IdleWait) -> None:
    # Facts first: should a refused record be what ends this connection, they go on all the same.
    stop, joined, looked, old_traces = facts.stop, 0.0, time.monotonic(), OldTraces()
    try:
        while not stop.is_set():
            if time.monotonic() - joined >= facts.claims.renew_seconds:
                joined = time.monotonic()
                await facts.join()
                await refused.join(facts.connection)
                facts.health.back(AWAY_NAME)
                facts.health.ready()
            busy = await facts.round()
            if time.monotonic() - looked >= REFUSED_SECONDS:
                looked = time.monotonic()
                busy |= await relay_refused(facts.connection, facts.producer, refused, facts.stop, facts.health)
                busy |= await keeping.forget(facts.connection)
                busy |= await old_traces.forget(facts.connection)
            # Who rang may have refused something, for which it was not time yet.
            if busy or await idle.wait():
                idle.work_came()
        await facts.finish()
    finally:
        with suppress(*AWAY):  # then it is done at the next connection, or by the lease
            await facts.claims.leave(facts.connection)
            await refused.leave(facts.connection)


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Started, and stopped within seconds whether Kafka answers or not."""
    producer = kafka.producer(
        settings, client_id="creditwell-relay", max_batch_size=BATCH_BYTES,
        max_request_size=RECORD_BYTES_MAX,  # one refused record may have more than a batch has room for
    )  # fmt: skip
    try:
        await producer.start()
        yield producer
    finally:
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await producer.stop()
        except TimeoutError:
            get_log().warning("Kafka is away; what it has not acknowledged is sent again from the checkpoint")


@dataclass(slots=True)
class Round:
    """Facts on their way: the acknowledgements to wait for, and where each shard stands when all are there.

    `traces` are those that are known of the facts.
    """

    batches: "Batches"
    reached: dict[int, int] = field(default_factory=dict)
    traces: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Relaying:
    """The way of the facts, one round ahead of its checkpoint."""

    connection: Connection
    producer: AIOKafkaProducer
    claims: Claims
    stop: asyncio.Event
    health: Health
    log: str
    life: int
    others: Others
    sent: Round | None = None

    async def round(self) -> bool:
        """Make the next round ready, see the last one acknowledged, send the next; False when there was neither."""
        following = await self._prepare()
        before, self.sent = self.sent, None
        if before is not None:
            with span("publish facts", "producer") as opened:
                opened.link(before.traces)
                opened.note("creditwell.batches", len(before.batches.builders))
                await before.batches.acknowledged(self.stop, self.health)
            crashpoint("relay:acked")
        if following is not None:
            await following.batches.send()
            crashpoint("relay:sent")
        if before is not None:
            await self._move(before)
        self.sent = following
        await self.others.look(self.connection)
        return before is not None or following is not None

    async def finish(self) -> None:
        """See the last round through, so that nobody sends it again."""
        if self.sent is not None:
            await self.sent.batches.acknowledged(self.stop, self.health)
            await self._move(self.sent)
            self.sent = None

    async def join(self) -> None:
        """Renew the claims and share the shards out; nothing is on its way meanwhile."""
        await self.finish()
        await self.claims.join(self.connection)

    async def _prepare(self) -> Round | None:
        positions = self.claims.positions | (self.sent.reached if self.sent is not None else {})
        rows = await self.connection.fetch(BEHIND, list(positions), list(positions.values()))
        behind: dict[int, int] = {row["shard"]: row["facts"] for row in rows}
        self.health.lag("relay", sum(behind.values()) + self._on_the_way())
        if not behind:
            self.health.beat("relay")
            return None
        facts = await read_round(
            self.connection, {shard: positions[shard] for shard in behind}, shares(behind, ROUND_FACTS),
            ROUND_BYTES // len(behind),
        )  # fmt: skip
        crashpoint("relay:read")
        batches = Batches(self.producer, EVENTS, len(await self.producer.partitions_for(EVENTS)))
        traced = {row["shard"] for row in rows if row["traced"]}
        trails = await trails_of(self.connection, {shard: read for shard, read in facts.items() if shard in traced})
        reached = fill(batches, facts, await self._origin(facts), trails)
        return Round(batches, reached, [one.traceparent for one in trails.values() if one.traceparent is not None])

    def _on_the_way(self) -> int:
        """How many facts are sent, and not acknowledged: whoever waits for that for ever is stuck, too."""
        reached = self.sent.reached if self.sent is not None else {}
        return sum(position - self.claims.positions.get(shard, position) for shard, position in reached.items())

    async def _origin(self, facts: Mapping[int, Sequence[Stored]]) -> Origin:
        firsts, lasts = [read[0].position for read in facts.values()], [read[-1].position for read in facts.values()]
        blocks: dict[int, list[tuple[int, int]]] = {}
        for shard, first, last in await self.connection.fetch(BLOCKS, list(facts), firsts, lasts):
            blocks.setdefault(shard, []).append((first, last))
        return Origin(self.log, self.life, blocks)

    async def _move(self, acknowledged: Round) -> None:
        await self.claims.lock_and_move(self.connection, acknowledged.reached)
        places = acknowledged.batches.places
        self.others.acknowledged(places)
        await keep_offsets(self.connection, self.others.sure(places))
        self.claims.moved(acknowledged.reached)
        self.health.beat("relay")
        crashpoint("relay:moved")
