"""The recorder: usage from Kafka becomes facts, exactly once.

From broker to row there are three steps: `door.parse` and `door.judge` decide about a batch, `Recorder.store` writes it. The
transaction that appends the facts also moves the Kafka cursor, so a batch counts wholly or not at all, whatever dies
and whenever. Kafka's own commits are for lag dashboards and are never read back.

FastStream swallows what a handler raises and goes on fetching, so `receive` raises nothing: what is unavailable is repeated
until it is there, being fenced drops the partition, and anything else ends the process with the cursor unmoved.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from time import monotonic
from typing import Any

import asyncpg
import structlog
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage
from prometheus_client import Counter, Gauge

from schemas.rates import RateCards
from schemas.usage import UsageVoidReported
from services import door
from services.clock import Clock, system_clock
from services.crashpoints import crashpoint
from services.door import Judged, Known, Usage
from services.errors import Fenced, LogChanged
from services.health import Health
from services.settings import Settings
from services.store.append import AlreadyStored, append_ready
from services.store.cards import load_rate_cards
from services.store.connect import AWAY, Connection, Pool, connect_pool
from services.store.cursors import Cursor, Step, batch_was_stored, claim_cursor, move_cursors
from services.store.identities import Identity, count_repeats, find
from services.store.refusals import Record, Refusal, keep_refusals
from services.store.shards import shard_of
from services.store.voids import note_voids, voided_among

TOPIC = "usage"
GROUP = "creditwell-recorder"
BATCH_MAX = 5_000  # one transaction; smaller while somebody waits for a head row
BATCH_MIN = 200
HELD_MAX_SECONDS = 0.015
LOOK_FIRST_BATCHES = 50  # after a duplicate more are likely: look before appending for a while
CARDS_RELOAD_SECONDS = 10
CARDS_STALE_SECONDS = 60  # without the newest card nothing is priced
IDLE_SECONDS = 2
REFUSED_ALARM_MIN = 20  # fewer records in a minute say nothing about a share

SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
KNOWN_TEAMS = "SELECT team_id FROM unnest($1::smallint[], $2::text[]) AS w (shard, team_id) JOIN teams USING (shard, team_id)"
PASSED = """
    UPDATE kafka_cursors SET passed_at = greatest(passed_at, $4) WHERE topic = $1 AND partition = $2 AND epoch = $3
"""

RECORDS = Counter("creditwell_usage_records", "Records read from Kafka, by what became of them", ["outcome"])
REFUSED_SHARE = Gauge("creditwell_usage_refused_share", "Share of refused records in the last minute")
LAG = Gauge("creditwell_usage_lag", "Records not yet recorded", ["partition"])

log = structlog.get_logger("recorder")


@dataclass(slots=True)
class Owned:
    """A partition that this process owns; `check` is the record whose hash must match before anything is stored."""

    epoch: int
    next_offset: int
    check: tuple[int, bytes] | None


@dataclass(slots=True)
class Refusing:
    """How much was refused in the running minute: more than half is said loudly, and the recorder goes on."""

    since: float = field(default_factory=monotonic)
    all: int = 0
    refused: int = 0

    def count(self, all_: int, refused: Sequence[Refusal]) -> None:
        """Add a batch; judge the minute when it is over."""
        self.all += all_
        self.refused += len(refused)
        if monotonic() - self.since < 60 and not (self.all >= REFUSED_ALARM_MIN and self.refused * 2 > self.all):
            return
        if self.all:
            REFUSED_SHARE.set(self.refused / self.all)
        if self.all >= REFUSED_ALARM_MIN and self.refused * 2 > self.all:
            log.error(
                "more than half of the usage that arrives is refused",
                refused=self.refused, of=self.all, last_reason=refused[-1].reason if refused else None,
                last_detail=refused[-1].detail if refused else None, do="run `creditwell refused list`",
            )  # fmt: skip
        if monotonic() - self.since >= 60 or self.all >= REFUSED_ALARM_MIN:
            self.since, self.all, self.refused = monotonic(), 0, 0


@dataclass(slots=True)
class Recorder:
    """One process's share of the topic."""

    pool: Pool
    owner: str
    health: Health
    clock: Clock
    cards: RateCards | None = None
    cards_at: float = 0.0
    owned: dict[int, Owned] = field(default_factory=dict)
    teams: set[str] = field(default_factory=set)
    look_first: int = 0
    batch: int = BATCH_MAX
    refusing: Refusing = field(default_factory=Refusing)
    failed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def receive(self, records: Sequence[ConsumerRecord]) -> None:
        """FastStream's handler: store a batch, or end the process. Raises nothing."""
        if self.failed.done():
            return
        try:
            crashpoint("recorder:fetched")
            rest: list[Usage | Refusal] = [door.parse(record) for record in records if record.partition in self.owned]
            while rest:
                rest = await self._store_some(rest)
        except Exception as error:  # noqa: BLE001 - handed to `serve`, which ends the process with it
            self.failed.set_exception(error)

    async def _store_some(self, parsed: list[Usage | Refusal]) -> list[Usage | Refusal]:
        """Store the beginning of what is left, and give back the rest; what is unavailable is repeated for ever."""
        now = [item for item in parsed if self._is_next(item.record)]
        some = now[: _chunk_end(now, self.batch)]
        if not some:
            return []
        delay = 0.05
        while True:
            try:
                await self._store(some)
            except Fenced as fenced:
                log.warning("partition lost to another recorder; its records are dropped here", why=str(fenced))
                await self._drop_lost()
                return now
            except (AlreadyStored, asyncpg.UniqueViolationError):
                self.look_first = LOOK_FIRST_BATCHES
            except AWAY as away:
                log.warning("the database is away; repeating", error=repr(away), next_try_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                return now[len(some) :]

    def _is_next(self, record: Record) -> bool:
        """True for a record that this process owns and has not stored; the one before the cursor is compared instead."""
        mine = self.owned.get(record.partition)
        if mine is None:
            return False
        if mine.check is not None and record.offset >= mine.check[0]:
            offset, expected = mine.check
            if record.offset != offset or _hash(record) != expected:
                raise LogChanged(
                    f"{TOPIC}-{record.partition}: the record at offset {offset} is not the one that was recorded last; the topic "
                    "was made anew or cut. Nothing was skipped. Restore the topic, or move the cursor on purpose."
                )
            mine.check = None
        return record.offset >= mine.next_offset

    async def _store(self, some: list[Usage | Refusal]) -> None:
        """Judge and write one transaction's worth."""
        cards = await self._cards()
        steps = self._steps(some)
        usages = [item for item in some if isinstance(item, Usage)]
        async with self.pool.acquire() as connection:
            known = await self._known(connection, usages)
            judged = door.judge(usages, known, cards, self.clock())
            judged.refusals += [item for item in some if isinstance(item, Refusal)]
            started = monotonic()
            try:
                waited = await self._write(connection, steps, judged)
            except AWAY:
                if not await self._was_stored(steps):
                    raise
                waited = False
        self._stored(steps, judged, held_seconds=monotonic() - started, waited=waited)

    async def _write(self, connection: Connection, steps: list[Step], judged: Judged) -> bool:
        """Cursor, refusals, repeats, facts: all or nothing. True if somebody waited for a lock at the end."""
        async with connection.transaction():
            await move_cursors(connection, TOPIC, steps)
            crashpoint("recorder:cursor_moved")
            conflicts = [_conflict(repeat.usage) for repeat in judged.repeats if not repeat.same]
            await keep_refusals(connection, [*judged.refusals, *conflicts], self.clock())
            await count_repeats(connection, [(repeat.usage.identity, repeat.same) for repeat in judged.repeats])
            started = monotonic()
            if judged.facts:
                appended = await append_ready(connection, judged.facts)
                await note_voids(connection, zip((fact.new for fact in judged.facts), appended.places, strict=True))
            slow = monotonic() - started > HELD_MAX_SECONDS
            waited = slow and bool(await connection.fetchval(SOMEBODY_WAITS))
            crashpoint("recorder:before_commit")
        crashpoint("recorder:committed")
        return waited

    async def _was_stored(self, steps: list[Step]) -> bool:
        """After an answer was lost: ask a fresh connection what became of the COMMIT."""
        try:
            async with self.pool.acquire() as connection:
                return await batch_was_stored(connection, TOPIC, steps)
        except AWAY:
            return False  # the same batch is tried again, and its compare-and-swap finds out

    def _stored(self, steps: list[Step], judged: Judged, *, held_seconds: float, waited: bool) -> None:
        for step in steps:
            mine = self.owned.get(step.partition)
            if mine is not None and mine.epoch == step.epoch:
                mine.next_offset = step.to_offset
        self.look_first = LOOK_FIRST_BATCHES if judged.repeats else max(0, self.look_first - 1)
        count = len(judged.facts) + len(judged.refusals) + len(judged.repeats)
        if waited:
            self.batch = max(BATCH_MIN, int(count * HELD_MAX_SECONDS / held_seconds))
        else:
            self.batch = min(BATCH_MAX, self.batch * 2)
        RECORDS.labels("recorded").inc(len(judged.facts))
        RECORDS.labels("refused").inc(len(judged.refusals))
        RECORDS.labels("repeated").inc(len(judged.repeats))
        self.refusing.count(count, judged.refusals)
        self.health.beat("recorder")

    async def _known(self, connection: Connection, usages: Sequence[Usage]) -> Known:
        """What `judge` must know of the teams and identities of a batch."""
        subjects = {usage.event.subject for usage in usages}
        if newcomers := sorted(subjects - self.teams):
            rows = await connection.fetch(KNOWN_TEAMS, [shard_of(team) for team in newcomers], newcomers)
            self.teams.update(row["team_id"] for row in rows)
        voids = [usage for usage in usages if isinstance(usage.event, UsageVoidReported)]
        asked: set[Identity] = {usage.identity for usage in (usages if self.look_first else voids)}
        asked.update(door.target(usage.event) for usage in voids if isinstance(usage.event, UsageVoidReported))
        stored = await find(connection, asked)
        voided = await voided_among(connection, stored.values()) if voids else frozenset()
        return Known(frozenset(subjects & self.teams), stored, voided)

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

    def _steps(self, some: Iterable[Usage | Refusal]) -> list[Step]:
        """How far each cursor moves with these records."""
        last: dict[int, Record] = {item.record.partition: item.record for item in some}
        return [
            Step(
                partition, self.owned[partition].epoch, self.owned[partition].next_offset, record.offset + 1,
                _hash(record), datetime.fromtimestamp(record.timestamp / 1000, UTC),
            )
            for partition, record in sorted(last.items())
        ]  # fmt: skip

    async def claim(self, partitions: Collection[int], start: dict[int, int], end: dict[int, int]) -> dict[int, int]:
        """Own these partitions from now on; where to read each from. Raises LogChanged where the topic does not fit."""
        self.owned.clear()
        seek: dict[int, int] = {}
        async with self.pool.acquire() as connection:
            for partition in sorted(partitions):
                cursor = await claim_cursor(connection, TOPIC, partition, self.owner, start[partition])
                _check_range(cursor, start[partition], end[partition])
                verify = cursor.last_hash is not None and cursor.next_offset > start[partition]
                check = (cursor.next_offset - 1, cursor.last_hash) if verify and cursor.last_hash else None
                self.owned[partition] = Owned(cursor.epoch, cursor.next_offset, check)
                seek[partition] = cursor.next_offset - 1 if check else cursor.next_offset
        return seek

    async def _drop_lost(self) -> None:
        """Forget the partitions that have another owner now."""
        rows = await self.pool.fetch("SELECT partition, epoch FROM kafka_cursors WHERE topic = $1", TOPIC)
        epochs = {row["partition"]: row["epoch"] for row in rows}
        for partition in [p for p, mine in self.owned.items() if epochs.get(p) != mine.epoch]:
            del self.owned[partition]

    async def pass_idle(self, consumer: Any, asked_at: datetime) -> None:
        """Say that everything Kafka had some seconds ago is in the log, where nothing is left to read."""
        for partition, mine in list(self.owned.items()):
            end = consumer.highwater(TopicPartition(TOPIC, partition))
            LAG.labels(str(partition)).set(max(0, (end or 0) - mine.next_offset))
            self.health.lag(f"usage-{partition}", max(0, (end or 0) - mine.next_offset))
            if end is not None and mine.next_offset >= end:
                await self.pool.execute(PASSED, TOPIC, partition, mine.epoch, asked_at - timedelta(seconds=2 * IDLE_SECONDS))


def _check_range(cursor: Cursor, start: int, end: int) -> None:
    if start <= cursor.next_offset <= end:
        return
    raise LogChanged(
        f"{cursor.topic}-{cursor.partition}: everything before offset {cursor.next_offset} is recorded, but the topic holds {start} to "
        f"{end}: it was made anew, cut, or its retention passed the recorder by. Nothing was skipped. Restore the topic, "
        "or move the cursor on purpose."
    )


def _chunk_end(items: Sequence[Usage | Refusal], most: int) -> int:
    """At most `most`, and no void together with the usage that it takes back, whose position it must know."""
    seen: set[Identity] = set()
    for index, item in enumerate(items[:most]):
        if isinstance(item, Refusal):
            continue
        if isinstance(item.event, UsageVoidReported) and door.target(item.event) in seen:
            return index
        seen.add(item.identity)
    return most


def _conflict(usage: Usage) -> Refusal:
    detail = "this id was recorded with other contents; give every usage an id of its own, and void what was wrong"
    return Refusal(usage.record, "conflict", detail, *usage.identity)


def _hash(record: Record) -> bytes:
    return sha256((record.key or b"") + b"\0" + (record.value or b"")).digest()


async def _as_they_are(batch: tuple[ConsumerRecord, ...]) -> KafkaAckableMessage:
    """FastStream's own parser decodes every header, and fails the whole batch for one that is not UTF-8."""
    return KafkaAckableMessage(body=b"", headers={}, raw_message=batch, correlation_id="-")


async def _raw(message: KafkaAckableMessage) -> list[ConsumerRecord]:
    return list(message.raw_message)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Claims the cursors of the partitions that Kafka assigns, and reads on from them and nowhere else."""

    def __init__(self, recorder: Recorder, subscriber: Any) -> None:
        self.recorder = recorder
        self.subscriber = subscriber

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """What is in hand is dropped, not flushed: the next owner reads it again."""
        for partition in revoked:
            self.recorder.owned.pop(partition.partition, None)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """An exception here would be swallowed as well."""
        consumer = self.subscriber.consumer
        try:
            start = {tp.partition: offset for tp, offset in (await consumer.beginning_offsets(assigned)).items()}
            end = {tp.partition: offset for tp, offset in (await consumer.end_offsets(assigned)).items()}
            seek = await _patiently(lambda: self.recorder.claim([tp.partition for tp in assigned], start, end))
            for partition, offset in seek.items():
                consumer.seek(TopicPartition(TOPIC, partition), offset)
        except Exception as error:  # noqa: BLE001 - handed to `serve`, which ends the process with it
            if not self.recorder.failed.done():
                self.recorder.failed.set_exception(error)


async def _patiently(claim: Callable[[], Awaitable[dict[int, int]]]) -> dict[int, int]:
    delay = 0.1
    while True:
        try:
            return await claim()
        except AWAY as away:
            log.warning("the database is away; claiming again", error=repr(away), next_try_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)


def attach(broker: KafkaBroker, recorder: Recorder, settings: Settings) -> Any:
    """Subscribe the recorder. Every setting that FastStream or aiokafka would choose unsafely is chosen here."""
    subscriber = broker.subscriber(
        TOPIC,
        batch=True,
        group_id=GROUP,
        max_records=BATCH_MAX,
        batch_timeout_ms=10,
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=1024 * 1024,
        auto_offset_reset="none",
        ack_policy=AckPolicy.MANUAL,
        isolation_level="read_committed",
        partition_assignment_strategy=[StickyPartitionAssignor],
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 4,
        max_poll_interval_ms=15 * 60 * 1000,
        parser=_as_they_are,
        decoder=_raw,
    )
    subscriber._listener = _Listener(recorder, subscriber)  # noqa: SLF001 - the listener needs the consumer, which the subscriber makes
    subscriber(recorder.receive)
    return subscriber


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Run until told to stop, or until something is wrong that repeating can't mend."""
    pool = await connect_pool(settings.database, process="recorder", size=3)
    broker = KafkaBroker(settings.kafka, apply_types=False, client_id="creditwell-recorder", logger=None)
    recorder = Recorder(pool, settings.owner, health, clock)
    subscriber = attach(broker, recorder, settings)
    await broker.start()
    health.ready(True)
    idle = asyncio.create_task(_watch_idle(recorder, subscriber, clock))
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({stopping, idle, recorder.failed}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        idle.cancel()
        stopping.cancel()
        await broker.stop()
        await pool.close()


async def _watch_idle(recorder: Recorder, subscriber: Any, clock: Clock) -> None:
    """Lag for dashboards, Kafka's time for sealing, and Kafka-side commits that nobody reads back."""
    while True:
        asked_at = clock()
        await asyncio.sleep(IDLE_SECONDS)
        try:
            await recorder.pass_idle(subscriber.consumer, asked_at)
            offsets = {TopicPartition(TOPIC, p): mine.next_offset for p, mine in recorder.owned.items()}
            if offsets:
                await subscriber.consumer.commit(offsets)
        except (*AWAY, KafkaError) as away:
            log.info("idle round skipped", error=repr(away))
