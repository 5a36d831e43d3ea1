"""What the topics promise, told once at each start.

`acks=all` waits for the copies that are in sync, and `min.insync.replicas` says how many that are at least. Where it is
1, an acknowledged record may be on one broker alone: right for one machine, and something to know everywhere else.
"""

import asyncio

import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from schemas.topics import PARTITIONS, REFUSED
from services.runtime.clock import pause
from services.runtime.health import Health
from services.runtime.kafka.topic_admin import administering, look
from services.runtime.kafka.topics import ENLARGE, Topic, is_usual
from services.runtime.settings import Settings

TRY_SECONDS = 2

log = structlog.get_logger("kafka")


class Assurance:
    """Looks at topics until it has seen them once; says what is weak, in the log, in health and as metrics."""

    def __init__(self, settings: Settings, health: Health, *names: str) -> None:
        self._settings, self._health, self._names = settings, health, names
        self._is_told = False
        self._sure = Gauge(
            "creditwell_kafka_sure_copies", "On how many brokers an acknowledged record is for sure", ["topic"],
            registry=health.registry,
        )  # fmt: skip
        self._partitions = Gauge(
            "creditwell_kafka_partitions", "Partitions of a topic, as they were at the start", ["topic"],
            registry=health.registry,
        )  # fmt: skip

    async def until_told(self, stop: asyncio.Event) -> None:
        """Try again for as long as Kafka is away."""
        while not (self._is_told or stop.is_set()):
            await self.tell()
            await pause(stop, TRY_SECONDS)

    async def tell(self) -> None:
        """Look and tell, unless that is done. What can't be read is said, and keeps nobody from their work."""
        if self._is_told:
            return
        try:
            async with administering(self._settings) as client:
                topics = (await look(client, self._names)).topics
        except KafkaError as error:
            if not error.retriable:
                self._is_told = True
                self._note(f"the settings of {', '.join(self._names)} can't be read: {error}. Allow DESCRIBE_CONFIGS")
            return
        self._is_told = True
        for name, topic in topics.items():
            self._tell_of(name, topic)

    def _tell_of(self, name: str, topic: Topic) -> None:
        partitions = len(topic.replicas)
        self._sure.labels(name).set(topic.sure_copies)
        self._partitions.labels(name).set(partitions)
        if topic.sure_copies == 1:
            self._note(
                f"{name}: an acknowledged record may be on one broker alone ({topic.copies} copies, min.insync.replicas "
                f"{topic.configs.get('min.insync.replicas')}): run `creditwell topics check`"
            )
        if name != REFUSED and partitions != PARTITIONS:
            fits = "works as well" if is_usual(partitions) else "lets recorders wait for each other"
            self._note(f"{name}: {partitions} partitions, not {PARTITIONS}, which {fits}; to change that {ENLARGE}")

    def _note(self, sentence: str) -> None:
        log.warning("Kafka's topics", note=sentence)
        self._health.notes.append(sentence)
