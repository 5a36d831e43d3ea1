"""Usage that comes in by HTTP goes to Kafka, as if the feature service had sent it there itself.

An idempotent producer numbers what it sends, and Kafka waits for every number. A batch that Kafka refuses, or that
expires, leaves a gap after which nothing of that producer is taken in that partition, ever. So after a failure the next
report goes by another producer. What the one before still has on its way may arrive as well: sending the same twice
does no harm.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.topics import USAGE
from services.runtime import kafka
from services.runtime.clock import until_stopped
from services.runtime.errors import Refused, Unavailable
from services.runtime.retry import Retry
from services.runtime.settings import Settings
from services.runtime.tracing.context import current_trail

PATIENCE_SECONDS = 10
GOODBYE_SECONDS = 5
RECORD_BYTES = 2 * 1024 * 1024


class UsageProducer:
    """A producer that reads of balances need not wait for: it connects by itself, and anew when Kafka was away."""

    def __init__(self, settings: Settings, topic: str = USAGE) -> None:
        self.settings, self._topic = settings, topic
        self._producer: AIOKafkaProducer | None = None
        self._needed = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep a producer until the process stops."""
        retry = Retry("Kafka", (KafkaError, OSError), stop=stop)  # reads of balances can be served without it
        while not stop.is_set():
            async with retry:
                await self._connect()
                await until_stopped(self._needed.wait(), stop)
        if self._producer is not None:
            self._replace(self._producer)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=GOODBYE_SECONDS)

    async def _connect(self) -> None:
        # What was answered with 202 is on every replica, once, in the order in which it came.
        producer = kafka.producer(
            self.settings, client_id="creditwell-api", linger_ms=2, max_request_size=RECORD_BYTES,
            request_timeout_ms=PATIENCE_SECONDS * 1000,
        )  # fmt: skip
        try:
            await producer.start()
        except (KafkaError, OSError):
            await producer.stop()
            raise
        self._needed.clear()
        self._producer = producer

    def _replace(self, producer: AIOKafkaProducer) -> None:
        """Send nothing more by this producer; it leaves when what it has on its way has arrived, or has failed."""
        if self._producer is producer:
            self._producer = None
            self._needed.set()
            leaving = asyncio.create_task(_leave(producer))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def send(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Send (team, event) records; returns when Kafka has acknowledged all of them.

        Raises:
            Unavailable: Kafka did not acknowledge in time. Some may be there: sending the same again does no harm.
            Refused: too_large.
        """
        producer = self._producer
        if producer is None:
            raise Unavailable("Kafka does not answer; send the same again in a moment", code="kafka_away")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                sent = [await self._hand_over(producer, team_id, value) for team_id, value in events]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as away:
            self._replace(producer)
            raise Unavailable(
                f"Kafka did not acknowledge: {away!r}; send the same again in a moment", code="kafka_away"
            ) from away

    async def _hand_over(self, producer: AIOKafkaProducer, team_id: str, value: bytes) -> asyncio.Future[object]:
        """Give one record to the producer, which has no number for it until it fits."""
        try:
            acknowledged: asyncio.Future[object] = await producer.send(
                self._topic, value, key=team_id.encode(), headers=_headers()
            )
        except MessageSizeTooLargeError as too_large:
            raise Refused("too_large", str(too_large)) from too_large
        return acknowledged


def _headers() -> list[tuple[str, bytes]]:
    """What the caller calls his request, and its trace, for events that have none of their own."""
    return [(name, text.encode()) for name, text in current_trail().headers()]


async def _leave(producer: AIOKafkaProducer) -> None:
    with suppress(KafkaError):  # whoever waited for it has been told
        await producer.stop()
