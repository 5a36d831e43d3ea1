"""The recorder: usage from Kafka becomes facts, exactly once.

From broker to row there are three steps: `door.parse` and `door.judge` decide about a batch, `Recorder._write` writes it. The
transaction that appends the facts also moves the Kafka cursors, so a batch counts wholly or not at all, whatever dies and
whenever. Kafka's own commits are for lag dashboards and are never read back. While PostgreSQL writes one batch, the next is
fetched and parsed: two are in hand at most, and they are stored one after the other.

FastStream swallows what a handler raises and goes on fetching, so `receive` raises nothing: what is unavailable is repeated
until it is there, being fenced drops the partition, and anything else ends the process with the cursor unmoved.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from prometheus_client import CollectorRegistry, Counter, Gauge

from schemas.rates import RateCards
from schemas.usage import UsageVoidReported
from services.credits.holds import HoldKey, live_or_settled, settle_holds
from services.credits.rate_cards import load_rate_cards
from services.runtime.clock import Clock, system_clock
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Fenced, Unavailable
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.store.append import AlreadyStored, append_ready
from services.store.connect import AWAY, Connection, Pool, connect_pool
from services.store.identities import Identity, count_repeats, find
from services.store.shards import shard_of
from services.usage import door
from services.usage.cursors import Step, move_cursors
from services.usage.door import Judged, Known, Usage
from services.usage.kafka_headers import accept_any_header_name
from services.usage.partitions import Owned, Partitions, Rebalances, hash_of
from services.usage.refusals import Refusal, keep_refusals
from services.usage.voids import note_voids, voided_among

TOPIC = "usage"
GROUP = "creditwell-recorder"
BATCH_MAX = 5_000  # one transaction; smaller while somebody waits for a head row
BATCH_MIN = 200
HELD_MAX_SECONDS = 0.015
PARSED_AT_ONCE = 100  # half a millisecond
GROWS_BY = 100  # a 100th with each batch for which nobody has waited: whoever places holds places the next one soon
PACE_SECONDS = 0.01  # from batch to batch at least: what a transaction costs is shared by all that came meanwhile
LOOK_FIRST_BATCHES = 50  # after a duplicate more are likely: look before appending for a while
CARDS_RELOAD_SECONDS = 10
CARDS_STALE_SECONDS = 60  # without the newest card nothing is priced
LOOK_AROUND_SECONDS = 2
FINISH_SECONDS = 5
METADATA_MAX_AGE_MS = 10_000  # a topic that was made anew, or has grown, is noticed in this time
REFUSED_MINUTE_SECONDS = 60
REFUSED_ALARM_MIN = 20  # fewer records say nothing about a share

SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
KNOWN_TEAMS = (
    "SELECT team_id FROM unnest($1::smallint[], $2::text[]) AS w (shard, team_id) JOIN teams USING (shard, team_id)"
)

log = structlog.get_logger("recorder")


class Metrics:
    """What dashboards and alerts ask of a recorder."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "creditwell_usage_records", "Usage read from Kafka, by what became of it", ["outcome"], registry=registry
        )
        self.refused_share = Gauge(
            "creditwell_usage_refused_share", "Share of refused usage, judged each minute", registry=registry
        )


@dataclass(slots=True)
class Refusing:
    """How much was refused in the running minute: more than half is said loudly, and the recorder goes on."""

    share: Gauge
    since: float = field(default_factory=monotonic)
    all: int = 0
    refused: int = 0

    def count(self, all_: int, refused: Sequence[Refusal]) -> None:
        """Add a batch; judge when the minute is over, or at once when it is that bad."""
        self.all += all_
        self.refused += len(refused)
        alarming = self.all >= REFUSED_ALARM_MIN and self.refused * 2 > self.all
        if not alarming and monotonic() - self.since < REFUSED_MINUTE_SECONDS:
            return
        self.share.set(self.refused / self.all if self.all else 0)
        if alarming and refused:
            log.error(
                "more than half of the usage that arrives is refused", refused=self.refused, of=self.all,
                last_reason=refused[-1].reason, last_detail=refused[-1].detail, do="run `creditwell refused list`",
            )  # fmt: skip
        self.since, self.all, self.refused = monotonic(), 0, 0


class Item(NamedTuple):
    """A parsed record in hand, with the claim under which it was read."""

    owned: Owned
    parsed: Usage | Refusal


@dataclass(slots=True)
class Recorder:
    """One process's share of the topic."""

    pool: Pool
    partitions: Partitions
    health: Health
    clock: Clock
    metrics: Metrics
    refusing: Refusing
    cards: RateCards | None = None
    cards_at: float = 0.0
    teams: set[str] = field(default_factory=set)
    look_first: int = 0
    appended_at: datetime | None = None  # by the heads' time, also where the transaction was in vain and is tried again
    batch: int = BATCH_MAX
    handed: bool = False  # a batch is on its way from FastStream, or being parsed
    storing: asyncio.Task[None] | None = None
    failed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def busy(self) -> bool:
        """True while records are in hand that are not stored."""
        return self.handed or (self.storing is not None and not self.storing.done())

    def begin(self) -> None:
        """A batch is on its way to `receive`. If the one before never arrived, FastStream dropped it: nothing may follow."""
        if self.handed:
            self.fail(RuntimeError("a batch was lost between Kafka and the recorder's handler"))
        self.handed = True

    def fail(self, error: BaseException) -> None:
        """End the process with this."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def receive(self, records: Sequence[ConsumerRecord]) -> None:
        """FastStream's handler: parse a batch while the one before is stored, then store it behind our back. Raises nothing."""
        began = monotonic()
        try:
            crashpoint("recorder:fetched")
            items = await _parse(await self.partitions.check(records))
            if self.storing is not None:
                await asyncio.wait({self.storing})
            if not self.failed.done():
                self.storing = asyncio.create_task(self._store_all(items))
        except Exception as error:  # noqa: BLE001 - handed to `serve`, which ends the process with it
            self.fail(error)
        finally:
            self.handed = False
        await asyncio.sleep(max(0.0, began + PACE_SECONDS - monotonic()))

    async def _store_all(self, items: list[Item]) -> None:
        """Store a batch, in as many transactions as it takes, or end the process. Raises nothing."""
        try:
            while not self.failed.done() and (items := [item for item in items if not item.owned.lost]):
                some = next_items(items, self.batch)
                if await self._store_patiently(some):
                    items = items[len(some) :]
        except Exception as error:  # noqa: BLE001 - handed to `serve`, which ends the process with it
            self.fail(error)

    async def finish(self) -> None:
        """Let the batch in hand be stored if that is soon; otherwise it is read again, by whoever owns it next."""
        if self.storing is not None:
            _, unfinished = await asyncio.wait({self.storing}, timeout=FINISH_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.wait({self.storing})

    async def _store_patiently(self, some: Sequence[Item]) -> bool:
        """Store one transaction's worth, however long it takes; False when a partition in it has another owner now.

        When the answer to COMMIT is lost, the same steps are tried again: the compare-and-swap of the cursors finds out.
        """
        steps, delay = _steps(some, self.clock()), 0.05
        while not any(item.owned.lost for item in some):
            try:
                await self._store([item.parsed for item in some], steps)
            except Fenced as fenced:
                if not await self.partitions.settle({item.owned for item in some}, steps):
                    log.warning("a partition has another owner now; its records are dropped here", why=str(fenced))
                    break
            except AlreadyStored:
                self.look_first = LOOK_FIRST_BATCHES
                continue
            except (*AWAY, Unavailable) as away:
                self.health.away("the store", away)
                log.warning("the store is away; repeating", error=repr(away), next_try_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
                continue
            self.health.back("the store")
            for item in some:
                item.owned.next_offset = item.parsed.record.offset + 1
            for partition in {item.owned.partition for item in some}:
                self.health.beat(f"{TOPIC}-{partition}")
            return True
        self.health.back("the store")  # whoever owns the partition now waits for it
        return False

    async def _store(self, some: Sequence[Usage | Refusal], steps: Sequence[Step]) -> None:
        """Judge and write one transaction's worth."""
        cards = await self._cards()
        usages = [item for item in some if isinstance(item, Usage)]
        async with self.pool.acquire() as connection:
            known = await self._known(connection, usages)
            judged = door.judge(usages, known, cards, self.clock())
            judged.refusals += [item for item in some if isinstance(item, Refusal)]
            started = monotonic()
            waited = await self._write(connection, steps, judged)
            held_seconds = monotonic() - started
        self.batch = (
            max(BATCH_MIN, int(len(some) * HELD_MAX_SECONDS / held_seconds))
            if waited
            else min(BATCH_MAX, self.batch + max(1, self.batch // GROWS_BY))
        )
        self._count(judged)

    async def _write(self, connection: Connection, steps: Sequence[Step], judged: Judged) -> bool:
        """Cursors, refusals, repeats, facts: all or nothing. True if somebody waited for a lock at the end."""
        async with connection.transaction():
            await move_cursors(connection, TOPIC, steps)
            crashpoint("recorder:cursor_moved")
            conflicts = [_conflict(repeat.usage) for repeat in judged.repeats if not repeat.same]
            await keep_refusals(connection, [*judged.refusals, *conflicts], self.clock())
            await count_repeats(connection, [(repeat.usage.identity, repeat.same) for repeat in judged.repeats])
            started = monotonic()
            if judged.facts:
                appended = await append_ready(connection, judged.facts)
                self.appended_at = appended.recorded_at
                await note_voids(connection, zip((fact.new for fact in judged.facts), appended.places, strict=True))
                await settle_holds(connection, judged.settles, judged.ended, appended.recorded_at)
            slow = monotonic() - started > HELD_MAX_SECONDS
            waited = slow and bool(await connection.fetchval(SOMEBODY_WAITS))
            crashpoint("recorder:before_commit")
        crashpoint("recorder:committed")
        return waited

    def _count(self, judged: Judged) -> None:
        self.look_first = LOOK_FIRST_BATCHES if judged.repeats else max(0, self.look_first - 1)
        self.metrics.records.labels("recorded").inc(len(judged.facts))
        self.metrics.records.labels("refused").inc(len(judged.refusals))
        self.metrics.records.labels("repeated").inc(len(judged.repeats))
        self.refusing.count(len(judged.facts) + len(judged.refusals) + len(judged.repeats), judged.refusals)
        self.health.beat(TOPIC)

    async def _known(self, connection: Connection, usages: Sequence[Usage]) -> Known:
        """What `judge` must know of the teams and identities of a batch."""
        subjects = {usage.event.subject for usage in usages}
        if newcomers := sorted(subjects - self.teams):
            rows = await connection.fetch(KNOWN_TEAMS, [shard_of(team) for team in newcomers], newcomers)
            self.teams.update(row["team_id"] for row in rows)
        voids = [usage for usage in usages if type(usage.event) is UsageVoidReported]
        held = {
            usage.identity: HoldKey(usage.event.subject, hold_id)
            for usage in usages
            if (hold_id := usage.event.data.hold_id) is not None
        }
        # Holds before identities: what settled a hold a moment ago is then found below, and its like is a repeat of it.
        holds = await live_or_settled(connection, set(held.values()), self.appended_at)
        asked: set[Identity] = {usage.identity for usage in (usages if self.look_first else voids)} | held.keys()
        asked.update(door.target(usage.event) for usage in voids if isinstance(usage.event, UsageVoidReported))
        stored = await find(connection, asked)
        voided = await voided_among(connection, stored.values()) if voids else frozenset()
        return Known(frozenset(subjects & self.teams), stored, voided, holds)

    async def _cards(self) -> RateCards:
        """The rate cards, at most some seconds old; pricing stops when they can't be had."""
        age = monotonic() - self.cards_at
        if self.cards is not None and age < CARDS_RELOAD_SECONDS:
            return self.cards
        try:
            async with self.pool.acquire() as connection:
                self.cards, self.cards_at = await load_rate_cards(connection), monotonic()
        except AWAY:
            if self.cards is None or age > CARDS_STALE_SECONDS:
                raise
        return self.cards


async def _parse(records: Sequence[tuple[Owned, ConsumerRecord]]) -> list[Item]:
    """Parse a batch, and let go every now and then: the one before has heads locked while it waits for its next statement."""
    items: list[Item] = []
    for start in range(0, len(records), PARSED_AT_ONCE):
        items += [Item(owned, door.parse(record)) for owned, record in records[start : start + PARSED_AT_ONCE]]
        await asyncio.sleep(0)
    return items


def _steps(some: Sequence[Item], now: datetime) -> list[Step]:
    """How far each cursor moves with these records."""
    last = {item.owned.partition: item for item in some}
    return [
        Step(
            partition, item.owned.epoch, item.owned.next_offset, item.parsed.record.offset + 1,
            hash_of(item.parsed.record), _kafka_time(item.parsed.record.timestamp, now),
        )
        for partition, item in sorted(last.items())
    ]  # fmt: skip


def _kafka_time(milliseconds: int, now: datetime) -> datetime:
    """When Kafka received a record; never later than now, whatever a producer claims."""
    if not 0 <= milliseconds <= now.timestamp() * 1000:
        return now
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def next_items(items: Sequence[Item], most: int) -> Sequence[Item]:
    """What goes into the next transaction, at least one record of those in hand.

    While batches are small because somebody has waited for a head, it is of one partition: no other shards are locked meanwhile.
    """
    some = items[: _chunk_end(items, most)]
    if most == BATCH_MAX:
        return some
    return list(takewhile(lambda item: item.owned is items[0].owned, some))


def _chunk_end(items: Sequence[Item], most: int) -> int:
    """At most `most`, and no void together with the usage that it takes back, whose position it must know."""
    if not any(type(parsed) is Usage and type(parsed.event) is UsageVoidReported for _, parsed in items[:most]):
        return most
    seen: set[Identity] = set()
    for index, (_, parsed) in enumerate(items[:most]):
        if isinstance(parsed, Refusal):
            continue
        if isinstance(parsed.event, UsageVoidReported) and door.target(parsed.event) in seen:
            return index
        seen.add(parsed.identity)
    return most


def _conflict(usage: Usage) -> Refusal:
    detail = "this id was recorded with other contents; give every usage an id of its own, and void what was wrong"
    return Refusal(usage.record, "conflict", detail, *usage.identity)


def attach(broker: KafkaBroker, recorder: Recorder, session_timeout_ms: int) -> Any:
    """Subscribe the recorder. Every setting that FastStream or aiokafka would choose unsafely is chosen here."""

    async def as_it_is(batch: tuple[ConsumerRecord, ...]) -> KafkaAckableMessage:
        # FastStream's own parser decodes every header, and fails the whole batch for one that is not UTF-8.
        recorder.begin()
        return KafkaAckableMessage(
            raw_message=batch, body=b"", headers={}, correlation_id="-", consumer=subscriber.consumer
        )

    async def raw(message: KafkaAckableMessage) -> list[ConsumerRecord]:
        return list(message.raw_message)

    subscriber = broker.subscriber(
        TOPIC,
        batch=True,
        group_id=GROUP,
        max_records=BATCH_MAX,
        batch_timeout_ms=10,
        fetch_max_wait_ms=50,
        auto_offset_reset="earliest",  # counts between an assignment and our seek alone, when nothing is owned
        ack_policy=AckPolicy.MANUAL,
        isolation_level="read_committed",
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        session_timeout_ms=session_timeout_ms,
        heartbeat_interval_ms=session_timeout_ms // 4,
        max_poll_interval_ms=15 * 60 * 1000,
        parser=as_it_is,
        decoder=raw,
        listener=Rebalances(recorder.partitions, recorder.fail),
    )
    recorder.partitions.consumer_of = lambda: subscriber.consumer
    subscriber(recorder.receive)
    return subscriber


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Run until told to stop, or until something is wrong that repeating can't mend."""
    accept_any_header_name()
    kafka = settings.needed("kafka")
    pool = await connect_pool(settings.needed("database"), process="recorder", size=3, projections=False)
    partitions = Partitions(TOPIC, kafka, pool, f"recorder-{uuid4()}", health)
    metrics = Metrics(health.registry)
    recorder = Recorder(pool, partitions, health, clock, metrics, Refusing(metrics.refused_share))
    faststream = logging.getLogger("faststream")
    faststream.setLevel(logging.WARNING)  # below, it tells of every batch
    broker = KafkaBroker(
        kafka, apply_types=False, client_id=GROUP, logger=faststream, metadata_max_age_ms=METADATA_MAX_AGE_MS
    )
    attach(broker, recorder, settings.kafka_session_timeout_ms)
    try:
        await _run(broker, recorder, stop)
    finally:
        await broker.stop()
        await recorder.finish()
        await pool.close()


async def _run(broker: KafkaBroker, recorder: Recorder, stop: asyncio.Event) -> None:
    await broker.start()
    recorder.health.ready()
    looking = asyncio.ensure_future(_look_around(recorder))
    stopping = asyncio.ensure_future(stop.wait())
    waiting: list[asyncio.Future[Any]] = [stopping, looking, recorder.failed]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for unfinished in {looking, stopping} - done:
        unfinished.cancel()
        with suppress(asyncio.CancelledError):
            await unfinished
    for finished in done:
        finished.result()


async def _look_around(recorder: Recorder) -> None:
    """Lag for dashboards, Kafka's time for sealing, and Kafka-side commits that nobody reads back."""
    partitions = recorder.partitions
    while True:
        asked_at = recorder.clock()
        await asyncio.sleep(LOOK_AROUND_SECONDS)
        try:
            await partitions.look_around(busy=lambda: recorder.busy, asked_at=asked_at)
            offsets = {TopicPartition(TOPIC, p): mine.next_offset for p, mine in partitions.owned.items()}
            if offsets:
                await partitions.consumer.commit(offsets)
        except (*AWAY, KafkaError) as away:
            log.info("could not look around", error=repr(away))
