"""What `credits.events` holds beyond what this store knows that it has published, and whether the log has all of it.

The relay keeps the offsets that Kafka has acknowledged. They come back with a backup or a standby, as everything in the
store does. So whatever lies beyond was published since, and each record of this log must be in it, at its place, byte
for byte. What is missing says how far the store has gone back.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from schemas.facts import Stored
from schemas.places import POSITION_MAX
from schemas.topics import EVENTS
from services.publishing.batches import ORIGIN, cloud_event
from services.runtime import kafka
from services.runtime.settings import Settings
from services.store.connect import Connection
from services.store.lives import LOG
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import SHARDS

DATA = b',"data":'
PLACES_MAX = 1_000

Spans = Mapping[int, tuple[int, int]]  # of each partition, from which offset to which

OFFSETS = "SELECT partition, next_offset FROM published_offsets"
KEEP = """
    INSERT INTO published_offsets (partition, next_offset) SELECT * FROM unnest($1::integer[], $2::bigint[])
    ON CONFLICT (partition) DO UPDATE SET next_offset = greatest(published_offsets.next_offset, excluded.next_offset)
"""
AT = f"""
    SELECT {FACT_COLUMNS} FROM facts
    JOIN unnest($1::smallint[], $2::bigint[]) AS place (shard, position) USING (shard, position)
"""


class Published(NamedTuple):
    """A fact as it stands in the topic: the block that it was part of, and in which life of the server."""

    stored: Stored
    life: int
    first: int
    last: int


@dataclass(slots=True)
class Beyond:
    """What lies beyond.

    Attributes:
        published: facts of this log, in the order of the topic.
        foreign: records of other logs, or of no log at all.
        gone: why the topic can't tell what was published: it was cut, made anew, or has forgotten.
        ends: where each partition ends.
    """

    published: list[Published] = field(default_factory=list)
    foreign: int = 0
    gone: list[str] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Compared:
    """What of that the log lacks, by shard and position, and the places at which it holds something else."""

    lost: dict[tuple[int, int], list[Published]] = field(default_factory=dict)
    contradicted: list[Published] = field(default_factory=list)

    def why(self, gone: Sequence[str]) -> str | None:
        """In one sentence, how far the store went back; None where it did not, as far as the topic tells."""
        sentences = []
        if self.lost:
            shards = {shard for shard, _ in self.lost}
            times = [one.stored.recorded_at for published in self.lost.values() for one in published]
            sentences.append(
                f"{len(self.lost)} facts of {len(shards)} shards were published and are not in the log, "
                f"recorded from {min(times):%Y-%m-%dT%H:%M:%S.%fZ} to {max(times):%Y-%m-%dT%H:%M:%S.%fZ}"
            )
        if self.contradicted:
            sentences.append(f"at {len(self.contradicted)} published positions the log holds something else")
        return "; ".join([*sentences, *gone]) or None


async def read_beyond(settings: Settings, connection: Connection) -> Beyond:
    """Read the topic from what was acknowledged to its present end.

    Raises:
        KafkaError: it can't be read now.
    """
    log = await connection.fetchval(LOG)
    offsets = await kept_offsets(connection)
    async with a_consumer(settings) as consumer:
        places = await places_of(consumer, EVENTS)
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        beyond = Beyond(ends={place.partition: end for place, end in ends.items()})
        spans = {}
        for place in places:
            since = offsets.get(place.partition, starts[place])
            if ends[place] < since:
                beyond.gone.append(
                    f"{EVENTS}-{place.partition} ends at {ends[place]}, before {since}: it was made anew"
                )
            elif starts[place] > since:
                beyond.gone.append(
                    f"{EVENTS}-{place.partition} begins at {starts[place]}, after {since}: it has forgotten"
                )
            elif ends[place] > since:
                spans[place] = (since, ends[place])
        there = {place.partition for place in places}
        for partition, since in sorted(offsets.items()):
            if since and partition not in there:
                beyond.gone.append(f"{EVENTS}-{partition} is not there, and was published to before {since}")
        async for record in records_of(consumer, spans):
            one = read_published(record, log)
            if one is None:
                beyond.foreign += 1
            else:
                beyond.published.append(one)
        return beyond


async def read_spans(settings: Settings, log: str, spans: Spans, most: int) -> tuple[list[Published], Spans]:
    """Facts of this log between two offsets of each partition, by at most so many records; and what is left to read.

    What the topic does not have any more is left out.

    Raises:
        KafkaError: it can't be read now.
    """
    published: list[Published] = []
    rest = dict(spans)
    if not spans:
        return published, rest
    async with a_consumer(settings) as consumer:
        places = {TopicPartition(EVENTS, partition): span for partition, span in spans.items()}
        starts, ends = await consumer.beginning_offsets(list(places)), await consumer.end_offsets(list(places))
        there = {place: (max(since, starts[place]), min(end, ends[place])) for place, (since, end) in places.items()}
        there = {place: (since, end) for place, (since, end) in there.items() if since < end}
        async with aclosing(records_of(consumer, there)) as records:
            async for record in records:
                rest[record.partition] = record.offset + 1, spans[record.partition][1]
                if (one := read_published(record, log)) is not None:
                    published.append(one)
                most -= 1
                if not most:
                    return published, rest
    return published, {}


async def read_ends(settings: Settings) -> dict[int, int]:
    """Where each partition of the topic ends. Raises KafkaError."""
    async with a_consumer(settings) as consumer:
        ends = await consumer.end_offsets(await places_of(consumer, EVENTS))
        return {place.partition: end for place, end in ends.items()}


@asynccontextmanager
async def a_consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of no group, for a look. Raises KafkaError."""
    # What the topic has forgotten since it was asked for its beginning is an error. By itself a consumer would go on at
    # the end, and what was published there would pass for nothing.
    consumer = kafka.consumer(settings, client_id="creditwell-look", enable_auto_commit=False, auto_offset_reset="none")
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()


async def places_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, at least one.

    Raises:
        KafkaError: nobody answers, or who does knows of no such topic: it just started, or tells this login of none.
            That says nothing of what was published.
    """
    metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - it has no other way to ask now
    numbers = metadata.partitions_for_topic(topic)
    if not numbers:
        raise UnknownTopicOrPartitionError(topic)
    return [TopicPartition(topic, number) for number in sorted(numbers)]


async def records_of(
    consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, tuple[int, int]]
) -> AsyncGenerator[ConsumerRecord]:
    """The records from the first offset of each partition to the second. Raises KafkaError."""
    if not spans:
        return
    consumer.assign(list(spans))
    for place, (since, _) in spans.items():
        consumer.seek(place, since)
    open_places = dict(spans)
    while open_places:
        for place, records in (await consumer.getmany(*open_places, timeout_ms=500)).items():
            for record in records:
                if record.offset < spans[place][1]:
                    yield record
        for place in list(open_places):  # markers of transactions are passed and never given
            if await consumer.position(place) >= spans[place][1]:
                del open_places[place]
                consumer.pause(place)


def read_published(record: Any, log: str) -> Published | None:
    """A record of this log; None for any other, and for what only looks like one."""
    origin = (dict(record.headers).get(ORIGIN) or b"").decode("ascii", "replace").split(" ")
    if len(origin) != 4 or origin[0] != log or record.value is None:
        return None
    try:
        head, data, rest = record.value.partition(DATA)
        event, (life, first, last) = json.loads(head + b"}"), map(int, origin[1:])
        stored = Stored(
            event["shard"], event["position"], datetime.fromisoformat(event["recordedat"]),
            datetime.fromisoformat(event["time"]), event["subject"], event["source"], event["id"], event["type"], rest[:-1],
        )  # fmt: skip
        exact = bool(data) and cloud_event(stored) == record.value and first <= stored.position <= last
        exact &= 0 <= stored.shard < SHARDS and 0 < stored.position <= POSITION_MAX
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return Published(stored, life, first, last) if exact else None


async def compare(connection: Connection, published: Sequence[Published]) -> Compared:
    """Look each of them up in the log."""
    compared = Compared()
    for some in _pages(published):
        shards, positions = [one.stored.shard for one in some], [one.stored.position for one in some]
        rows = await connection.fetch(AT, shards, positions)
        log = {(row["shard"], row["position"]): stored_of(row) for row in rows}
        for one in some:
            place = one.stored.shard, one.stored.position
            if place not in log:
                compared.lost.setdefault(place, []).append(one)
            elif log[place] != one.stored:
                compared.contradicted.append(one)
    return compared


def _pages(published: Sequence[Published]) -> Iterator[Sequence[Published]]:
    return (published[begin : begin + PLACES_MAX] for begin in range(0, len(published), PLACES_MAX))


async def kept_offsets(connection: Connection) -> dict[int, int]:
    """Of each partition, the offset behind what Kafka is known to have acknowledged."""
    return {row["partition"]: row["next_offset"] for row in await connection.fetch(OFFSETS)}


async def keep_offsets(connection: Connection, ends: Mapping[int, int]) -> None:
    """Kafka has acknowledged everything before these offsets. After the checkpoint: all of it is in the log."""
    if ends:
        await connection.execute(KEEP, list(ends), list(ends.values()))
