"""Usage that came by HTTP on its way to Kafka: what Kafka refuses once does not stop what comes after it."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from structlog.testing import capture_logs

from deploy.local.folders import free_ports
from deploy.local.stack import Stack
from services.api.usage_producer import UsageProducer
from services.runtime import retry
from services.runtime.errors import Refused, Unavailable
from services.runtime.settings import Settings
from tests.support.waiting import until


@pytest.fixture
async def sending(stack: Stack) -> AsyncIterator[UsageProducer]:
    """Reports to a topic of its own, which takes a thousand bytes at once."""
    topic = f"narrow-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1000"})])
    stop, sending = asyncio.Event(), UsageProducer(Settings(kafka=stack.kafka), topic)
    running = asyncio.create_task(sending.run(stop))
    try:
        await until(lambda: taken(sending, b"before"), what="usage is taken")
        yield sending
    finally:
        stop.set()
        await running
        await admin.delete_topics([topic])
        await admin.close()


async def taken(sending: UsageProducer, *values: bytes) -> bool:
    """Kafka acknowledges records of one team."""
    try:
        await sending.send([("team_1", value) for value in values])
    except Unavailable:
        return False
    return True


async def test_what_kafka_does_not_take_stops_nothing_that_comes_after_it(sending: UsageProducer) -> None:
    """An idempotent producer counts what it sends. Kafka waits for every number, also for that of a batch that it refused."""
    assert not await taken(sending, secrets.token_bytes(1_500))

    await until(lambda: taken(sending, b"after"), what="usage is taken again")
    assert await taken(sending, b"and", b"from", b"then", b"on")


async def test_what_is_larger_than_any_record_is_refused_for_good(sending: UsageProducer) -> None:
    with pytest.raises(Refused, match="too_large"):
        await sending.send([("team_1", bytes(2 * 1024 * 1024))])

    assert await taken(sending, b"after")


async def test_a_kafka_that_went_away_is_asked_again_less_and_less_often(sending: UsageProducer) -> None:
    (nobody,) = free_ports(1)
    settings, sending.settings = sending.settings, Settings(kafka=f"127.0.0.1:{nobody}")
    with capture_logs() as lines:
        assert not await taken(sending, secrets.token_bytes(1_500))  # the producer is no good any more

        async def asked_often() -> list[float] | None:
            waits = [line["next_try_seconds"] for line in lines if line.get("what") == "Kafka"]
            return waits if len(waits) > 4 else None

        waits = await until(asked_often, what="Kafka was asked again and again")
    sending.settings = settings

    assert waits[0] <= retry.FIRST_SECONDS
    assert waits[4] >= retry.FIRST_SECONDS * 8  # twice as long each time, less up to half of it
    await until(lambda: taken(sending, b"after"), what="usage is taken again")
