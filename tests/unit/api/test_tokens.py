"""Tokens: who is let in, and who is not."""

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import KeySet, RSAKey
from structlog.testing import capture_logs

from services.api.token_keys import KEYS_AGAIN, KEYS_FRESH, KEYS_STALE, FetchedKeys, FixedKeys, development_key
from services.api.tokens import BadToken, TokenRole, Tokens, mint, tokens_of
from services.runtime.clock import Clock
from services.runtime.errors import Refused, Unavailable
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import load_settings
from tests.support.tokens import ATTACKS, AUDIENCE, EC, EPOCH, ISSUER, RSA, attacks, by_key, claims_at, encoded, forged

NOW = EPOCH


class Watch:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def signed(*, key: Any = EC, alg: str = "ES256", **more: Any) -> str:
    """A token of the issuer; `more` are claims."""
    return encoded(claims_at(NOW, **more), key=key, alg=alg)


def verifier(clock: Clock = lambda: NOW) -> Tokens:
    """What knows the issuer's two keys."""
    return Tokens(FixedKeys(KeySet([RSA, EC])), ISSUER, AUDIENCE, clock)


async def test_a_token_of_the_issuer_says_team_member_and_role() -> None:
    caller = await verifier().verify(signed())

    assert (caller.team_id, caller.sub, caller.role) == ("team_42", "mem_7", TokenRole.MEMBER)
    assert caller.expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256")])
async def test_every_asymmetric_algorithm_of_the_issuer_is_accepted(key: Any, alg: str) -> None:
    assert (await verifier().verify(signed(key=key, alg=alg))).sub == "mem_7"


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_token_that_is_not_the_issuers_or_not_whole_is_refused(attack: str) -> None:
    with pytest.raises(BadToken) as bad:
        await verifier().verify(attacks(NOW)[attack])

    assert not str(bad.value).rstrip().endswith(":")


@pytest.mark.parametrize("role", ["service", "finance", "operator"])
async def test_who_works_for_every_team_may_carry_a_star(role: str) -> None:
    assert (await verifier().verify(signed(team="*", role=role))).may_see("any_team")


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_a_person_belongs_to_one_team(role: str) -> None:
    with pytest.raises(BadToken, match="one team"):
        await verifier().verify(signed(team="*", role=role))


async def test_a_token_ends_when_it_says_also_when_it_was_seen_before() -> None:
    watch, token = Watch(), signed()
    tokens = verifier(watch)
    await tokens.verify(token)

    watch.now += timedelta(hours=1)

    with pytest.raises(BadToken, match="expired"):
        await tokens.verify(token)


async def test_a_service_reports_as_the_sources_that_its_token_names_and_no_other() -> None:
    caller = await verifier().verify(signed(role="service", sources=["/features/video", "/labs/*"]))

    assert [caller.may_report(source) for source in ("/features/video", "/labs/x", "/features/video2", "/lab")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not (await verifier().verify(signed(role="service"))).may_report("/features/video")


class Issuer:
    """A JWKS endpoint that a test can rotate and take down."""

    def __init__(self, *keys: Any) -> None:
        self.keys, self.asked, self.is_down = keys, 0, False

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.is_down:
            raise ConnectionRefusedError
        return json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]}).encode()


def fetched(issuer: Issuer, watch: Watch) -> Tokens:
    return Tokens(FetchedKeys("the issuer", issuer.fetch, KEYS_FRESH), ISSUER, AUDIENCE, watch)


async def test_a_new_key_of_the_issuer_is_accepted_at_once() -> None:
    issuer, watch = Issuer(RSA), Watch()
    tokens = fetched(issuer, watch)
    await tokens.verify(signed(key=RSA, alg="RS256"))

    issuer.keys = (RSA, EC)
    watch.now += KEYS_AGAIN

    assert (await tokens.verify(signed(key=EC))).sub == "mem_7"


async def test_unknown_keys_ask_the_issuer_only_now_and_then() -> None:
    issuer, watch = Issuer(RSA), Watch()
    tokens = fetched(issuer, watch)
    for _ in range(20):
        with pytest.raises(BadToken):
            await tokens.verify(signed(key=EC))

    assert issuer.asked == 1


async def test_a_key_that_was_taken_away_ends_its_tokens_also_those_seen_before() -> None:
    issuer, watch, token = Issuer(RSA, EC), Watch(), signed(key=EC)
    tokens = fetched(issuer, watch)
    await tokens.verify(token)

    issuer.keys = (RSA,)
    watch.now += KEYS_FRESH

    with pytest.raises(BadToken):
        await tokens.verify(token)


async def test_while_the_issuer_is_away_its_known_keys_count_for_a_while() -> None:
    issuer, watch = Issuer(EC), Watch()
    tokens = fetched(issuer, watch)
    await tokens.verify(signed(exp=int((NOW + timedelta(days=1)).timestamp())))
    issuer.is_down = True

    watch.now += KEYS_FRESH
    await tokens.verify(signed(exp=int((NOW + timedelta(days=1)).timestamp())))

    watch.now = NOW + KEYS_STALE + timedelta(seconds=1)
    with pytest.raises(Unavailable):
        await tokens.verify(signed(exp=int((NOW + timedelta(days=1)).timestamp())))


async def test_a_jwks_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file, watch = tmp_path / "jwks.json", Watch()
    file.write_text(json.dumps({"keys": [RSA.as_dict(private=False)]}))
    settings = load_settings(jwks=str(file), jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
    tokens = tokens_of(settings, watch)
    with pytest.raises(BadToken):
        await tokens.verify(signed(key=EC))

    file.write_text(json.dumps({"keys": [EC.as_dict(private=False)]}))
    watch.now += timedelta(seconds=1)

    assert (await tokens.verify(signed(key=EC))).sub == "mem_7"


@pytest.mark.parametrize("missing", ["jwks", "jwt_issuer", "jwt_audience"])
def test_without_keys_issuer_or_audience_nothing_starts(missing: str, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    given = {"jwks": str(tmp_path / "jwks.json"), "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
    del given[missing]

    with pytest.raises(WrongSettings, match=f"CREDITWELL_{missing.upper()}"):
        tokens_of(load_settings(**given))


async def test_development_mints_tokens_that_development_accepts() -> None:
    settings = load_settings(insecure_dev=True)
    token = mint(settings, team="team_1", member="mem_1", role="service", sources=["*"])

    caller = await tokens_of(settings).verify(token)

    assert (caller.team_id, caller.role, caller.may_report("/anything")) == ("team_1", TokenRole.SERVICE, True)


def test_outside_of_development_no_token_is_minted(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    for settings in (load_settings(), load_settings(insecure_dev=True, jwks=str(tmp_path / "jwks.json"))):
        with pytest.raises(Refused, match="not_development"):
            mint(settings, team="t", member="m", role="operator")


@pytest.mark.parametrize(
    "more",
    [
        {"cat": "cl_B7d4PD222AAA", "oiat": 1_764_000_000}, {"nonce": "x"}, {"x5t": "AAAA", "x5c": ["A" * 2_000]}, {"typ": "JWT"},
    ],
    ids=["of Clerk", "of Entra", "certificates", "a type"],
)  # fmt: skip
async def test_members_of_a_header_that_nobody_knows_are_ignored(more: dict[str, Any]) -> None:
    token = forged({"alg": "ES256", "kid": "ec"} | more, claims_at(NOW), by_key(EC))

    assert (await verifier().verify(token)).sub == "mem_7"


@pytest.mark.parametrize(
    "crit", [None, True, 0, 1.5, {}, "kid", [], [1], [None], [["kid"]], ["kid"], ["exp"], ["b64"]], ids=repr
)
async def test_whatever_a_header_calls_critical_is_refused_and_breaks_nothing(crit: Any) -> None:
    token = forged({"alg": "ES256", "kid": "ec", "crit": crit}, claims_at(NOW), by_key(EC))

    with pytest.raises(BadToken, match="not accepted"):
        await verifier().verify(token)


@pytest.mark.parametrize("ahead", [-0.05, 2, 30, 59.5, 60])
async def test_an_issuer_whose_clock_is_a_minute_ahead_lets_people_in(ahead: float) -> None:
    begins_at = NOW.timestamp() + ahead

    assert (await verifier().verify(signed(nbf=begins_at, iat=begins_at))).sub == "mem_7"


@pytest.mark.parametrize("begins_at", [NOW.timestamp() + 61, "now", True, [0], 1e300, float("nan")])
async def test_a_token_that_begins_later_or_at_no_time_is_refused(begins_at: Any) -> None:
    with pytest.raises(BadToken, match=r"not valid yet|nbf is not a time"):
        await verifier().verify(signed(nbf=begins_at))


async def test_claims_nested_without_end_are_a_bad_token() -> None:
    header, payload = b'{"alg":"ES256","kid":"ec"}', b"[" * 3_000 + b"]" * 3_000
    said = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = base64.urlsafe_b64encode(by_key(EC)(said)).rstrip(b"=")

    with pytest.raises(BadToken):
        await verifier().verify((said + b"." + signature).decode())


@pytest.mark.parametrize("role", ["member", "admin"])
async def test_a_persons_token_ends_within_a_day(role: str) -> None:
    day = NOW + timedelta(hours=24)

    await verifier().verify(signed(role=role, exp=int(day.timestamp())))
    with pytest.raises(BadToken, match="at most 24 hours ahead"):
        await verifier().verify(signed(role=role, exp=int(day.timestamp()) + 1))


@pytest.mark.parametrize("role", ["service", "finance", "operator"])
async def test_a_machines_token_may_last_longer(role: str) -> None:
    await verifier().verify(signed(role=role, exp=int((NOW + timedelta(days=90)).timestamp())))


GOOD = EC.as_dict(private=False)
NO_KEYS = {
    "an unknown curve": {**GOOD, "crv": "P-1"},
    "no kind": {"kid": "x", "n": "AQAB"},
    "a broken number": {"kty": "RSA", "kid": "x", "n": "!", "e": "AQAB"},
    "a kind of tomorrow": {"kty": "AKP", "kid": "x", "alg": "ML-DSA-65", "pub": "AAAA"},
    "no object": 7,
    "nothing": None,
}
WEAK = {
    "is the development key": development_key().as_dict(private=False),
    "has its private half": RSA.as_dict(private=True),
    "has 1024 bits": RSAKey.generate_key(1024, {"kid": "short"}, private=False).as_dict(private=False),
    "is a shared secret": {"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"},
}


@pytest.mark.parametrize("other", [*NO_KEYS.values(), *WEAK.values()], ids=[*NO_KEYS, *WEAK])
async def test_one_bad_key_takes_the_others_with_it_nowhere(other: Any) -> None:
    async def fetch() -> bytes:
        return json.dumps({"keys": [other, GOOD]}).encode()

    tokens = Tokens(FetchedKeys("the issuer", fetch, KEYS_FRESH), ISSUER, AUDIENCE, Watch())
    with capture_logs() as lines:
        assert (await tokens.verify(signed(key=EC))).sub == "mem_7"

    assert [line["log_level"] for line in lines] == ["warning"]


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"7", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [7]}', b"[" * 100_000]
)
async def test_without_one_good_key_nobody_is_let_in(document: bytes) -> None:
    async def fetch() -> bytes:
        return document

    with pytest.raises(Unavailable) as away:
        await Tokens(FetchedKeys("the issuer", fetch, KEYS_FRESH), ISSUER, AUDIENCE, Watch()).verify(signed())
    assert away.value.code == "no_keys"


@pytest.mark.parametrize("why", WEAK)
def test_a_weak_key_in_a_file_ends_the_process_at_its_start(why: str, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [GOOD, WEAK[why]]}))

    with pytest.raises(WrongSettings, match=f"CREDITWELL_JWKS is wrong: the key .* {why}"):
        tokens_of(load_settings(jwks=str(file), jwt_issuer=ISSUER, jwt_audience=AUDIENCE))
