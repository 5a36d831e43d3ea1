"""Tokens for brokers that want OAUTHBEARER: from a file, or from an OAuth 2.0 endpoint for client credentials.

A file is read for each connection: whoever writes it (Kubernetes, a sidecar that signs for MSK's IAM) keeps it fresh.
A token of an endpoint is kept until four fifths of its life are over. Until its end it bridges an endpoint that is
away. Brokers that end a connection with its token (KIP-368) see the next one when it is made again.
"""

import asyncio
import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from services.runtime.logs import get_log
from services.runtime.settings import Settings, variable

ANSWER_SECONDS = 10
ANSWER_BYTES_MAX = 64 * 1024
KEPT_SHARE = 0.8  # of its life
LIFE_SECONDS_MAX = 7 * 24 * 3_600  # what an endpoint writes is no reason to keep a token for ever
LIFE_SECONDS = 300  # of a token that says nothing of its end, for how long it is kept
TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)  # RFC 6750; anything else would end the login's message early


class NoToken(KafkaError):  # type: ignore[misc]
    """There is no token to log in with. Waited for as a broker that is away; the sentence says what to mend."""

    retriable = True


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and until when it may be used, in seconds since the epoch; None where nobody says so."""

    text: str
    ends_at: float | None


class KafkaTokens(AbstractTokenProvider):  # type: ignore[misc]
    """What a client logs in with. aiokafka asks for each connection, from the event loop."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._asking = asyncio.Lock()  # connections that are made at once share one answer
        self._kept: Token | None = None
        self._renew_at = 0.0

    async def token(self) -> str:
        """Raises NoToken."""
        try:
            if self._settings.kafka_token_file is not None:
                return (await asyncio.to_thread(self._read, self._settings.kafka_token_file)).text
            async with self._asking:
                return await self._kept_or_asked_for()
        except NoToken as error:
            get_log().error("no token for Kafka", why=str(error))
            raise

    def extensions(self) -> dict[str, str]:
        """What the broker hears beside the token."""
        pairs = self._settings.kafka_sasl_extensions
        return dict(pair.split("=", 1) for pair in pairs.split(",")) if pairs else {}

    def _read(self, path: Path) -> Token:
        name = variable("kafka_token_file")
        try:
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NoToken(f"{name} can't be read: {error}") from None
        token = _token_of(text, f"what {name} holds")
        if token.ends_at is not None and token.ends_at <= self._now():
            raise NoToken(f"the token in {name} has ended; whoever writes that file has to renew it")
        return token

    async def _kept_or_asked_for(self) -> str:
        if self._kept is None or self._now() >= self._renew_at:
            try:
                self._keep(await self._ask())
            except NoToken as error:
                if self._kept is None or self._kept.ends_at is None or self._now() >= self._kept.ends_at:
                    raise
                get_log().warning("the token for Kafka could not be renewed; the one before is used", why=str(error))
        assert self._kept is not None
        return self._kept.text

    def _keep(self, token: Token) -> None:
        life_seconds = LIFE_SECONDS if token.ends_at is None else token.ends_at - self._now()
        self._kept, self._renew_at = token, self._now() + KEPT_SHARE * life_seconds

    async def _ask(self) -> Token:
        import httpx2  # loaded by whoever asks an endpoint, and by nobody else

        settings, name = self._settings, variable("kafka_token_url")
        scope = {} if settings.kafka_token_scope is None else {"scope": settings.kafka_token_scope}
        # RFC 6749, 2.3.1: both are encoded as a form would, so that a colon in the id is none between id and secret.
        client = [quote_plus(settings.needed(f"kafka_token_client_{part}")) for part in ("id", "secret")]
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                httpx2.AsyncClient() as http,
                http.stream(
                    "POST", settings.needed("kafka_token_url"), data={"grant_type": "client_credentials", **scope},
                    auth=httpx2.BasicAuth(*client), headers={"accept": "application/json"},
                ) as response,
            ):  # fmt: skip
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES_MAX:
                        raise NoToken(f"{name} answers with more than {ANSWER_BYTES_MAX} bytes: it gives no tokens")
        except (httpx2.HTTPError, TimeoutError) as error:
            raise NoToken(f"{name} does not answer: {error!r}") from None
        return self._token_in(response.status_code, body)

    def _token_in(self, status: int, body: bytes) -> Token:
        """The token of an answer, as RFC 6749 has it. Of the answer only its error is repeated: the rest is secret."""
        name = variable("kafka_token_url")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise NoToken(f"{name} answers {status} with no JSON object: it is no token endpoint")
        if status != 200:
            raise NoToken(f"{name} refuses with {status}: {_error_of(answer)}")
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise NoToken(f"{name} gives tokens of another type than Bearer")
        token = _token_of(answer.get("access_token"), f"the access_token of {name}")
        life = answer.get("expires_in")
        if isinstance(life, str) and life.isascii() and life.isdecimal():
            life = int(life)  # as some endpoints write it
        if isinstance(life, int | float) and not isinstance(life, bool) and life >= 0:
            return Token(token.text, self._now() + min(life, LIFE_SECONDS_MAX))
        return token


def _error_of(answer: Mapping[str, Any]) -> str:
    return (
        ": ".join(str(answer[name])[:200] for name in ("error", "error_description") if name in answer) or "no reason"
    )


def _token_of(text: object, what: str) -> Token:
    """Raises NoToken: this is no token."""
    if not isinstance(text, str) or not TOKEN.fullmatch(text):
        raise NoToken(f"{what} is no token")
    return Token(text, _end_of(text))


def _end_of(text: str) -> float | None:
    """When a JWT ends, as it says itself: the broker judges it, we only renew in time."""
    parts = text.split(".")
    if len(parts) < 2:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
