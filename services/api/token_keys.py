"""Where the keys come from that verify tokens: fixed, or fetched from the issuer."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import httpx2
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.runtime.errors import Unavailable

KEYS_FRESH = timedelta(minutes=5)
KEYS_AGAIN = timedelta(seconds=10)  # an unknown key id may ask the issuer this often, whoever sends it
KEYS_STALE = timedelta(hours=1)  # without an answer of the issuer, for so long the known keys count

log = structlog.get_logger("tokens")


class KeySource(Protocol):
    """Where the issuer's public keys come from."""

    async def key_set(self, now: datetime) -> KeySet:
        """The keys as known now."""

    async def again(self, now: datetime) -> KeySet | None:
        """A newer set for a token whose key is not among the known ones; None if it is too early to ask again."""


class FixedKeys:
    """Keys that are given once: those of development, and of tests."""

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys

    async def key_set(self, now: datetime) -> KeySet:  # noqa: ARG002
        """The keys."""
        return self.keys

    async def again(self, now: datetime) -> KeySet | None:  # noqa: ARG002
        """There are no others."""
        return None


class FetchedKeys:
    """Keys from a JWKS file or URL.

    They are fetched anew when they are old and when a token names one that is not among them.
    """

    def __init__(self, where: str, fetch: Callable[[], Awaitable[bytes]], fresh: timedelta) -> None:
        self.where, self._fetch, self._fresh = where, fetch, fresh
        self._keys: KeySet | None = None
        self._raw = b""
        self._fetched_at = self._asked_at = datetime.min.replace(tzinfo=UTC)
        self._one_at_a_time = asyncio.Lock()

    async def key_set(self, now: datetime) -> KeySet:
        """The keys as known now.

        Raises:
            Unavailable: the issuer has not answered for too long.
        """
        if now - self._fetched_at >= self._fresh:
            async with self._one_at_a_time:
                if now - self._fetched_at >= self._fresh and now - self._asked_at >= min(self._fresh, KEYS_AGAIN):
                    await self._ask(now)
        if self._keys is None or now - self._fetched_at > KEYS_STALE:
            raise Unavailable(f"the keys that sign tokens can't be had from {self.where}", code="no_keys")
        return self._keys

    async def again(self, now: datetime) -> KeySet | None:
        """A newer set; None if it is too early to ask again."""
        async with self._one_at_a_time:
            if now - self._asked_at < KEYS_AGAIN:
                return None
            await self._ask(now)
        return self._keys

    async def _ask(self, now: datetime) -> None:
        self._asked_at = now
        try:
            raw = await self._fetch()
            if raw != self._raw or self._keys is None:
                self._keys = KeySet.import_key_set(json.loads(raw))
        except (OSError, httpx2.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
            log.warning("the keys that sign tokens could not be read", where=self.where, error=repr(error))
            return
        self._raw, self._fetched_at = raw, now


def read_file(path: Path) -> Callable[[], Awaitable[bytes]]:
    """A JWKS file: a few hundred bytes on a local disk."""

    async def fetch() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return fetch


def read_url(url: str) -> Callable[[], Awaitable[bytes]]:
    """A JWKS URL of the issuer."""

    async def fetch() -> bytes:
        async with httpx2.AsyncClient(timeout=5, follow_redirects=False) as client:
            response = await client.get(url)
            return response.raise_for_status().content

    return fetch
