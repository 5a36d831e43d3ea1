"""What teams and members may be called: every door takes the same ids, and refuses the others in the same words."""

import json
from datetime import timedelta

import jsonschema_rs
import pytest
from joserfc.jwk import KeySet

from schemas.cloudevents import BadUsage
from schemas.facts import ID, ID_MAX, NO_ID, is_id
from schemas.generate import HERE
from schemas.usage import parse_usage
from services.api.token_keys import FixedKeys
from services.api.tokens import EVERY_TEAM, BadToken, Tokens
from services.credits.plans import check_team_id
from services.runtime.errors import Refused
from tests.support.tokens import AUDIENCE, EC, EPOCH, ISSUER, claims_at, encoded
from tests.support.usage import reported

REPORTED = jsonschema_rs.validator_for(json.loads((HERE / "json/usage/usage.reported.v1.json").read_text("utf-8")))
GOOD = (
    "team_42", "mem_7", "5e0c6b5e-2f0a-5a61-9d0a-0f6f3c0d9a11", "ada@example.com", "auth0|5f7c8ec7", "urn:team:7", "a.b", "-", "équipe",
    "チーム", "x" * ID_MAX,
)  # fmt: skip
BAD = (
    "", ".", "..", ".hidden", "a/b", "/", "a\\b", "a?b", "a#b", "a%2Fb", "*", "a b", " a", "a\n", "a\tb", "a\x00b", "a\x7f", "a\x85b", "a\xa0b",
    "a\u200bb", "a\u2028b", "a\u202eb", "a\ufeff", "x" * (ID_MAX + 1),
)  # fmt: skip


def usage_of(team: str, member: str = "mem_1") -> dict[str, object]:
    event = reported(team, "u-1")
    return event | {"data": event["data"] | {"member_id": member}}


async def is_let_in(**claims: str) -> bool:
    tokens = Tokens(FixedKeys(KeySet([EC])), ISSUER, AUDIENCE, lambda: EPOCH + timedelta(seconds=1))
    try:
        await tokens.verify(encoded(claims_at(EPOCH, **claims)))
    except BadToken:
        return False
    return True


@pytest.mark.parametrize("name", GOOD)
async def test_an_id_that_can_stand_in_an_address_is_taken_at_every_door(name: str) -> None:
    for event in (usage_of(name), usage_of("team_1", name)):
        assert REPORTED.is_valid(event)
        assert parse_usage(json.dumps(event).encode(), ()).subject == event["subject"]
    check_team_id(name)
    assert is_id(name)
    assert await is_let_in(team=name)
    assert await is_let_in(sub=name)


@pytest.mark.parametrize("name", BAD, ids=ascii)
async def test_an_id_that_can_not_is_refused_at_every_door_and_in_words(name: str) -> None:
    for event, where in ((usage_of(name), "subject"), (usage_of("team_1", name), "data.member_id")):
        assert not REPORTED.is_valid(event)
        with pytest.raises(BadUsage) as refused:
            parse_usage(json.dumps(event).encode(), ())
        assert refused.value.reason == "wrong_shape"
        assert refused.value.detail.startswith(f"{where}: ")
        assert not 0 < len(name) <= ID_MAX or NO_ID in refused.value.detail
    with pytest.raises(Refused, match="invalid_team"):
        check_team_id(name)
    assert not is_id(name)
    assert not await is_let_in(team=name)
    assert await is_let_in(team=name, role="service") is (name == EVERY_TEAM)
    assert not await is_let_in(sub=name)


async def test_what_is_no_member_may_be_called_as_its_issuer_does() -> None:
    for role in ("service", "finance", "operator"):
        assert await is_let_in(sub="spiffe://cluster/ns/video worker", role=role)


def test_the_pattern_is_one_that_every_language_reads() -> None:
    assert "(?" not in ID
    assert "\\p" not in ID
