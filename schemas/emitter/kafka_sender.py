"""Brings what is in the spool to Kafka, in a thread with an event loop of its own.

Batch by batch, oldest first: a batch leaves the spool when Kafka has acknowledged all of it. The producer is idempotent
and retries by itself while brokers are away; what it can't retry costs a new producer and the same batch again. A
report that was sent twice so is the same report, and Creditwell counts it once.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from .logs import quieten_client
from .sender import LINGER_SECONDS, RETRY_MAX_SECONDS, STOP_SECONDS, SYNC_SECONDS, Sender
from .spool import Spool, SpoolBatch

BATCH_MAX_BYTES = 512 * 1024
BATCH_MAX_RECORDS = 2_000
PRODUCE_MAX_BYTES = (
    2 * BATCH_MAX_BYTES
)  # a batch always fits into one produce batch, even if it is all of one partition
PATIENCE_SECONDS = 10.0
GOODBYE_SECONDS = 1.0
KEYS_MAX = 65_536
HEADERS = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
PARTITIONER = DefaultPartitioner()
DEFAULTS: dict[str, Any] = {"client_id": "creditwell-emitter", "request_timeout_ms": 10_000}


class KafkaSender(Sender):
    """The thread, its loop and its producer."""

    EXPECTED = (KafkaError, OSError)

    def __init__(self, spool: Spool, kafka: str, topic: str, options: Mapping[str, Any]) -> None:
        super().__init__(spool, f"Kafka at {kafka}")
        self.kafka = kafka
        self.topic = topic
        self.options = options
        self.batch_bytes = BATCH_MAX_BYTES
        self.partitions: dict[bytes, int] = {}
        self.partition_count = 0
        self.loop = OwnThreadLoop()
        self.work = asyncio.Event()
        self.ready: Future[None] = Future()
        self.main: asyncio.Task[None] | None = None
        self.leaving = False
        self.thread = threading.Thread(target=self.run, name="creditwell-emitter", daemon=True)

    def start(self) -> None:
        """As every sender. Raises what aiokafka says of options that it can't take."""
        self.thread.start()
        try:
            self.ready.result()
        except BaseException:
            self.thread.join()
            raise

    def wake(self) -> None:
        """Say that there is something to send. Costs nothing while the sender is at work."""
        if self.idle:
            self.idle = False
            with suppress(RuntimeError):  # it has just stopped; the report is in the spool for the next start
                self.loop.call_soon_threadsafe(self.work.set)

    def stop(self) -> bool:
        """End the thread, whatever it is waiting for.

        False if it does not let go, as in a name server that is silent.
        """
        self.stopping = True
        if self.main is not None:
            with suppress(RuntimeError):  # it has ended already
                self.loop.call_soon_threadsafe(self.interrupt)
        self.thread.join(STOP_SECONDS)
        with self.progress:
            self.progress.notify_all()
        return not self.thread.is_alive()

    def interrupt(self) -> None:
        """Wake the main task from whatever it waits for, unless it is leaving by itself."""
        if self.main is not None and not self.leaving:
            self.main.cancel()

    def run(self) -> None:
        """The thread."""
        quieten_client()
        try:
            self.loop.run_until_complete(self.supervise())
        finally:
            self.loop.close()

    async def supervise(self) -> None:
        """Send until told to stop, with a new producer after each failure that the last one could not get over."""
        try:
            producer = self.new_producer()
        except BaseException as error:  # noqa: BLE001 - it is raised where the emitter is made
            self.ready.set_exception(error)
            return
        self.main = asyncio.current_task()
        self.ready.set_result(None)
        self.work.set()
        syncing = asyncio.create_task(self.keep_synced())
        await self.send_with(producer)
        while not await self.told_to_stop(self.retry_seconds):
            self.retry_seconds = min(2 * self.retry_seconds, RETRY_MAX_SECONDS)
            await self.send_with(self.new_producer())
        self.leaving = True
        syncing.cancel()
        await asyncio.wait([syncing])

    async def send_with(self, producer: AIOKafkaProducer) -> None:
        """Send with one producer until it fails for good, or we are told to stop."""
        try:
            async with connected(producer):
                await self.send_all(producer)
        except asyncio.CancelledError:
            if not self.stopping:  # not we: the client has torn down a connection under itself
                self.in_trouble("the client interrupted itself")
        except Exception as error:  # noqa: BLE001 - a client that fails in a new way must not end deliveries
            self.in_trouble(str(error) if isinstance(error, KafkaError) else repr(error), error)

    async def told_to_stop(self, seconds: float) -> bool:
        """Wait a little before the next try."""
        with suppress(asyncio.CancelledError):
            if not self.stopping:
                await asyncio.sleep(seconds)
        return self.stopping

    def new_producer(self) -> AIOKafkaProducer:
        """A producer that waits for every replica and writes nothing twice by itself, whatever the options say."""
        return AIOKafkaProducer(
            bootstrap_servers=self.kafka,
            acks="all",
            enable_idempotence=True,
            max_batch_size=PRODUCE_MAX_BYTES,
            **(DEFAULTS | dict(self.options)),
        )

    async def send_all(self, producer: AIOKafkaProducer) -> None:
        """Send what is there and what comes, until cancelled or until the producer gives up."""
        while True:
            batch = self.spool.peek(records_max=BATCH_MAX_RECORDS, bytes_max=self.batch_bytes)
            if batch is None:
                await self.wait_for_work()
                continue
            try:
                await self.send(producer, batch)
            except MessageSizeTooLargeError:  # the topic takes less at once than we thought
                self.batch_bytes = max(1, self.batch_bytes // 2)
                raise
            self.delivered(batch)

    async def send(self, producer: AIOKafkaProducer, batch: SpoolBatch) -> None:
        """Send one batch, in order for each team. Returns when every replica that must have it does."""
        partitions = sorted(await producer.partitions_for(self.topic))
        now_ms = time.time_ns() // 1_000_000
        builders: dict[int, Any] = {}
        for record in batch.records:
            partition = self.partition_of(record.key, partitions)
            builder = builders.get(partition) or builders.setdefault(partition, producer.create_batch())
            builder.append(timestamp=now_ms, key=record.key, value=record.value, headers=HEADERS)
        sent = sum(builder.record_count() for builder in builders.values())
        if sent != len(batch.records):
            raise AssertionError(f"{sent} of {len(batch.records)} reports fit into the produce batches")
        waiting = [
            await producer.send_batch(builder, self.topic, partition=partition)
            for partition, builder in builders.items()
        ]
        pending: set[asyncio.Future[Any]] = set(waiting)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=PATIENCE_SECONDS)
            if pending:
                self.in_trouble(f"no acknowledgement for {PATIENCE_SECONDS:.0f} s")
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def partition_of(self, key: bytes, partitions: Sequence[int]) -> int:
        """Where Kafka's default partitioner puts a team (murmur2), remembered because it is slow in Python."""
        if len(partitions) != self.partition_count or len(self.partitions) >= KEYS_MAX:
            self.partitions.clear()
            self.partition_count = len(partitions)
        partition = self.partitions.get(key)
        if partition is None:
            partition = self.partitions[key] = PARTITIONER(key, partitions, partitions)
        return partition

    async def wait_for_work(self) -> None:
        """Sleep until something is reported, and a moment more, so that a burst travels together."""
        self.work.clear()
        self.idle = True
        if self.spool.pending():  # it came before we said that we are idle
            self.idle = False
            self.work.set()
            return
        await self.work.wait()
        await asyncio.sleep(LINGER_SECONDS)

    async def keep_synced(self) -> None:
        """Bring to the disk, every 100 ms, what Kafka does not have by then."""
        while True:
            await self.work.wait()
            await asyncio.sleep(SYNC_SECONDS)
            try:
                self.spool.sync()
            except OSError as error:
                self.in_trouble(f"the spool can't be brought to the disk: {error}")


class OwnThreadLoop(asyncio.SelectorEventLoop):
    """A loop that resolves names in its own thread: the pool that asyncio would use is gone when a program exits."""

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 - as in asyncio
        return socket.getaddrinfo(*args, **kwargs)


@asynccontextmanager
async def connected(producer: AIOKafkaProducer) -> AsyncIterator[None]:
    """A producer that is started, and is gone afterwards, even if it still waits for a broker that is away."""
    others = asyncio.all_tasks()
    try:
        await producer.start()
        yield
    finally:
        leaving = asyncio.create_task(disconnect(producer, others))
        while not leaving.done():
            with suppress(asyncio.CancelledError):  # told to stop just now; this is how we stop
                await asyncio.wait([leaving])
        leaving.result()


async def disconnect(producer: AIOKafkaProducer, others: set[asyncio.Task[Any]]) -> None:
    """Stop a producer; one that does not stop in time, with all that it started."""
    stopping = asyncio.ensure_future(producer.stop())
    _, late = await asyncio.wait([stopping], timeout=GOODBYE_SECONDS)
    if late:
        # Nobody else uses this loop, so whatever runs in it and did not before belongs to the producer.
        tasks = asyncio.all_tasks() - others - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=GOODBYE_SECONDS)
        await producer.client.close()
    else:
        stopping.result()
