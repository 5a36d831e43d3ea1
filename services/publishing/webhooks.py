"""One signed webhook to the host product: its signature, its answer, and when to try again."""

import asyncio
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import NamedTuple

import httpx2

from services.publishing.notice_rows import Due
from services.runtime.tracing.spans import span

# After each failed try; with the first try ten in all, over 75 hours: the schedule of Standard Webhooks.
DELAYS = (
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5),
    timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=24),
)  # fmt: skip
JITTER = 0.2  # up to a fifth later, so that what failed together does not come back together
RETRY_AFTER_MAX = timedelta(hours=24)
GONE = 410
TIMEOUT_SECONDS = 15.0
BODY_MAX_BYTES = 20_000
ANSWER_LENGTH_MAX = 200
PREFIX = "whsec_"


class HostAnswer(NamedTuple):
    """What came of a try; `status` is None where there was no answer."""

    status: int | None
    words: str
    retry_after: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class NoticeHost:
    """Where notices go, and the keys that they are signed with."""

    client: httpx2.AsyncClient
    url: str
    keys: Sequence[bytes]
    timeout_seconds: float = TIMEOUT_SECONDS

    async def tell(self, notice: Due) -> HostAnswer:
        """One try. The answer's body is not read: whatever it says, it is nothing to us."""
        body = notice.body.encode()
        assert len(body) <= BODY_MAX_BYTES, f"a notice of {len(body)} bytes"
        headers = {
            "content-type": "application/json", "user-agent": "creditwell",
            **signed(notice.notice_id, notice.now, body, self.keys),
        }  # fmt: skip
        with span("notice", "client", parent=notice.traceparent) as opened:
            opened.note("creditwell.notice_id", notice.notice_id)
            headers |= notice.trail.within(opened.traceparent).headers()
            return await self._post(body, headers, notice)

    async def _post(self, body: bytes, headers: Mapping[str, str], notice: Due) -> HostAnswer:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                async with self.client.stream("POST", self.url, content=body, headers=headers) as answer:
                    return HostAnswer(answer.status_code, words_of(answer), retry_after(answer.headers, notice.now))
        except TimeoutError:
            return HostAnswer(None, f"no answer in {self.timeout_seconds:.0f} s")
        except httpx2.TransportError as error:
            return HostAnswer(None, f"{type(error).__name__}: {error}"[:ANSWER_LENGTH_MAX])


def words_of(answer: httpx2.Response) -> str:
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
    except (ValueError, TypeError, LookupError, OverflowError):  # the library reads what nobody would write
        return timedelta()
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta()), RETRY_AFTER_MAX)


def again_in(tries: int, answer: HostAnswer, jitter: float) -> timedelta | None:
    """How long to wait after a failed try; None to give up.

    Args:
        tries: how often it was tried, this time included.
        answer: what came of it.
        jitter: between 0 and 1.
    """
    if answer.status == GONE or tries > len(DELAYS):
        return None
    return max(DELAYS[tries - 1] * (1 + JITTER * jitter), answer.retry_after)
