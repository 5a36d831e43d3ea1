"""Notices to the host product: signed webhooks in the form of https://www.standardwebhooks.com, sent by the relay.

Once per crossing: a notice is made of a fact, its `webhook-id` follows from the fact, and a fact is looked at once. At
least once: a try whose answer was lost, to a crash or on the way, is repeated with the same id and the same bytes; the
receiver drops ids that it has seen. In order within a team: a later notice waits until the one before is delivered or
given up.

Anything but 2xx is tried again, for some three days, as Stripe and Svix do and as Standard Webhooks has it. A 401 or a
404 is most often a receiver that is being deployed or has the wrong secret. Only 410 Gone means no for good. What was
given up stays visible (`creditwell notices list`, a metric) and can be sent again.

The relay's Kafka side has its own connection, loop and claims, and knows nothing of this one. A host that does not
answer costs at most `SENDING_MAX` open requests; nobody waits for it but the notices themselves.

The address is the operator's and never a customer's, and redirects are not followed, so nobody can aim our requests at
our own network. Where the address must be on that network, it may be.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from uuid import uuid4

import httpx2
from prometheus_client import Counter, Gauge

from services.publishing import notice_rows
from services.publishing.notice_rows import NOTICES, Due
from services.publishing.webhooks import TIMEOUT_SECONDS, HostAnswer, NoticeHost, again_in, keys_of
from services.runtime.clock import pause
from services.runtime.crashpoints import crashpoint
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.runtime.tracing.context import carrying
from services.store.claims import Claims
from services.store.connect import AWAY, RETRYABLE, Connection, connect_pool
from services.store.halts import Halts
from services.store.lives import check_looked

SENDING_MAX = 8  # at once
LIMITS = httpx2.Limits(max_connections=SENDING_MAX)
IDLE_SECONDS = 0.2
COUNT_SECONDS = 15.0
GOODBYE_SECONDS = 5.0
AWAY_NAME = "the database, for notices"


async def notify(
    settings: Settings,
    stop: asyncio.Event,
    health: Health,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    count_seconds: float = COUNT_SECONDS,
) -> None:
    """Send until told to stop; does nothing where no address is set.

    Raises:
        WrongSettings: there is an address and no secret to sign with.
    """
    if settings.notice_url is None:
        return
    url, keys = settings.notice_url, keys_of(settings.needed("notice_secret"))
    page = settings.usage_page or (f"{settings.public_url}/usage" if settings.public_url is not None else None)
    metrics, claims = NoticeMetrics(health), Claims(NOTICES, f"relay-{uuid4()}", settings.lease_seconds)

    async def work() -> None:
        pool = await connect_pool(
            settings.needed("database"), process="relay-notices", lease_seconds=settings.lease_seconds, size=1,
            projections=False, health=health,
        )  # fmt: skip
        async with (
            pool,
            pool.acquire() as connection,
            httpx2.AsyncClient(timeout=timeout_seconds, follow_redirects=False, limits=LIMITS) as client,
        ):
            await check_looked(connection)  # a clone would tell production's host product
            await claims.leave(connection)  # what a broken connection left claimed need not wait for the lease
            host = NoticeHost(client, url, keys, timeout_seconds)
            kept = timedelta(days=settings.notice_days)
            await Notifying(connection, host, page, claims, stop, health, metrics, kept, count_seconds).run()

    await keep_going(AWAY_NAME, work, stop, health, away=RETRYABLE)


class NoticeMetrics:
    """How notices are doing; those of the shards that this process has."""

    def __init__(self, health: Health) -> None:
        self.tries = Counter(
            "creditwell_notice_tries", "Tries to tell the host product, by what came of them", ["outcome"],
            registry=health.registry,
        )  # fmt: skip
        # `increase()` does not see a series that begins with 1: each begins with 0.
        for outcome in ("delivered", "failed", "given_up"):
            self.tries.labels(outcome)
        self.notices = Gauge(
            "creditwell_notices", "Notices that wait to be delivered, and that were given up", ["state"],
            registry=health.registry,
        )  # fmt: skip
        self.oldest = Gauge(
            "creditwell_notice_oldest_seconds", "How long the oldest notice has waited", registry=health.registry
        )


@dataclass(slots=True)
class Notifying:
    """The way of the notices of some shards.

    They are read from the log, sent a few at once, and what came of each is written down.
    """

    connection: Connection
    host: NoticeHost
    page: str | None
    claims: Claims
    stop: asyncio.Event
    health: Health
    metrics: NoticeMetrics
    kept: timedelta
    count_seconds: float = COUNT_SECONDS
    sending: dict[asyncio.Task[HostAnswer], Due] = field(default_factory=dict)
    halts: Halts = field(init=False)

    def __post_init__(self) -> None:
        self.halts = Halts("notices", self.health)

    async def run(self) -> None:
        """Until told to stop; then what is under way gets a few seconds."""
        joined = counted = float("-inf")
        await notice_rows.begin(self.connection)
        await self.halts.begin(self.connection)
        try:
            while not self.stop.is_set():
                if monotonic() - joined >= self.claims.renew_seconds:
                    joined = monotonic()
                    await self.claims.join(self.connection)
                    self.health.back(AWAY_NAME)
                if monotonic() - counted >= self.count_seconds:
                    counted = monotonic()
                    await self.count()
                await self.round()
            await self.answers(GOODBYE_SECONDS, asyncio.ALL_COMPLETED)
        finally:
            for sending in self.sending:
                sending.cancel()
            await asyncio.gather(*self.sending, return_exceptions=True)
            with suppress(*AWAY):  # then it is done at the next connection, or by the lease
                await self.claims.leave(self.connection)

    async def round(self) -> None:
        """Look into the log, send what is due, write down what came of it.

        Waits a little where there is nothing to do.
        """
        kept = await notice_rows.keep_new(self.connection, self.claims, self.page, self.halts)
        if kept:
            crashpoint("notices:kept")
            self.health.beat("notices")
        waiting = await self.send_due()
        self.health.lag("notices", kept + waiting)
        if self.sending:
            await self.answers(IDLE_SECONDS, asyncio.FIRST_COMPLETED)
        elif not kept:
            await pause(self.stop, IDLE_SECONDS)

    async def send_due(self) -> int:
        """Begin to send what is due, as far as there is room; how many are due."""
        under_way = {(notice.shard, notice.position) for notice in self.sending.values()}
        due = await notice_rows.due(self.connection, self.claims.positions, SENDING_MAX + len(under_way))
        fresh = [notice for notice in due if (notice.shard, notice.position) not in under_way]
        for notice in fresh[: SENDING_MAX - len(under_way)]:
            self.sending[asyncio.create_task(self.host.tell(notice))] = notice
        return len(due)

    async def answers(self, seconds: float, enough: str) -> None:
        """Wait so long at most, and write down what came."""
        if not self.sending:
            return
        done, _ = await asyncio.wait(self.sending, timeout=seconds, return_when=enough)
        for task in done:
            crashpoint("notices:sent")
            await self.write_down(self.sending.pop(task), task.result())
            self.health.beat("notices")

    async def write_down(self, notice: Due, answer: HostAnswer) -> None:
        """Delivered, to be tried again, or given up."""
        wait = again_in(notice.tries + 1, answer, random.random())
        if answer.status is not None and 200 <= answer.status < 300:
            outcome = "delivered"
            await notice_rows.delivered(self.connection, notice, answer.words)
        elif wait is None:
            outcome = "given_up"
            await notice_rows.given_up(self.connection, notice, answer.words)
        else:
            outcome = "failed"
            await notice_rows.failed(self.connection, notice, answer.words, wait)
        self.metrics.tries.labels(outcome).inc()
        say = get_log().info if outcome == "delivered" else get_log().warning
        with carrying(notice.trail):
            say(f"notice {outcome}", notice_id=notice.notice_id, team_id=notice.team_id, type=notice.type,
                tries=notice.tries + 1, answer=answer.words)  # fmt: skip

    async def count(self) -> None:
        """Refresh the gauges, and forget what ended long ago."""
        waiting, given_up, oldest_seconds = await notice_rows.count(self.connection, self.claims.positions)
        self.metrics.notices.labels("waiting").set(waiting)
        self.metrics.notices.labels("given_up").set(given_up)
        self.metrics.oldest.set(oldest_seconds)
        await notice_rows.forget_old(self.connection, self.kept)
