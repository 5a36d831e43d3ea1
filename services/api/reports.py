"""Usage that comes in by HTTP goes to Kafka, as if the feature service had sent it there itself."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.errors import Refused, Unavailable

TOPIC = "usage"
PATIENCE_SECONDS = 10

log = structlog.get_logger("api")


class Reports:
    """A producer that reads of balances need not wait for: it connects by itself, and again when Kafka was away."""

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Keep a producer until the process stops."""
        while not stop.is_set() and self._producer is None:
            await self._connect()
            if self._producer is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), timeout=1)
        await stop.wait()
        if self._producer is not None:
            await self._producer.stop()

    async def _connect(self) -> None:
        # acks=all and idempotence: what was answered with 202 is on every replica, once, in the order in which it came.
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka, acks="all", enable_idempotence=True, linger_ms=2,
            max_request_size=2 * 1024 * 1024, request_timeout_ms=PATIENCE_SECONDS * 1000,
        )  # fmt: skip
        try:
            await producer.start()
        except (KafkaError, OSError) as away:
            await producer.stop()
            log.warning("Kafka does not answer", error=repr(away))
            return
        self._producer = producer

    async def send(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Send (team, event) records; returns when Kafka has acknowledged all of them.

        Raises:
            Unavailable: Kafka did not acknowledge in time. Some may be there: sending the same again does no harm.
            Refused: too_large.
        """
        if self._producer is None:
            raise Unavailable("kafka_away: Kafka does not answer; send the same again in a moment")
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                sent = [await self._producer.send(TOPIC, value, key=team_id.encode()) for team_id, value in events]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as away:
            raise Unavailable(
                f"kafka_away: Kafka did not acknowledge: {away!r}; send the same again in a moment"
            ) from away
        except ValueError as too_large:
            raise Refused("too_large", str(too_large)) from too_large
