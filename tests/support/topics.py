"""Reading topics with another client than ours: what librdkafka gives is what is there."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # documented there

READ_SECONDS = 180  # a broker that was killed on a full machine comes back late
LOOK_SECONDS = 0.1

# What a broker, or the way to it, says for a moment after a restart; what lasts is noticed by the deadline.
COMING_BACK = frozenset({
    KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE,
})  # fmt: skip


@dataclass(frozen=True)
class Read:
    """A record as it lies in Kafka."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]


class TopicReader:
    """Reads a topic to its end, again and again, without ever committing."""

    def __init__(self, kafka: str, topic: str, begin: Mapping[int, int] | None = None) -> None:
        """`begin` says where; from the very beginning where it does not."""
        self._consumer = Consumer({
            "bootstrap.servers": kafka,
            "group.id": "creditwell-test-reader",  # never joined, nothing is committed to it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 20,
            "fetch.message.max.bytes": 16 * 2**20,
            "log_level": 2,  # that the broker restarts is no news
        })  # fmt: skip
        partitions = self._consumer.list_topics(topic, timeout=READ_SECONDS).topics[topic].partitions
        self._places = [
            TopicPartition(topic, number, begin[number] if begin is not None else OFFSET_BEGINNING)
            for number in partitions
        ]
        self._consumer.assign(self._places)
        self._admin = AdminClient({"bootstrap.servers": kafka, "log_level": 2})
        self._ended: dict[int, int] = {}

    def grow(self) -> None:
        """The topic has got more partitions: read them, too, from their beginning."""
        known = {place.partition for place in self._places}
        topic = self._places[0].topic
        there = self._consumer.list_topics(topic, timeout=READ_SECONDS).topics[topic].partitions
        more = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in sorted(set(there) - known)]
        self._consumer.incremental_assign(more)
        self._places += more

    async def read_to_end(self) -> list[Read]:
        """Everything new up to what is the end now."""
        return await asyncio.to_thread(lambda: list(self._read_to_end()))

    async def ends(self) -> dict[int, int]:
        """The offset after the last record of each partition."""
        return await asyncio.to_thread(self._ends)

    def _ends(self) -> dict[int, int]:
        """All in one question: of 64 partitions, one after the other, it takes more than a second.

        A broker that has just come back may not know its partitions yet: ask again, but not for ever.
        """
        deadline = time.monotonic() + READ_SECONDS
        newest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(place.topic, place.partition): newest for place in self._places}
        while True:
            try:
                told = self._admin.list_offsets(
                    wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=READ_SECONDS
                )
                return {place.partition: end.result().offset for place, end in told.items()}
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_SECONDS)

    def _read_to_end(self) -> Iterator[Read]:
        goals = self._ends()
        deadline = time.monotonic() + READ_SECONDS
        while any(self._ended.get(partition, 0) < goal for partition, goal in goals.items()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._places[0].topic} was not read to {goals} in time, only to {self._ended}")
            for message in self._consumer.consume(num_messages=5_000, timeout=0.1):
                yield from self._take(message)

    def _take(self, message) -> Iterator[Read]:  # type: ignore[no-untyped-def]
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is None:
            headers = {name: value or b"" for name, value in message.headers() or ()}
            yield Read(partition, offset, message.key(), message.value(), headers)
            self._ended[partition] = max(self._ended.get(partition, 0), offset + 1)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._ended[partition] = max(self._ended.get(partition, 0), offset)
        elif not error.retriable() and error.code() not in COMING_BACK:
            raise AssertionError(str(error))

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
