"""Usage that came by HTTP on its way to Kafka: what Kafka refuses once does not stop what comes after it."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local.stack import Stack
from services.api.usage_producer import Reports
from services.runtime.errors import Refused, Unavailable
from services.runtime.settings import Settings
from tests.support.waiting import until


@pytest.fixture
async def sending(stack: Stack) -> AsyncIterator[Reports]:
    """Reports to a topic of its own, which takes a thousand bytes at once."""
    topic = f"narrow-{secrets.token_hex(4)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "1000"})])
    stop, sending = asyncio.Event(), Reports(Settings(kafka=stack.kafka), topic)
    running = asyncio.create_task(sending.run(stop))
    try:
        await until(lambda: taken(sending, b"before"), what="usage is taken")
        yield sending
    finally:
        stop.set()
        await running
        await admin.delete_topics([topic])
        await admin.close()


async def taken(sending: Reports, *values: bytes) -> bool:
    """Kafka acknowledges records of one team."""
    try:
        await sending.send([("team_1", value) for value in values])
    except Unavailable:
        return False
    return True


async def test_what_kafka_does_not_take_stops_nothing_that_comes_after_it(sending: Reports) -> None:
    """An idempotent producer counts what it sends. Kafka waits for every number, also for that of a batch that it refused."""
    assert not await taken(sending, secrets.token_bytes(1_500))

    await until(lambda: taken(sending, b"after"), what="usage is taken again")
    assert await taken(sending, b"and", b"from", b"then", b"on")


async def test_what_is_larger_than_any_record_is_refused_for_good(sending: Reports) -> None:
    with pytest.raises(Refused, match="too_large"):
        await sending.send([("team_1", bytes(2 * 1024 * 1024))])

    assert await taken(sending, b"after")
