"""A feature service that does everything wrong.

It repeats itself, contradicts itself, reports late, and sends nonsense.

It has no emitter, which would not let it, and writes to Kafka by hand.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaProducer

from deploy.local.demo.cast import HARBOR, NORTHLIGHT, cost
from deploy.local.demo.reported import ReportedWork
from schemas.rates import RateCard
from services.runtime.clock import pause
from services.store.identities import Identity

SOURCE = "/features/legacy"
TEAM = NORTHLIGHT
FEATURE, ATTRIBUTES = "ai_image.generate", {"tier": "low"}
PAUSE_SECONDS = 0.35
TOO_BIG = 1_200_000

Event = dict[str, Any]


def _changed(**members: object) -> Callable[[Event], Event]:
    return lambda event: {**event, **members}


def _without(name: str) -> Callable[[Event], Event]:
    return lambda event: {key: value for key, value in event.items() if key != name}


def _data(**members: object) -> Callable[[Event], Event]:
    return lambda event: {**event, "data": {**event["data"], **members}}


# What it sends, and why that can't be stored.
NONSENSE: tuple[tuple[str, Callable[[Event], Event | bytes | None]], ...] = (
    ("not_json", lambda _: b'{"specversion": "1.0", "type'),
    ("not_json", lambda event: json.dumps(event).replace('"2"', "NaN").encode()),
    ("not_json", lambda _: b"\xff\xfe\x00"),
    ("empty_value", lambda _: None),
    ("wrong_shape", _without("time")),
    ("wrong_shape", lambda _: b"[1, 2, 3]"),
    ("bad_quantity", _data(quantity="-3")),
    ("bad_quantity", _data(quantity="0")),
    ("bad_quantity", _data(quantity="a lot")),
    ("unknown_type", _changed(type="usage.imagined.v1")),
    ("unknown_version", _changed(type="usage.reported.v9")),
    ("unknown_feature", _data(feature="ai_video.telepathy")),
    ("unknown_rate", _data(attributes={"tier": "ultra"})),
    ("unknown_team", _changed(subject="team_nobody")),
    ("future_time", lambda event: {**event, "time": (datetime.now(UTC) + timedelta(days=1)).isoformat()}),
    ("before_first_rate_card", _changed(time="2019-05-01T12:00:00Z")),
    ("reserved_source", _changed(source="creditwell:cycles")),
    ("record_too_big", _data(prompt="x" * TOO_BIG)),
    (
        "unknown_usage",
        _changed(
            type="usage.voided.v1", data={"usage_source": SOURCE, "usage_id": "never-said", "reason": "second thoughts"}
        ),
    ),
)


@dataclass
class Careless:
    """It notes what must become of each record, once Kafka has it."""

    producer: AIOKafkaProducer
    card: RateCard
    reported: ReportedWork
    random: Random = field(default_factory=lambda: Random("careless"))

    async def work(self, stop: asyncio.Event) -> None:
        """One mischief after the other, each kind in turn, until told to stop."""
        while not stop.is_set():
            for mischief in self._deck():
                if stop.is_set():
                    return
                await mischief()
                await pause(stop, PAUSE_SECONDS)

    def _deck(self) -> Iterator[Callable[[], Awaitable[None]]]:
        mischiefs = [self._repeat, self._contradict, self._report_late, self._wrong_key]
        for number, (reason, spoil) in enumerate(NONSENSE):
            yield mischiefs[number % len(mischiefs)]
            yield lambda reason=reason, spoil=spoil: self._nonsense(reason, spoil)  # type: ignore[misc]

    async def _repeat(self) -> None:
        """The same report two to four times."""
        event = self._event()
        times = self.random.randint(1, 3)
        for _ in range(1 + times):
            await self._send(event["subject"], event)
        self._accepted(event)
        self.reported.duplicates += times

    async def _contradict(self) -> None:
        """The same id with another quantity."""
        event = self._event()
        await self._send(event["subject"], event)
        self._accepted(event)
        await self._send(event["subject"], _data(quantity="3")(event))
        self.reported.conflicts += 1

    async def _report_late(self) -> None:
        """Work of an hour ago; of the academy, whose cycle ends meanwhile, that is the cycle before."""
        team = self.random.choice((TEAM, HARBOR))
        event = self._event(team, datetime.now(UTC) - timedelta(minutes=self.random.randint(45, 90)))
        await self._send(team, event)
        self._accepted(event)
        self.reported.late += 1

    async def _wrong_key(self) -> None:
        event = self._event()
        await self._send(HARBOR, event)
        self.reported.refusals["wrong_key"] += 1

    async def _nonsense(self, reason: str, spoil: Callable[[Event], Event | bytes | None]) -> None:
        spoilt = spoil(self._event())
        key = spoilt.get("subject", TEAM) if isinstance(spoilt, Mapping) else TEAM
        await self._send(key, spoilt)
        self.reported.refusals[reason] += 1

    def _event(self, team: str = TEAM, at: datetime | None = None) -> Event:
        return {
            "specversion": "1.0",
            "type": "usage.reported.v1",
            "source": SOURCE,
            "id": str(UUID(int=self.random.getrandbits(128), version=4)),
            "subject": team,
            "time": (at or datetime.now(UTC)).isoformat(),
            "data": {"feature": FEATURE, "quantity": "2", "attributes": ATTRIBUTES},
        }

    def _accepted(self, event: Event) -> None:
        identity = Identity(event["subject"], event["source"], event["id"])
        self.reported.usages[identity] = cost(self.card, FEATURE, ATTRIBUTES, "2")

    async def _send(self, key: str, what: Event | bytes | None) -> None:
        """Returns when Kafka has it, so that the next record comes after it."""
        value = json.dumps(what).encode() if isinstance(what, dict) else what
        await self.producer.send_and_wait("usage", value, key=key.encode())
