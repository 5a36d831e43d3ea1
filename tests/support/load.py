"""Usage as a busy product sends it: several services, duplicates, contradictions, voids, nonsense. Everything follows from a seed."""

import asyncio
from asyncio import Future
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.support.usage import Message, binary, raw, reported, structured, voided

TIERS = (
    ("ai_image.generate", "low"),
    ("ai_image.generate", "standard"),
    ("ai_image.generate", "standard"),
    ("video_export.render", "720p"),
)
REMEMBERED = 200


@dataclass
class Load:
    """A stream of messages; `random` decides everything but the times."""

    random: Random
    teams: list[str]
    name: str = "load"
    sent: int = 0
    recent: list[Message] = field(default_factory=list)
    voidable: list[tuple[str, str]] = field(default_factory=list)

    def messages(self, count: int) -> Iterator[Message]:
        """The next messages."""
        for _ in range(count):
            yield self._next()

    def _next(self) -> Message:
        self.sent += 1
        draw = self.random.random()
        if draw < 0.10 and self.recent:
            return self.random.choice(self.recent)
        if draw < 0.12 and self.recent:
            return self._contradiction()
        if draw < 0.15:
            return raw(self.random.choice((b"nonsense", b"{}", b"", b'{"type": "\\ud800"}')), key=self._team().encode())
        if draw < 0.17 and self.voidable:
            team_id, usage_id = self.voidable.pop(self.random.randrange(len(self.voidable)))
            return self._remember(structured(voided(team_id, f"{self.name}-void-{self.sent}", of=usage_id)))
        return self._usage()

    def _usage(self) -> Message:
        team_id, (feature, tier) = self._team(), self.random.choice(TIERS)
        usage_id = f"{self.name}-{self.sent:07d}"
        event = reported(
            team_id, usage_id, feature=feature, tier=tier, quantity=str(self.random.randint(1, 5)), at=just_now()
        )
        self.voidable.append((team_id, usage_id))
        return self._remember(binary(event) if self.random.random() < 0.2 else structured(event))

    def _contradiction(self) -> Message:
        """An id that was used, saying something else."""
        team_id, usage_id = self.random.choice(self.voidable or [(self._team(), f"{self.name}-{self.sent:07d}")])
        return structured(reported(team_id, usage_id, quantity="77", at=just_now()))

    def _team(self) -> str:
        return self.random.choice(self.teams)

    def _remember(self, message: Message) -> Message:
        self.recent.append(message)
        if len(self.recent) > REMEMBERED:
            del self.recent[0]
        return message


def just_now() -> datetime:
    """A feature reports what it has done a moment ago."""
    return datetime.now(UTC) - timedelta(milliseconds=5)


@dataclass
class Pressure:
    """Sends a load at some rate until told to stop; Kafka may go away meanwhile."""

    producer: AIOKafkaProducer
    load: Load
    per_second: int = 300
    ends: dict[int, int] = field(default_factory=dict)  # how far Kafka acknowledged
    unanswered: Counter[str] = field(default_factory=Counter)  # what Kafka did not acknowledge, by why
    going: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Send a tenth of a second's worth, then the next."""
        self.going.set()
        while not self.stopping:
            await self.going.wait()
            await self.send(max(1, self.per_second // 10))
            await asyncio.sleep(0.1)

    async def pause(self) -> None:
        """Send nothing more; returns when Kafka has answered for everything that was sent."""
        self.going.clear()
        async with self.sending:
            pass

    def go(self) -> None:
        """Go on."""
        self.going.set()

    def stop(self) -> None:
        """For good."""
        self.stopping = True
        self.going.set()

    async def send(self, count: int) -> None:
        """Send so many messages of the load and wait for Kafka's word."""
        await self.send_these(list(self.load.messages(count)))

    async def send_these(self, messages: list[Message]) -> None:
        """What Kafka does not acknowledge may or may not be there."""
        async with self.sending:
            for ack in [ack for message in messages if (ack := await self._hand_over(message)) is not None]:
                try:
                    done = await ack
                except KafkaError as error:
                    self.unanswered[repr(error)] += 1
                    continue
                self.ends[done.partition] = max(self.ends.get(done.partition, 0), done.offset + 1)

    async def _hand_over(self, message: Message) -> Future[Any] | None:
        """Give a message to the producer; None when Kafka is away for so long that the producer takes nothing more."""
        try:
            waiting: Future[Any] = await self.producer.send(
                "usage", message.value, key=message.key, headers=list(message.headers), partition=message.partition
            )
        except KafkaError as error:
            self.unanswered[repr(error)] += 1
            return None
        return waiting
