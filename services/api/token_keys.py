"""Where the keys come from that verify tokens: fixed, or fetched from the issuer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import httpx2
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet, OctKey, OKPKey, RSAKey

from services.runtime.errors import Unavailable

DEVELOPMENT = "creditwell-development"  # issuer, and id of the key, of development tokens
RSA_BITS_MIN = 2048
NAME_MAX = 100
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
                self._keys, weak = usable_keys(raw)
                for words in weak:
                    log.warning("a key is not used", where=self.where, why=words)
        except (OSError, httpx2.HTTPError, JoseError, ValueError) as error:
            log.warning("the keys that sign tokens could not be read", where=self.where, error=repr(error))
            return
        self._raw, self._fetched_at = raw, now


def usable_keys(raw: bytes) -> tuple[KeySet, list[str]]:
    """The keys of a JWKS that may verify tokens, and a sentence for each weak one.

    What this build can't read is left out with a warning: an issuer adds keys of new kinds beside those of old ones.

    Raises:
        ValueError: this is no JWKS, or none of its keys can be used.
    """
    try:
        members = json.loads(raw)["keys"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("this is no JWKS: it has no list `keys`") from error
    if not isinstance(members, list):
        raise ValueError("this is no JWKS: `keys` is no list")  # noqa: TRY004 - a value of somebody's document
    keys: list[Key] = []
    weak: list[str] = []
    for place, member in enumerate(members):
        try:
            key = JWKRegistry.import_key(member)
        except (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("a key can't be read", place=place, error=repr(error))
            continue
        if (why := _weakness(key, member)) is None:
            keys.append(key)
        else:
            weak.append(f"the key {str(member.get('kid', place))[:NAME_MAX]!r} {why}")
    if not keys:
        raise ValueError("; ".join(weak) or "no key of it can be read")
    return KeySet(keys), weak


def _weakness(key: Key, member: Mapping[str, object]) -> str | None:
    """Why nobody may be let in by this key, None where somebody may."""
    if key.thumbprint() == development_key().thumbprint():
        return "is the development key, which everybody has"
    if isinstance(key, OctKey):
        return "is a shared secret: whoever verifies with it can sign, too"
    if "d" in member:
        return "has its private half in it: publish the public half alone"
    if isinstance(key, RSAKey) and key.raw_value.key_size < RSA_BITS_MIN:
        return f"has {key.raw_value.key_size} bits, and RSA needs {RSA_BITS_MIN}"
    return None


@cache
def development_key() -> OKPKey:
    """The key of development: the same everywhere, secret from nobody."""
    seed = sha256(b"creditwell development key: everybody knows it").digest()
    return OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed), {"kid": DEVELOPMENT})


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
