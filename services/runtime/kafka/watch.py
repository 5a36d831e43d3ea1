"""Whether Kafka answers, for `/readyz`: clients that have nothing to send wait for it for ever, without a word."""

import asyncio

from aiokafka.errors import KafkaError

from services.runtime.clock import until_stopped
from services.runtime.health import Health
from services.runtime.kafka.topic_admin import administering
from services.runtime.retry import Retry
from services.runtime.settings import Settings

KAFKA = "Kafka"
ASK_SECONDS = 10.0


async def watch_kafka(
    settings: Settings, health: Health, stop: asyncio.Event, *, ask_seconds: float = ASK_SECONDS
) -> None:
    """Say in health whether any broker answers, until told to stop.

    A new connection each time: an old one would be of one broker, and the others may do well without it.
    """
    await until_stopped(_ask_on(settings, health, ask_seconds), stop)


async def _ask_on(settings: Settings, health: Health, ask_seconds: float) -> None:
    retry = Retry(KAFKA, (KafkaError, OSError), health=health)
    while True:
        async with retry:
            async with administering(settings, client_id="creditwell-watch"):
                health.back(KAFKA)
            await asyncio.sleep(ask_seconds)
