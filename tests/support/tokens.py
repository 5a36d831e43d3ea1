"""Tokens of an issuer that tests play, and every way that is known to forge one."""

import base64
import hmac
import json
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwe, jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from services.api.tokens import ALGORITHMS

ISSUER, AUDIENCE = "https://login.example.com/", "creditwell"
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
STRANGER = ECKey.generate_key("P-256", {"kid": "ec"})

Signing = Callable[[bytes], bytes]


def claims_at(now: datetime, **more: Any) -> dict[str, Any]:
    """What a token says, by default a member's that is good for an hour; None takes a claim out."""
    usual = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "mem_7", "team": "team_42", "role": "member",
        "exp": int((now + timedelta(hours=1)).timestamp()),
    }  # fmt: skip
    return {name: value for name, value in (usual | more).items() if value is not None}


def encoded(claims: Mapping[str, Any], *, key: Any = EC, alg: str = "ES256") -> str:
    """A token as the issuer's library makes it."""
    with warnings.catch_warnings(action="ignore", category=SecurityWarning):
        return jwt.encode({"alg": alg, "kid": key.kid}, dict(claims), key, algorithms=[*ALGORITHMS, "HS256"])


def forged(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Signing) -> str:
    """A token put together by hand, as no library would."""
    said = f"{_part(json.dumps(header).encode())}.{_part(json.dumps(claims).encode())}"
    return f"{said}.{_part(sign(said.encode()))}"


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def unsigned(_: bytes) -> bytes:
    """No signature."""
    return b""


def by_secret(secret: bytes) -> Signing:
    """HS256."""
    return lambda said: hmac.digest(secret, said, "sha256")


def by_key(key: ECKey) -> Signing:
    """ES256."""
    private = key.private_key
    assert isinstance(private, EllipticCurvePrivateKey)

    def sign(said: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(said, ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def attacks(now: datetime, elsewhere: str = "https://evil.example.com/jwks.json") -> dict[str, str]:
    """Tokens that must let nobody in, each by its name; `elsewhere` has a stranger's keys, and must never be asked for them."""
    good = claims_at(now)
    pem = RSA.as_pem(private=False)
    stranger, theirs = by_key(STRANGER), STRANGER.as_dict(private=False)
    header = {"alg": "ES256", "kid": "ec"}
    return {
        "empty": "", "no token": "a.b.c", "too long": "x" * 10_000, "cut": encoded(good)[:-6] + "AAAAAA",
        "of five parts": jwe.encrypt_compact({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "rsa"}, json.dumps(good), RSA),
        # The algorithm is the token's word.
        "alg none": forged({"alg": "none", "kid": "ec"}, good, unsigned),
        "alg None": forged({"alg": "None", "kid": "ec"}, good, unsigned),
        "alg nOnE, signed": forged({"alg": "nOnE", "kid": "ec"}, good, by_key(EC)),
        "alg missing": forged({"kid": "ec"}, good, by_key(EC)),
        "alg a list": forged({"alg": ["ES256"], "kid": "ec"}, good, by_key(EC)),
        "RS256 as HS256, by the public key": forged({"alg": "HS256", "kid": "rsa"}, good, by_secret(pem)),
        "the same without its last line end": forged({"alg": "HS256", "kid": "rsa"}, good, by_secret(pem.strip())),
        "ES256 of a key for RS256": forged({"alg": "ES256", "kid": "rsa"}, good, by_key(EC)),
        "signature of zeros": forged(header, good, lambda _: bytes(64)),
        # The key is the token's word.
        "a stranger's key": encoded(good, key=STRANGER),
        "a key unheard of": encoded(good, key=RSAKey.generate_key(2048, {"kid": "unheard-of"}), alg="RS256"),
        "kid a path": forged({"alg": "HS256", "kid": "../../../../../../dev/null"}, good, by_secret(b"")),
        "kid a path, by a stranger": forged(header | {"kid": "../../etc/passwd"}, good, stranger),
        "kid SQL": forged(header | {"kid": "x' UNION SELECT 'secret' --"}, good, stranger),
        "kid a NUL": forged(header | {"kid": "ec\x00"}, good, stranger),
        "kid a number": forged(header | {"kid": 7}, good, stranger),
        "kid an object": forged(header | {"kid": {"$ne": None}}, good, stranger),
        "no kid, by a stranger": forged({"alg": "ES256"}, good, stranger),
        "jwk": forged(header | {"jwk": theirs}, good, stranger),
        "jku": forged(header | {"jku": elsewhere}, good, stranger),
        "x5u": forged(header | {"x5u": elsewhere}, good, stranger),
        "x5c": forged(header | {"x5c": ["AAAA"]}, good, stranger),
        # What must be understood is not.
        "crit": forged(header | {"crit": ["https://example.com/x"], "https://example.com/x": 1}, good, by_key(EC)),
        "crit b64": forged(header | {"crit": ["b64"], "b64": False}, good, by_key(EC)),
        # Whose it is, for whom, and how long.
        **{name: encoded(claims_at(now, **said)) for name, said in _wrong_claims(now).items()},
    }  # fmt: skip


def _wrong_claims(now: datetime) -> dict[str, dict[str, Any]]:
    later = int((now + timedelta(minutes=2)).timestamp())
    return {
        "a member for a week": {"exp": int((now + timedelta(days=7)).timestamp())}, "begins at a word": {"nbf": "now"},
        "expired": {"exp": int(now.timestamp())}, "for ever": {"exp": None}, "until a word": {"exp": "tomorrow"},
        "until the end of floats": {"exp": 1e300}, "not yet": {"nbf": later},
        "another issuer": {"iss": "https://evil.example.com/"}, "no issuer": {"iss": None},
        "issuer in a list": {"iss": ["https://evil.example.com/", ISSUER]},
        "another audience": {"aud": "another-api"}, "other audiences": {"aud": ["another-api"]}, "no audience": {"aud": None},
        "nobody": {"sub": None}, "an empty sub": {"sub": ""}, "sub a number": {"sub": 7}, "sub a list": {"sub": ["mem_7"]},
        "no team": {"team": None}, "an empty team": {"team": ""}, "team a number": {"team": 7},
        "team with a NUL": {"team": "a\x00b"}, "a long team": {"team": "x" * 129}, "team in a list": {"team": ["team_42"]},
        "a role unheard of": {"role": "root"}, "no role": {"role": None}, "roles": {"role": ["operator"]},
        "a member of every team": {"team": "*"}, "an admin of every team": {"team": "*", "role": "admin"},
        "sources a word": {"sources": "/features"}, "sources of numbers": {"sources": [7]},
    }  # fmt: skip


EPOCH = datetime(2026, 11, 23, 10, tzinfo=UTC)
ATTACKS = tuple(attacks(EPOCH))
