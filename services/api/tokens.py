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
from pathlib import Path
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from schemas.facts import NO_ID, is_id
from services.api.token_keys import (
    DEVELOPMENT,
    KEYS_FRESH,
    FetchedKeys,
    FixedKeys,
    KeySource,
    development_key,
    read_file,
    read_url,
    usable_keys,
)
from services.runtime.clock import Clock, system_clock
from services.runtime.errors import Refused
from services.runtime.settings import Settings, WrongSettings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
DEVELOPMENT_AUDIENCE = "creditwell"
EVERY_TEAM = "*"
TOKEN_MAX = 8 * 1024
NAME_MAX = 128
REMEMBERED_MAX = 10_000
AHEAD_MAX = timedelta(seconds=60)  # of an issuer's clock: a token may begin so much later than now
LASTS_AT_MOST = timedelta(hours=24)  # a person's token, from now
FOR_EVER = timedelta(days=36_500)

# Members of a header that nobody knows are ignored (RFC 7515 §4): issuers have members of their own there. What `crit`
# names must be known.
HEADERS = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
HEADERS.max_header_length = 4 * 1024  # a chain of certificates has its place there

log = structlog.get_logger("tokens")


class TokenRole(StrEnum):
    """What a token's bearer is to the team."""

    MEMBER = "member"
    ADMIN = "admin"
    SERVICE = "service"
    FINANCE = "finance"
    OPERATOR = "operator"


PEOPLE = frozenset({TokenRole.MEMBER, TokenRole.ADMIN})
DECIDERS = (TokenRole.OPERATOR, TokenRole.FINANCE)  # on what another person asked for
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

    def __init__(
        self,
        keys: KeySource,
        issuer: str,
        audience: str,
        clock: Clock = system_clock,
        lasts_at_most: timedelta = LASTS_AT_MOST,
    ) -> None:
        self.lasts_at_most = lasts_at_most
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
            signed = jwt.decode(token, keys, algorithms=ALGORITHMS, registry=HEADERS)
            claims = signed.claims
            # An issuer whose clock is a second ahead is no attack: `iat` is not checked, and `nbf` below.
            registry.validate({name: value for name, value in claims.items() if name not in {"iat", "nbf"}})
        except (JoseError, ValueError, TypeError, AttributeError, LookupError) as error:
            # Nobody is known yet who has written this, and the library trusts the types of what it reads.
            raise BadToken(f"the token was not accepted: {str(error).rstrip(': ')}") from error
        except RecursionError:
            raise BadToken("the token was not accepted: its claims are nested too deep") from None
        if "crit" in signed.header:  # it may name extensions alone, of which there is none here
            raise BadToken("the token was not accepted: nothing that crit can name is known here")
        _begun(claims, now)
        caller = _caller(claims)
        if caller.role in PEOPLE and caller.expires_at > now + self.lasts_at_most:
            hours = self.lasts_at_most / timedelta(hours=1)
            raise BadToken(f"a person's token ends at most {hours:g} hours ahead: the claim exp is too late")
        return caller


def _begun(claims: dict[str, Any], now: datetime) -> None:
    begins_at = claims.get("nbf")
    if begins_at is None:
        return
    if type(begins_at) not in {int, float}:
        raise BadToken("the claim nbf is not a time")
    if not begins_at <= (now + AHEAD_MAX).timestamp():  # nor is NaN a time that has come
        raise BadToken("the token is not valid yet")


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
        return Tokens(FixedKeys(KeySet([development_key()])), *_development(settings), clock, FOR_EVER)
    settings.require("jwt_issuer", "jwt_audience")
    issuer, audience = settings.needed("jwt_issuer"), settings.needed("jwt_audience")
    lasts_at_most = timedelta(hours=settings.jwt_person_hours)
    if "://" in settings.jwks:
        keys = FetchedKeys(settings.jwks, read_url(settings.jwks), KEYS_FRESH)
    else:
        refuse_weak_keys(Path(settings.jwks))
        keys = FetchedKeys(settings.jwks, read_file(Path(settings.jwks)), timedelta(seconds=1))
    return Tokens(keys, issuer, audience, clock, lasts_at_most)


def refuse_weak_keys(file: Path) -> None:
    """Look through a set of keys before anybody is let in by one of them; one that can't be read yet is waited for.

    Raises:
        WrongSettings: some key of it signs for somebody else than the issuer, or may be made by others.
    """
    try:
        _, weak = usable_keys(file.read_bytes())
    except (OSError, JoseError, ValueError):
        return
    if weak:
        raise WrongSettings(f"CREDITWELL_JWKS is wrong: {'; '.join(weak)}.")


def _development(settings: Settings) -> tuple[str, str]:
    return settings.jwt_issuer or DEVELOPMENT, settings.jwt_audience or DEVELOPMENT_AUDIENCE


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
