"""The clusters that people have: logins, certificates and rights, for every client of ours, through the one factory."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError
from typer.testing import CliRunner

from schemas.topics import USAGE
from services.cli import app
from services.runtime import kafka
from services.runtime.health import Health
from services.runtime.settings import Settings
from tests.support.secured import FEATURE, GROUP, OPERATOR, PASSWORD, RECORDER, STRANGER, SecuredKafka, a_secured_kafka
from tests.support.token_endpoint import TokenEndpoint, a_token_endpoint, unsigned
from tests.support.usage import used
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.support.world import ServiceWorld


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with a_secured_kafka(tmp_path_factory.mktemp("secured")) as running:
        yield running


@pytest.fixture(scope="module")
def endpoint() -> Iterator[TokenEndpoint]:
    with a_token_endpoint() as running:
        yield running


def by_login(secured: SecuredKafka, name: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
    """Settings of a client with a password; the first name of the list is nobody's."""
    return {
        "kafka": f"127.0.0.1:9,{secured.login}", "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": mechanism,
        "kafka_sasl_username": name, "kafka_sasl_password": PASSWORD, "kafka_ca_file": secured.authority,
    }  # fmt: skip


def by_certificate(secured: SecuredKafka, name: str) -> dict[str, Any]:
    """Settings of a client with a certificate."""
    return {
        "kafka": secured.mutual, "kafka_security_protocol": "SSL",
        "kafka_ca_file": secured.authority, "kafka_certificate_file": secured.certificate(name),
    }  # fmt: skip


def by_token(secured: SecuredKafka, name: str, endpoint: TokenEndpoint) -> dict[str, Any]:
    """Settings of a client that asks for a token."""
    return {
        "kafka": secured.token, "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_ca_file": secured.authority, "kafka_token_url": endpoint.url, "kafka_token_client_id": name,
        "kafka_token_client_secret": PASSWORD, "insecure_dev": True,
    }  # fmt: skip


async def send(settings: dict[str, Any], *ids: str) -> None:
    """Report usage of team_1."""
    async with kafka.producer(Settings(**settings), client_id="creditwell-test") as producer:
        for message in (used("team_1", id) for id in ids):
            await producer.send_and_wait(USAGE, message.value, key=message.key, headers=message.headers)


@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "PLAIN", "certificate", "token"])
async def test_usage_is_sent_and_recorded_over_a_secured_listener(
    world: ServiceWorld, secured: SecuredKafka, endpoint: TokenEndpoint, way: str
) -> None:
    def client(name: str) -> dict[str, Any]:
        if way == "token":
            return by_token(secured, name, endpoint)
        return by_certificate(secured, name) if way == "certificate" else by_login(secured, name, way)

    await world.team("team_1")
    await world.connection.execute("DELETE FROM kafka_cursors")  # they stand where the topic of another broker ends
    async with world.recorder(**client(RECORDER)) as recorder:
        await send(client(FEATURE), f"{way}-1", f"{way}-2")

        async def recorded() -> bool:
            return {f"{way}-1", f"{way}-2"} <= set(await world.usage_ids())

        await until(recorded, what="both are recorded")
        await until(lambda: noted(recorder.health), what="it is said that the settings of the topic can't be read")


async def noted(health: Health) -> bool:
    """The recorder's login may read the topic, and not its settings."""
    return any("can't be read: " in note and "Allow DESCRIBE_CONFIGS" in note for note in health.notes)


async def test_a_token_from_a_file_is_enough_until_it_ends(secured: SecuredKafka, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(unsigned(FEATURE))
    settings = {
        "kafka": secured.token, "kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_ca_file": secured.authority, "kafka_token_file": file,
    }  # fmt: skip

    await send(settings, "by-a-file")
    file.write_text(unsigned(FEATURE, life_seconds=-3_600))

    with pytest.raises(KafkaError):
        await asyncio.wait_for(send(settings, "too-late"), PATIENCE_SECONDS)


@pytest.mark.parametrize("who", [OPERATOR, RECORDER])
async def test_topics_are_checked_with_the_login_that_is_set_and_whoever_may_not_is_told(
    secured: SecuredKafka, who: str
) -> None:
    environment = {f"CREDITWELL_{name.upper()}": str(value) for name, value in by_login(secured, who).items()}

    arguments = ["topics", "check", "--copies", "1", "--json"]
    checked = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)

    if who == OPERATOR:
        assert (checked.exit_code, json.loads(checked.stdout)) == (0, {"differences": []})
    else:
        assert checked.exit_code == 1
        assert "creditwell: Kafka refuses: " in checked.stderr
        assert "the settings of topic usage" in checked.stderr


@pytest.mark.parametrize("way", ["login", "certificate"])
async def test_a_producer_without_the_right_is_refused_by_the_broker(secured: SecuredKafka, way: str) -> None:
    settings = by_login(secured, STRANGER) if way == "login" else by_certificate(secured, STRANGER)

    # Whoever may write to no topic at all gets no number as a producer either.
    with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
        await asyncio.wait_for(send(settings, "never"), PATIENCE_SECONDS)


async def test_whoever_may_write_may_not_read(secured: SecuredKafka) -> None:
    settings = Settings(**by_certificate(secured, FEATURE))

    async def read() -> None:
        consumer = kafka.consumer(settings, USAGE, client_id="creditwell-test", group_id=GROUP)
        try:
            await consumer.start()
            await consumer.getone()
        finally:
            await consumer.stop()

    with pytest.raises(KafkaError, match="Authorization"):
        await asyncio.wait_for(read(), PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka_sasl_password": "another"}, {"kafka_sasl_username": "nobody"}, {"kafka_ca_file": None},
        {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": None},
    ],
    ids=["another password", "nobody", "an authority that nobody knows", "in the clear"],
)  # fmt: skip
async def test_without_the_right_password_or_authority_nothing_is_sent(
    secured: SecuredKafka, wrong: dict[str, Any]
) -> None:
    with pytest.raises(KafkaError):
        await asyncio.wait_for(send(by_login(secured, FEATURE) | wrong, "never"), PATIENCE_SECONDS)
