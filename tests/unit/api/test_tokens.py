"""Tokens: who is let in, and who is not."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import KeySet

from services.api.token_keys import KEYS_AGAIN, KEYS_FRESH, KEYS_STALE, FetchedKeys, FixedKeys
from services.api.tokens import BadToken, TokenRole, Tokens, mint, tokens_of
from services.runtime.clock import Clock
from services.runtime.errors import Refused, Unavailable
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import load_settings
from tests.support.tokens import ATTACKS, AUDIENCE, EC, EPOCH, ISSUER, RSA, attacks, claims_at, encoded

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
