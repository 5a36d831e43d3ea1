"""Where the matrix of steps is played: a database, the API before it, and the sessions that processes have."""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.receiver import Receiver
from deploy.local.stack import Stack
from deploy.local.stripe import running
from schemas.facts import AnyFact, NewFact
from schemas.topics import EVENTS, USAGE
from services.publishing.beyond import keep_offsets, read_ends
from services.store.append import append
from services.store.connect import Connection, Pool, connect_pool
from tests.support.api import NO_LIMITS, Api, an_api
from tests.support.desk import KEY, Desk, a_desk, desk_at
from tests.support.lives import settings_of
from tests.support.serving import as_role, connected, plan
from tests.support.topics import TopicReader
from tests.support.world import ends_of

PASSED = """
    INSERT INTO kafka_cursors (topic, partition, epoch, owner, next_offset, passed_at)
    SELECT 'usage', n, 1, '', 0, $1 FROM generate_series(0, 7) n
    ON CONFLICT (topic, partition) DO UPDATE SET passed_at = excluded.passed_at
"""


HOST_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = "whsec_stand_in"
SITE = "https://host.example"


class Others(NamedTuple):
    """What a process on the same ground shares with the one that made it: anchors, Stripe and the host product."""

    folder: Path
    stripe: str
    host: str


@dataclass
class Ground:
    """What a work needs.

    Attributes:
        connection: a superuser's, for what a run does to the world.
        worker: a session of the worker's role.
        workers: more of them.
        recorders: sessions of the recorder's role.
        signers: sessions of the signer's role.
        folder: where anchors lie.
        desk: the stand-in for Stripe, which tells the API of what happens there.
        host: where the host product takes notices; `receiver` is the host product, where it is in this process.
        topic: the records of the one partition that this ground has, as Kafka would give them.
    """

    stack: Stack
    database: str
    connection: Connection
    worker: Connection
    workers: Pool
    recorders: Pool
    signers: Pool
    api: Api
    folder: Path
    key: Ed25519PrivateKey
    reader: TopicReader  # of credits.events, from where this ground began
    desk: Desk
    host: str
    receiver: Receiver | None = None
    topic: list[ConsumerRecord] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def team(self, team: str, *more: AnyFact, ago: timedelta = timedelta(days=1), notice: int = 0) -> None:
        """A team that exists since then, on which nobody has looked since, and what happened to it now."""
        now = datetime.now(UTC)
        first = plan(1_000, notice=notice, anchor=now - ago)
        facts = [NewFact(team, "test", "plan", now - ago, first)]
        async with self.connection.transaction():
            await append(self.connection, facts)
        if more:
            await self.tell(team, *more)

    async def tell(self, team: str, *facts: AnyFact) -> None:
        """What happened to a team now."""
        now = datetime.now(UTC)
        async with self.connection.transaction():
            await append(self.connection, [NewFact(team, "test", f"{n}", now, one) for n, one in enumerate(facts)])

    async def published(self) -> list[dict[str, Any]]:
        """What relays have put into `credits.events`, other logs' too, in the order of each partition."""
        self.events += [json.loads(record.value) for record in await self.reader.read_to_end() if record.value]
        return self.events

    async def everything_passed(self) -> None:
        """What Kafka received until now is in the log: cycles may be sealed."""
        await self.connection.execute(PASSED, datetime.now(UTC))

    def received(self, key: bytes | None, value: bytes) -> None:
        """Kafka has one record more."""
        now = datetime.now(UTC)
        self.topic.append(
            ConsumerRecord(
                USAGE, 0, len(self.topic), int(now.timestamp() * 1_000), 0, key, value, None, len(key or b""), len(value),
                [("content-type", b"application/cloudevents+json")],
            )
        )  # fmt: skip


@asynccontextmanager
async def a_ground(
    stack: Stack, database: str, key: Ed25519PrivateKey, others: Others | None = None
) -> AsyncIterator[Ground]:
    """A ground over a database with every table; with Stripe, a host product and a folder of its own unless `others` are named."""
    async with AsyncExitStack() as open_:
        connection = await open_.enter_async_context(connected(database))
        worker = await open_.enter_async_context(connected(as_role(database, "worker")))
        workers, recorders, signers = [
            await open_.enter_async_context(await connect_pool(as_role(database, role), process=role, size=2, projections=False))
            for role in ("worker", "recorder", "signer")
        ]  # fmt: skip
        receiver = Receiver(HOST_SECRET) if others is None else None
        if receiver is not None:
            folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
            host = await open_.enter_async_context(running(receiver.app()))
            desk = await open_.enter_async_context(a_desk())
        else:
            assert others is not None
            folder, host = others.folder, others.host
            desk = await open_.enter_async_context(desk_at(others.stripe))
        api = await open_.enter_async_context(
            an_api(
                stack, database, stripe_key=KEY, stripe_webhook_secret=SECRET, stripe_api=desk.url, cors_origins=SITE,
                **NO_LIMITS,
            )
        )  # fmt: skip
        if others is None:
            await desk.order("webhooks/address", url=f"{api.url}/v1/stripe/webhook", secret=SECRET)
        await keep_offsets(connection, await read_ends(settings_of(stack, database)))
        reader = open_.enter_context(closing(TopicReader(stack.kafka, EVENTS, await ends_of(stack.kafka, EVENTS))))
        yield Ground(
            stack, database, connection, worker, workers, recorders, signers, api, folder, key, reader, desk,
            f"{host}/notices" if receiver is not None else host, receiver,
        )  # fmt: skip
