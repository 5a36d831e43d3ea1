"""The clusters that people have: logins, certificates and rights, for every client of ours, through the one factory."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from schemas.topics import USAGE
from services.runtime import kafka
from services.runtime.settings import Settings
from tests.support.secured import FEATURE, GROUP, PASSWORD, RECORDER, STRANGER, SecuredKafka, a_secured_kafka
from tests.support.usage import used
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.support.world import ServiceWorld


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with a_secured_kafka(tmp_path_factory.mktemp("secured")) as running:
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


async def send(settings: dict[str, Any], *ids: str) -> None:
    """Report usage of team_1."""
    async with kafka.producer(Settings(**settings), client_id="creditwell-test") as producer:
        for message in (used("team_1", id) for id in ids):
            await producer.send_and_wait(USAGE, message.value, key=message.key, headers=message.headers)


@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "PLAIN", "certificate"])
async def test_usage_is_sent_and_recorded_over_a_secured_listener(
    world: ServiceWorld, secured: SecuredKafka, way: str
) -> None:
    def client(name: str) -> dict[str, Any]:
        return by_certificate(secured, name) if way == "certificate" else by_login(secured, name, way)

    await world.team("team_1")
    await world.connection.execute("DELETE FROM kafka_cursors")  # they stand where the topic of another broker ends
    async with world.recorder(**client(RECORDER)):
        await send(client(FEATURE), f"{way}-1", f"{way}-2")

        async def recorded() -> bool:
            return {f"{way}-1", f"{way}-2"} <= set(await world.usage_ids())

        await until(recorded, what="both are recorded")


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
