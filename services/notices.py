"""Notices to the host product: signed webhooks in the form of https://www.standardwebhooks.com, sent by the relay.

Once per crossing: a notice is made of a fact, its `webhook-id` follows from the fact, and a fact is looked at once. At least once:
a try whose answer was lost, to a crash or on the way, is repeated with the same id and the same bytes; the receiver drops
ids that it has seen. In order within a team: a later notice waits until the one before is delivered or given up.

Anything but 2xx is tried again, for some three days, as Stripe and Svix do and as Standard Webhooks has it: a 401 or a 404 is
most often a receiver that is being deployed or has the wrong secret. Only 410 Gone means no for good. What was given up stays
visible (`creditwell notices list`, a metric) and can be sent again.

The relay's Kafka side has its own connection, loop and claims, and knows nothing of this one. A host that does not answer costs
at most `SENDING_MAX` open requests; nobody waits for it but the notices themselves.

The address is the operator's and never a customer's, and redirects are not followed, so nobody can aim our requests at our own
network. Where the address must be on that network, it may be.
"""

import asyncio
import hmac
import random
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from time import monotonic
from typing import NamedTuple
from uuid import uuid4

import httpx
from prometheus_client import Counter, Gauge

from services.clock import pause
from services.crashpoints import crashpoint
from services.health import Health
from services.logs import get_log
from services.settings import Settings
from services.store import notices
from services.store.claims import LEASE_SECONDS, Claims
from services.store.connect import AWAY, Connection, connect_pool
from services.store.notices import NOTICES, Due
from services.store.patience import keep_going

# After each failed try; with the first try ten in all, over 75 hours: the schedule of Standard Webhooks.
DELAYS = (
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5),
    timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=24),
)  # fmt: skip
JITTER = 0.2  # up to a fifth later, so that what failed together does not come back together
RETRY_AFTER_MAX = timedelta(hours=24)
GONE = 410
TIMEOUT_SECONDS = 15.0
SENDING_MAX = 8  # at once
LIMITS = httpx.Limits(max_connections=SENDING_MAX)
BODY_MAX_BYTES = 20_000
ANSWER_LENGTH_MAX = 200
IDLE_SECONDS = 0.2
JOIN_SECONDS = LEASE_SECONDS / 4
COUNT_SECONDS = 15.0
GOODBYE_SECONDS = 5.0
AWAY_NAME = "the database, for notices"
PREFIX = "whsec_"


class Answer(NamedTuple):
    """What came of a try; `status` is None where there was no answer."""

    status: int | None
    words: str
    retry_after: timedelta = timedelta()


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
    metrics, claims = Metrics(health), Claims(NOTICES, f"relay-{uuid4()}")

    async def work() -> None:
        pool = await connect_pool(settings.needed("database"), process="relay-notices", size=1, projections=False)
        async with (
            pool,
            pool.acquire() as connection,
            httpx.AsyncClient(timeout=timeout_seconds, follow_redirects=False, limits=LIMITS) as client,
        ):
            await claims.leave(connection)  # what a broken connection left claimed need not wait for the lease
            host = Host(client, url, keys, timeout_seconds)
            await Notifying(connection, host, page, claims, stop, health, metrics, count_seconds).run()

    await keep_going(AWAY_NAME, work, stop, health)


class Metrics:
    """How notices are doing; those of the shards that this process has."""

    def __init__(self, health: Health) -> None:
        self.tries = Counter(
            "creditwell_notice_tries", "Tries to tell the host product, by what came of them", ["outcome"],
            registry=health.registry,
        )  # fmt: skip
        self.notices = Gauge(
            "creditwell_notices", "Notices that wait to be delivered, and that were given up", ["state"],
            registry=health.registry,
        )  # fmt: skip
        self.oldest = Gauge(
            "creditwell_notice_oldest_seconds", "How long the oldest notice has waited", registry=health.registry
        )


@dataclass(frozen=True, slots=True)
class Host:
    """Where notices go, and the keys that they are signed with."""

    client: httpx.AsyncClient
    url: str
    keys: Sequence[bytes]
    timeout_seconds: float = TIMEOUT_SECONDS

    async def tell(self, notice: Due) -> Answer:
        """One try. The answer's body is not read: whatever it says, it is nothing to us."""
        body = notice.body.encode()
        assert len(body) <= BODY_MAX_BYTES, f"a notice of {len(body)} bytes"
        headers = {
            "content-type": "application/json", "user-agent": "creditwell",
            **signed(notice.notice_id, notice.now, body, self.keys),
        }  # fmt: skip
        try:
            async with asyncio.timeout(self.timeout_seconds):
                async with self.client.stream("POST", self.url, content=body, headers=headers) as answer:
                    return Answer(answer.status_code, words_of(answer), retry_after(answer.headers, notice.now))
        except TimeoutError:
            return Answer(None, f"no answer in {self.timeout_seconds:.0f} s")
        except httpx.TransportError as error:
            return Answer(None, f"{type(error).__name__}: {error}"[:ANSWER_LENGTH_MAX])


def words_of(answer: httpx.Response) -> str:
    """A status as an operator wants to read it."""
    more = "; redirects are not followed, correct CREDITWELL_NOTICE_URL" if answer.is_redirect else ""
    return f"{answer.status_code}{more}"


def keys_of(secrets: str) -> list[bytes]:
    """The keys in `whsec_…,whsec_…`; the settings made sure that they are ones."""
    return [b64decode(secret.strip().removeprefix(PREFIX), validate=True) for secret in secrets.split(",")]


def signed(notice_id: str, at: datetime, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of Standard Webhooks: id, time of this try, and a signature with each key."""
    seconds = int(at.timestamp())
    text = f"{notice_id}.{seconds}.".encode() + body
    signatures = (f"v1,{b64encode(hmac.digest(key, text, sha256)).decode()}" for key in keys)
    return {
        "webhook-id": notice_id, "webhook-timestamp": str(seconds), "webhook-signature": " ".join(signatures),
    }  # fmt: skip


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta:
    """How long the host asks us to wait: seconds or a date; nothing where it asks nothing, or nonsense."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), RETRY_AFTER_MAX.total_seconds()))
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return timedelta()
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta()), RETRY_AFTER_MAX)


def again_in(tries: int, answer: Answer, jitter: float) -> timedelta | None:
    """How long to wait after a failed try; None to give up.

    Args:
        tries: how often it was tried, this time included.
        answer: what came of it.
        jitter: between 0 and 1.
    """
    if answer.status == GONE or tries > len(DELAYS):
        return None
    return max(DELAYS[tries - 1] * (1 + JITTER * jitter), answer.retry_after)


@dataclass(slots=True)
class Notifying:
    """The way of the notices of some shards: found in the log, sent a few at once, and what came of each written down."""

    connection: Connection
    host: Host
    page: str | None
    claims: Claims
    stop: asyncio.Event
    health: Health
    metrics: Metrics
    count_seconds: float = COUNT_SECONDS
    sending: dict[asyncio.Task[Answer], Due] = field(default_factory=dict)

    async def run(self) -> None:
        """Until told to stop; then what is under way gets a few seconds."""
        joined = counted = float("-inf")
        await notices.begin(self.connection)
        try:
            while not self.stop.is_set():
                if monotonic() - joined >= JOIN_SECONDS:
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
        """Look into the log, send what is due, write down what came of it; waits a little where there is nothing to do."""
        found = await notices.keep_new(self.connection, self.claims, self.page)
        if found:
            crashpoint("notices:kept")
            self.health.beat("notices")
        waiting = await self.send_due()
        self.health.lag("notices", found + waiting)
        if self.sending:
            await self.answers(IDLE_SECONDS, asyncio.FIRST_COMPLETED)
        elif not found:
            await pause(self.stop, IDLE_SECONDS)

    async def send_due(self) -> int:
        """Begin to send what is due, as far as there is room; how many are due."""
        under_way = {(notice.shard, notice.position) for notice in self.sending.values()}
        due = await notices.due(self.connection, self.claims.positions, SENDING_MAX + len(under_way))
        fresh = [notice for notice in due if (notice.shard, notice.position) not in under_way]
        for notice in fresh[: SENDING_MAX - len(under_way)]:
            self.sending[asyncio.create_task(self.host.tell(notice))] = notice
        return len(due)

    async def answers(self, seconds: float, enough: str) -> None:
        """Wait so long at most, and write down what came."""
        if not self.sending:
            return
        done, _ = await asyncio.wait(self.sending, timeout=seconds, return_when=enough)
        for told in done:
            crashpoint("notices:sent")
            await self.write_down(self.sending.pop(told), told.result())
            self.health.beat("notices")

    async def write_down(self, notice: Due, answer: Answer) -> None:
        """Delivered, to be tried again, or given up."""
        wait = again_in(notice.tries + 1, answer, random.random())
        if answer.status is not None and 200 <= answer.status < 300:
            outcome = "delivered"
            await notices.delivered(self.connection, notice, answer.words)
        elif wait is None:
            outcome = "given_up"
            await notices.given_up(self.connection, notice, answer.words)
        else:
            outcome = "failed"
            await notices.failed(self.connection, notice, answer.words, wait)
        self.metrics.tries.labels(outcome).inc()
        say = get_log().info if outcome == "delivered" else get_log().warning
        say(f"notice {outcome}", notice_id=notice.notice_id, team_id=notice.team_id, type=notice.type,
            tries=notice.tries + 1, answer=answer.words)  # fmt: skip

    async def count(self) -> None:
        """Refresh the gauges, and forget what ended long ago."""
        waiting, given_up, oldest_seconds = await notices.count(self.connection, self.claims.positions)
        self.metrics.notices.labels("waiting").set(waiting)
        self.metrics.notices.labels("given_up").set(given_up)
        self.metrics.oldest.set(oldest_seconds)
        await notices.forget_old(self.connection)
