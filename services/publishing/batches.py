"""Facts as Kafka's records: one batch for each partition, in order per team."""

import asyncio
import time
from asyncio import Future
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring  # C
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.facts import AMENDMENTS, Stored
from schemas.instants import instant
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.tracing.context import Trail
from services.store.shards import partition_of

BATCH_BYTES = 1_000_000  # to each partition in a round; brokers take 1 MiB unless told otherwise
AMENDMENT_BYTES = 64 * 1024  # of its two facts together, rather more than less
GOODBYE_SECONDS = 5
AWAY_NAME = "Kafka or the database"

Headers = list[tuple[str, bytes]]
NO_TRAILS: Mapping[tuple[int, int], Trail] = {}
ORIGIN = "creditwell-origin"
HEADERS: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


class Batches:
    """One batch for each partition of a topic; what does not fit waits for the next round."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self.producer = producer
        self.topic = topic
        self.partitions = partitions
        self.now_ms = int(time.time() * 1000)
        self.builders: dict[int, Any] = {}
        self.acks: set[Future[Any]] = set()
        self.places: dict[int, tuple[int, int]] = {}  # of each partition, from where to where Kafka has put the batch

    def add(self, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """False when the partition's batch is full."""
        builder = self.builders.get(partition)
        if builder is None:
            builder = self.builders[partition] = self.producer.create_batch()
        return builder.append(timestamp=self.now_ms, key=key, value=value, headers=headers) is not None

    def has_room(self, partition: int, size: int) -> bool:
        """True where so many bytes fit into the partition's batch for sure."""
        builder = self.builders.get(partition)
        return builder is None or builder.size() + size <= BATCH_BYTES

    async def send(self) -> None:
        """Hand the batches to the producer, which sends them in the background."""
        for builder in self.builders.values():
            builder.close()
        self.acks.update(
            await asyncio.gather(
                *(
                    self.producer.send_batch(builder, self.topic, partition=partition)
                    for partition, builder in self.builders.items()
                )
            )
        )

    async def acknowledged(self, stop: asyncio.Event, health: Health) -> None:
        """Wait for Kafka, for as long as it takes or, when told to stop, some seconds more.

        Raises:
            KafkaError: a batch was refused.
            Unavailable: told to stop, and Kafka does not answer.
        """
        patience = GOODBYE_SECONDS
        while self.acks:
            done, self.acks = await asyncio.wait(self.acks, timeout=1)
            for ack in done:
                sent = ack.result()
                if sent.offset >= 0:  # Kafka does not say it of a batch that it had before
                    end = sent.offset + self.builders[sent.partition].record_count()
                    self.places[sent.partition] = sent.offset, end
            if self.acks:
                await self._say_whether_away(health)
                patience -= stop.is_set()
            if not patience:
                raise Unavailable("Kafka has not acknowledged")

    async def _say_whether_away(self, health: Health) -> None:
        """The producer itself tries again in silence.

        Whoever waits for a broker that is there is stuck, and should be known to be.
        """
        try:
            async with asyncio.timeout(1):
                await self.producer.client.fetch_all_metadata()
        except (KafkaError, TimeoutError) as away:
            health.away(AWAY_NAME, away)
        else:
            health.back(AWAY_NAME)


def shares(behind: Mapping[int, int], most: int) -> dict[int, int]:
    """How many facts of each shard go into a round of so many, at least one of each.

    Whoever needs less than an equal share leaves the rest to the others, so one shard far behind fills the round alone.
    """
    parts: dict[int, int] = {}
    remaining = most
    for count, (shard, facts) in enumerate(sorted(behind.items(), key=lambda item: (item[1], item[0]))):
        parts[shard] = max(1, min(facts, remaining // (len(behind) - count)))
        remaining -= parts[shard]
    return parts


def fill(
    batches: Batches,
    facts: Mapping[int, Sequence[Stored]],
    origin: "Origin",
    trails: Mapping[tuple[int, int], Trail] = NO_TRAILS,
) -> dict[int, int]:
    """Put facts into batches, each shard up to the first that does not fit; the positions reached.

    Kafka has a batch whole or not at all. So an amendment, which is two facts, goes out in one: half of it is wrong.
    """
    reached: dict[int, int] = {}
    full: set[int] = set()
    for shard, round_of_shard in facts.items():
        read = _without_half(round_of_shard)
        for stored, headers in zip(read, origin.headers(read), strict=True):
            if trails and (trail := trails.get((shard, stored.position))) is not None:
                headers = [*headers, *((name, text.encode()) for name, text in trail.headers())]  # noqa: PLW2901 - those of its block, and its own
            key, partition = route(stored.team_id, batches.partitions)
            if (
                partition in full
                or (stored.source == AMENDMENTS and not batches.has_room(partition, AMENDMENT_BYTES))
                or not batches.add(partition, key, cloud_event(stored), headers)
            ):
                full.add(partition)
                break
            reached[shard] = stored.position
    return reached


def _without_half(read: Sequence[Stored]) -> Sequence[Stored]:
    """Facts of a shard; what takes a usage back waits for the round that has the usage behind it as well."""
    return read[:-1] if len(read) > 1 and read[-1].source == AMENDMENTS else read


@dataclass(frozen=True, slots=True)
class Origin:
    """Of which log, which life of its server and which blocks facts are: what brings them back where they are lost.

    `blocks` are the first and last positions of the blocks of each shard, ascending; every fact is in one of them.
    """

    log: str
    life: int
    blocks: Mapping[int, Sequence[tuple[int, int]]]

    def headers(self, read: Sequence[Stored]) -> Iterator[Headers]:
        """Of each fact, of some of one shard in order: log, life, and the first and last position of its block.

        Those of a block share them.
        """
        blocks, last = iter(self.blocks[read[0].shard]), 0
        headers: Headers = []
        for stored in read:
            while stored.position > last:
                first, last = next(blocks)
                headers = [*HEADERS, (ORIGIN, f"{self.log} {self.life} {first} {last}".encode())]
            yield headers


@lru_cache(maxsize=200_000)
def route(team_id: str, partitions: int) -> tuple[bytes, int]:
    """The key of a team's records and their partition, by Kafka's default partitioner."""
    key = team_id.encode()
    return key, partition_of(key, partitions)


def cloud_event(stored: Stored) -> bytes:
    """A fact as a structured CloudEvent. Its data are the very bytes that the log keeps, and that its leaf covers."""
    return (
        (
            f'{{"specversion":"1.0","id":{encode_basestring(stored.id)},"source":{encode_basestring(stored.source)},'
            f'"type":"{stored.type}","subject":{encode_basestring(stored.team_id)},"time":"{instant(stored.occurred_at)}",'
            f'"datacontenttype":"application/json","shard":{stored.shard},"position":{stored.position},'
            f'"recordedat":"{instant(stored.recorded_at)}","data":'
        ).encode()
        + stored.body
        + b"}"
    )
