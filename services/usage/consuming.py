"""The recorder as a process: its Kafka subscription, its loop, and its end."""

import asyncio
import logging
from collections.abc import Coroutine
from itertools import chain
from typing import Any
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaAckableMessage

from schemas.topics import RECORD_BYTES_MAX, USAGE
from services.runtime import kafka
from services.runtime.clock import Clock, system_clock, until_stopped
from services.runtime.health import Health
from services.runtime.kafka import topic_admin
from services.runtime.kafka.assurance import Assurance
from services.runtime.kafka.watch import KAFKA, watch_kafka
from services.runtime.processes import PROCESSES
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.runtime.settings_loading import catalog_of
from services.store.connect import AWAY, Pool, connect_pool, connect_when_there
from services.store.lives import check_looked
from services.usage.batches import BATCH_MAX
from services.usage.metrics import RecorderMetrics, RefusedShare
from services.usage.partitions import Partitions, Rebalances
from services.usage.recorder import Recorder

GROUP = "creditwell-recorder"
LOOK_AROUND_SECONDS = 2
WAIT_MS = 500  # for records; what comes ends it at once
# The broker answers as soon as there is anything. A partition that was not asked for, because its records waited for a
# long batch, is asked for only after the answer for the others. So an answer takes no longer than a full batch does.
FETCH_WAIT_MS = 100
METADATA_MAX_AGE_MS = 10_000  # a topic that was made anew, or has grown, is noticed in this time

log = structlog.get_logger("recorder")


def attach(broker: KafkaBroker, recorder: Recorder, session_timeout_ms: int, stop: asyncio.Event) -> Any:
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
        USAGE,
        batch=True,
        group_id=GROUP,
        max_records=BATCH_MAX,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        fetch_max_bytes=RECORD_BYTES_MAX,  # of all 64 partitions together; a larger batch comes alone
        auto_offset_reset="earliest",  # counts between an assignment and our seek alone, when nothing is owned
        ack_policy=AckPolicy.MANUAL,
        isolation_level="read_committed",
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        session_timeout_ms=session_timeout_ms,
        heartbeat_interval_ms=session_timeout_ms // 4,
        max_poll_interval_ms=15 * 60 * 1000,
        parser=as_it_is,
        decoder=raw,
        listener=Rebalances(recorder.partitions, recorder.fail, stop),
    )
    subscriber.get_msg = _next_records  # type: ignore[method-assign]
    recorder.partitions.consumer_of = lambda: subscriber.consumer
    subscriber(recorder.receive)
    return subscriber


async def _next_records(consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
    """What came, or nothing. FastStream's own way asks fifty times a second and is asleep for half of each."""
    by_partition = await consumer.getmany(timeout_ms=WAIT_MS, max_records=BATCH_MAX)
    return tuple(chain.from_iterable(by_partition.values()))


async def serve(settings: Settings, stop: asyncio.Event, health: Health, clock: Clock = system_clock) -> None:
    """Run until told to stop, or until something is wrong that repeating can't mend."""
    settings.require(*PROCESSES["recorder"].needed(settings))
    listed = catalog_of(settings).usage.attributes

    async def connect() -> Pool:
        return await connect_pool(
            settings.needed("database"), process="recorder", lease_seconds=settings.lease_seconds, size=3,
            projections=False, health=health,
        )  # fmt: skip

    pool = await connect_when_there(connect, stop, health)
    if pool is None:
        return
    await keep_going("the store", lambda: _is_looked_at(pool, health), stop, health, away=AWAY)
    await keep_going(KAFKA, lambda: _is_there(settings, health), stop, health, away=(KafkaError, OSError))
    partitions = Partitions(USAGE, settings, pool, f"recorder-{uuid4()}", health)
    metrics = RecorderMetrics(health.registry)
    refusing = RefusedShare(metrics.refused_share)
    recorder = Recorder(pool, partitions, health, clock, metrics, refusing, settings.rate_cards_reload_seconds, listed)
    faststream = logging.getLogger("faststream")
    faststream.setLevel(logging.WARNING)  # below, it tells of every batch
    broker = kafka.broker(
        settings, client_id=GROUP, apply_types=False, logger=faststream, metadata_max_age_ms=METADATA_MAX_AGE_MS
    )
    attach(broker, recorder, settings.kafka_session_timeout_ms, stop)
    try:
        if not stop.is_set():
            await _run(settings, broker, recorder, stop, Assurance(settings, health, USAGE))
    finally:
        await broker.stop()
        await recorder.finish()
        await pool.close()


async def _is_looked_at(pool: Pool, health: Health) -> None:
    """A clone of the disk would take partitions from production's own recorders: it has production's group."""
    async with pool.acquire() as connection:
        await check_looked(connection)
    health.back("the store")


async def _is_there(settings: Settings, health: Health) -> None:
    """FastStream's broker starts once and gives up for good: so it is started when Kafka answers."""
    async with topic_admin.administering(settings, client_id=f"{GROUP}-start"):
        health.back(KAFKA)


async def _run(
    settings: Settings, broker: KafkaBroker, recorder: Recorder, stop: asyncio.Event, assurance: Assurance
) -> None:
    await broker.start()
    async with kafka.consumer(
        settings, client_id=f"{GROUP}-ends", enable_auto_commit=False, isolation_level="read_uncommitted"
    ) as recorder.partitions.uncommitted:
        watching = watch_kafka(settings, recorder.health, stop)
        await _run_until_stopped(recorder, stop, _look_around(recorder, assurance), watching)


async def _run_until_stopped(recorder: Recorder, stop: asyncio.Event, *besides: Coroutine[Any, Any, None]) -> None:
    recorder.health.ready()
    looking = {asyncio.create_task(work) for work in besides}
    ended = {*looking, recorder.failed}
    try:
        await until_stopped(asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED), stop)
    finally:
        for task in looking:
            task.cancel()
        await asyncio.wait(looking)
    for future in ended:
        if future.done() and not future.cancelled():
            future.result()


async def _look_around(recorder: Recorder, assurance: Assurance) -> None:
    """Lag for dashboards, Kafka's time for sealing, and Kafka-side commits that nobody reads back."""
    partitions = recorder.partitions
    while True:
        asked_at = recorder.clock()
        await asyncio.sleep(LOOK_AROUND_SECONDS)
        try:
            await partitions.look_around(busy=lambda: recorder.busy, asked_at=asked_at)
            offsets = {TopicPartition(USAGE, p): mine.next_offset for p, mine in partitions.owned.items()}
            if offsets:
                await partitions.consumer.commit(offsets)
            await assurance.tell()
        except (*AWAY, KafkaError) as away:
            log.info("could not look around", error=repr(away))
