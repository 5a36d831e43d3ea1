"""Who is calling: JSON Web Tokens, verified against the issuer's keys.

A token says `team`, `sub` (the member), `role`, and for services the `sources` that they may report usage as. Only
asymmetric algorithms are accepted, so nobody can sign with a public key. Keys come from a JWKS file or URL and may
rotate; a key that is taken away ends its tokens with the next look at the set.

Under CREDITWELL_INSECURE_DEV=1 without a JWKS, tokens are signed by a key that everybody can read below. That is what
makes it insecure, and why logs and page say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from schemas.facts import NO_ID, is_id
from services.api.token_keys import KEYS_FRESH, FetchedKeys, FixedKeys, KeySource, read_file, read_url
from services.runtime.clock import Clock, system_clock
from services.runtime.errors import Refused
from services.runtime.settings import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
DEVELOPMENT = "creditwell-development"  # issuer, and id of the key, of development tokens
DEVELOPMENT_AUDIENCE = "creditwell"
EVERY_TEAM = "*"
TOKEN_MAX = 8 * 1024
NAME_MAX = 128
REMEMBERED_MAX = 10_000

log = structlog.get_logger("tokens")


class TokenRole(StrEnum):
    """What a token's bearer is to the team."""

    MEMBER = "member"
    ADMIN = "admin"
    SERVICE = "service"
    FINANCE = "finance"
    OPERATOR = "operator"


PEOPLE = frozenset({TokenRole.MEMBER, TokenRole.ADMIN})
FOR_EVERY_TEAM = frozenset({TokenRole.SERVICE, TokenRole.FINANCE, TokenRole.OPERATOR})


class BadToken(Exception):
    """A token that can't be accepted, with the reason in words for its bearer."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, as the token says."""

    team_id: str
    sub: str
    role: TokenRole
    sources: tuple[str, ...]
    expires_at: datetime

    def may_see(self, team_id: str) -> bool:
        """True for the team's own tokens, and for those of every team."""
        return team_id != EVERY_TEAM and self.team_id in (team_id, EVERY_TEAM)

    def may_report(self, source: str) -> bool:
        """True if the claim `sources` names the source; an entry that ends in `*` stands for all that begin so."""
        return any(source.startswith(own[:-1]) if own.endswith("*") else source == own for own in self.sources)


class Tokens:
    """Verifies tokens, and remembers those that it has verified for as long as the keys stay."""

    def __init__(self, keys: KeySource, issuer: str, audience: str, clock: Clock = system_clock) -> None:
        self.keys, self.issuer, self.audience, self.clock = keys, issuer, audience, clock
        self._remembered: dict[str, Caller] = {}
        self._under: KeySet | None = None

    async def verify(self, token: str) -> Caller:
        """The caller that a token speaks for.

        Raises:
            BadToken: it is malformed, expired, of another issuer or audience, or signed by a key that is not known.
            Unavailable: the issuer's keys can't be had.
        """
        now = self.clock()
        keys = await self.keys.key_set(now)
        if keys is not self._under:
            self._remembered, self._under = {}, keys
        caller = self._remembered.get(token)
        if caller is None:
            caller = await self._look(token, keys, now)
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[token] = caller
        if caller.expires_at <= now:
            raise BadToken("the token has expired")
        return caller

    async def _look(self, token: str, keys: KeySet, now: datetime) -> Caller:
        if len(token) > TOKEN_MAX:
            raise BadToken("the token is too long")
        try:
            return self._read(token, keys, now)
        except BadToken:
            newer = await self.keys.again(now)
            if newer is None or newer is keys:
                raise
            return self._read(token, newer, now)

    def _read(self, token: str, keys: KeySet, now: datetime) -> Caller:
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            sub={"essential": True},
            team={"essential": True},
            role={"essential": True, "values": [*TokenRole]},
        )
        try:
            claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            # An issuer whose clock is a second ahead is not an attack: `iat` is not among what is checked.
            registry.validate({name: value for name, value in claims.items() if name != "iat"})
        except (JoseError, ValueError) as error:
            raise BadToken(f"the token was not accepted: {str(error).rstrip(': ')}") from error
        return _caller(claims)


def _caller(claims: dict[str, Any]) -> Caller:
    team, sub, sources = claims["team"], claims["sub"], claims.get("sources", [])
    if not isinstance(claims["role"], str):
        raise BadToken("the claim role is text")
    if not isinstance(team, str) or max(len(team), len(sub)) > NAME_MAX or not (team + sub).isprintable():
        raise BadToken(f"the claims team and sub are printable text of at most {NAME_MAX} characters")
    if not isinstance(sources, list) or not all(isinstance(source, str) and source for source in sources):
        raise BadToken("the claim sources is a list of text")
    role = TokenRole(claims["role"])
    if team != EVERY_TEAM and not is_id(team):
        raise BadToken(f"the claim team is no team's: {NO_ID}")
    if role in PEOPLE and not is_id(sub):
        raise BadToken(f"the claim sub is no member's: {NO_ID}")
    if team == EVERY_TEAM and role not in FOR_EVERY_TEAM:
        raise BadToken(f"a token of role {role} belongs to one team")
    try:
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadToken("the claim exp is not a time") from error
    return Caller(team, sub, role, tuple(sources), expires_at)


def tokens_of(settings: Settings, clock: Clock = system_clock) -> Tokens:
    """What verifies tokens in a process.

    It ends the process where keys, issuer or audience are missing outside insecure development.
    """
    if settings.jwks is None:
        settings.require_keys("jwks", "jwt_issuer", "jwt_audience")
        return Tokens(FixedKeys(KeySet([development_key()])), *_development(settings), clock)
    settings.require("jwt_issuer", "jwt_audience")
    issuer, audience = settings.needed("jwt_issuer"), settings.needed("jwt_audience")
    if "://" in settings.jwks:
        return Tokens(FetchedKeys(settings.jwks, read_url(settings.jwks), KEYS_FRESH), issuer, audience, clock)
    fetch = read_file(Path(settings.jwks))
    return Tokens(FetchedKeys(settings.jwks, fetch, timedelta(seconds=1)), issuer, audience, clock)


def _development(settings: Settings) -> tuple[str, str]:
    return settings.jwt_issuer or DEVELOPMENT, settings.jwt_audience or DEVELOPMENT_AUDIENCE


@cache
def development_key() -> OKPKey:
    """The key of development: the same everywhere, secret from nobody."""
    seed = sha256(b"creditwell development key: everybody knows it").digest()
    return OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed), {"kid": DEVELOPMENT})


def mint(
    settings: Settings,
    *,
    team: str,
    member: str,
    role: TokenRole | str,
    sources: Sequence[str] = (),
    lasts: timedelta = timedelta(days=7),
    clock: Clock = system_clock,
) -> str:
    """A development token.

    `sources` are those that a service may report usage as; `*` at the end of one means all that begin so.

    Raises:
        ValueError: there is no such role.
        Refused: `not_development`, this is not insecure development, or a JWKS says who signs.
    """
    if not settings.insecure_dev or settings.jwks is not None:
        raise Refused(
            "not_development", "tokens are minted under CREDITWELL_INSECURE_DEV=1 without CREDITWELL_JWKS alone"
        )
    issuer, audience = _development(settings)
    now = clock()
    claims: dict[str, str | int | list[str]] = {
        "iss": issuer, "aud": audience, "sub": member, "team": team, "role": TokenRole(role).value,
        "iat": int(now.timestamp()), "exp": int((now + lasts).timestamp()),
    }  # fmt: skip
    if sources:
        claims["sources"] = list(sources)
    return jwt.encode({"alg": "Ed25519", "kid": DEVELOPMENT}, claims, development_key(), algorithms=ALGORITHMS)
