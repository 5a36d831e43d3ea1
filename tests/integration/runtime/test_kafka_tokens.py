"""Tokens for Kafka: asked for once, renewed before their end, and an answer that is no token is told of in a sentence."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from services.runtime.kafka.tokens import KafkaTokens
from services.runtime.settings import Settings
from tests.support.token_endpoint import LIFE_SECONDS, TokenEndpoint, a_token_endpoint, unsigned

SECURED: dict[str, Any] = {
    "kafka": "kafka:9092", "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER", "insecure_dev": True,
}  # fmt: skip


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with a_token_endpoint() as endpoint:
        yield endpoint


class Clock:
    """Seconds since the epoch, as the test has them."""

    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


def tokens_of(endpoint: TokenEndpoint, clock: Clock, **more: Any) -> KafkaTokens:
    asking: dict[str, Any] = {
        "kafka_token_url": endpoint.url,
        "kafka_token_client_id": "me:&",
        "kafka_token_client_secret": "a +secret",
    }
    return KafkaTokens(Settings(**SECURED, **asking, **more), clock)


async def test_connections_that_are_made_at_once_share_a_token_that_is_renewed_before_its_end(
    endpoint: TokenEndpoint,
) -> None:
    clock = Clock()
    tokens = tokens_of(endpoint, clock, kafka_token_scope="kafka read")

    first = await asyncio.gather(*(tokens.token() for _ in range(5)))
    clock.now += 0.7 * LIFE_SECONDS
    assert await tokens.token() == first[0]
    asked = {"client": "me:&:a +secret", "grant_type": "client_credentials", "scope": "kafka read"}
    assert endpoint.asked == [asked]

    clock.now += 0.2 * LIFE_SECONDS
    await tokens.token()
    assert endpoint.asked == [asked, asked]


async def test_a_token_bridges_an_endpoint_that_is_away_until_it_ends(endpoint: TokenEndpoint) -> None:
    clock = Clock()
    tokens = tokens_of(endpoint, clock)
    first = await tokens.token()
    endpoint.instead = 503, b"busy"

    clock.now += 0.9 * LIFE_SECONDS
    assert await tokens.token() == first

    clock.now += 0.2 * LIFE_SECONDS
    with pytest.raises(KafkaError, match="CREDITWELL_KAFKA_TOKEN_URL answers 503 with no JSON object"):
        await tokens.token()


def answer(**members: Any) -> bytes:
    return json.dumps(members).encode()


@pytest.mark.parametrize(
    ("instead", "sentence"),
    [
        ((401, answer(error="invalid_client", error_description="who?")), "refuses with 401: invalid_client: who?"),
        ((200, b"<html>Sign in</html>"), "answers 200 with no JSON object: it is no token endpoint"),
        ((200, answer(token_type="Bearer")), "the access_token of CREDITWELL_KAFKA_TOKEN_URL is no token"),
        ((200, answer(access_token="a\x01b")), "the access_token of CREDITWELL_KAFKA_TOKEN_URL is no token"),
        ((200, answer(access_token="a", token_type="mac")), "gives tokens of another type than Bearer"),
        ((200, b" " * 100_000), "answers with more than 65536 bytes"),
        ((302, b""), "answers 302 with no JSON object"),
    ],
    ids=["refused", "a page", "none", "control characters", "another type", "too long", "elsewhere"],
)
async def test_an_answer_that_is_no_token_is_told_of_in_a_sentence(
    endpoint: TokenEndpoint, instead: tuple[int, bytes], sentence: str
) -> None:
    endpoint.instead = instead

    with pytest.raises(KafkaError, match=sentence) as told:
        await tokens_of(endpoint, Clock()).token()

    assert told.value.retriable
    assert "secret" not in str(told.value)


async def test_where_nobody_answers_is_told(endpoint: TokenEndpoint) -> None:
    gone = TokenEndpoint(url="http://127.0.0.1:9/token")

    with pytest.raises(KafkaError, match="CREDITWELL_KAFKA_TOKEN_URL does not answer"):
        await tokens_of(gone, Clock()).token()


async def test_a_file_is_read_again_and_one_whose_token_has_ended_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    tokens = KafkaTokens(Settings(**SECURED, kafka_token_file=file))

    assert await tokens.token() == "first"
    file.write_text(second := unsigned("recorder"))
    assert await tokens.token() == second
    for wrong, sentence in {
        unsigned("recorder", life_seconds=-10): "the token in CREDITWELL_KAFKA_TOKEN_FILE has ended",
        "two words": "what CREDITWELL_KAFKA_TOKEN_FILE holds is no token",
    }.items():
        file.write_text(wrong)
        with pytest.raises(KafkaError, match=sentence):
            await tokens.token()
    file.unlink()
    with pytest.raises(KafkaError, match="CREDITWELL_KAFKA_TOKEN_FILE can't be read"):
        await tokens.token()


async def test_what_confluent_cloud_wants_to_hear_beside_the_token_is_said(endpoint: TokenEndpoint) -> None:
    tokens = tokens_of(endpoint, Clock(), kafka_sasl_extensions="logicalCluster=lkc-1,identityPoolId=pool-2")

    assert tokens.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
