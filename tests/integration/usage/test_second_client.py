"""Another client, another CloudEvents library: what they write is recorded, what we write they can read."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

from tests.support.fleet import Fleet
from tests.support.topics import TopicReader
from tests.support.waiting import until
from tests.support.world import ServiceWorld, ends_of

CREDIT = 1_000_000
PARTITIONERS = ("murmur2_random", "consistent_random")  # Kafka's own way, and what librdkafka does unless told


def event(team_id: str, id: str, quantity: object = "2", type: str = "usage.reported.v1", **data: Any) -> CloudEvent:
    """A usage, as somebody writes it who has read the contract and the library's first page."""
    usage = {"member_id": "mem_7", "feature": "ai_image.generate", "quantity": quantity, "attributes": {"tier": "low"}}
    return CloudEvent(
        attributes={
            "type": type,
            "source": "/features/elsewhere",
            "id": id,
            "subject": team_id,
            "time": datetime.now(timezone(timedelta(hours=5, minutes=30))),
            "datacontenttype": "application/json",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
        data=data or usage,
    )


async def send(
    world: ServiceWorld, messages: list[KafkaMessage], *, partitioner: str = PARTITIONERS[0], compression: str = "none"
) -> dict[int, int]:
    """Produce with librdkafka; how many records went to each partition."""
    count: dict[int, int] = {}

    def acknowledged(error: object, message: Any) -> None:
        assert error is None
        count[message.partition()] = count.get(message.partition(), 0) + 1
        world.ends[message.partition()] = max(world.ends.get(message.partition(), 0), message.offset() + 1)

    producer = Producer({
        "bootstrap.servers": world.stack.kafka,
        "partitioner": partitioner,
        "enable.idempotence": True,
        "compression.type": compression,
    })  # fmt: skip
    for message in messages:
        producer.produce(
            "usage", message.value, key=message.key, headers=list(message.headers.items()), on_delivery=acknowledged
        )
    assert await asyncio.to_thread(producer.flush, 60) == 0
    return count


def team_of(usage: Any) -> str:
    """The record's key."""
    return str(usage.get_subject())


@pytest.mark.parametrize("partitioner", PARTITIONERS)
@pytest.mark.parametrize("write", [to_structured, to_binary], ids=["structured", "binary"])
async def test_what_librdkafka_and_the_cloudevents_library_write_is_recorded(
    world: ServiceWorld, write: Any, partitioner: str
) -> None:
    teams = [f"team_{n}" for n in range(20)]
    await world.team(*teams)
    events = [event(team, f"id-{n}") for team in teams for n in range(3)]

    async with world.recorder():
        await send(world, [write(e, JSONFormat(), team_of) for e in events], partitioner=partitioner)
        await world.recorded()

    assert await world.refused() == []
    for team in teams:
        assert await world.usage_ids(team) == ["id-0", "id-1", "id-2"]
        assert (await world.balance(team)).total == (3_000 - 3 * 2) * CREDIT


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_usage_may_be_compressed_in_every_way_that_kafka_knows(world: ServiceWorld, compression: str) -> None:
    await world.team("team_1")
    events = [event("team_1", f"id-{n}") for n in range(50)]

    async with world.recorder():
        await send(world, [to_structured(e, JSONFormat(), team_of) for e in events], compression=compression)
        await world.recorded()

    assert await world.usage_ids("team_1") == [f"id-{n}" for n in range(50)]


async def test_two_clients_that_put_a_team_into_different_partitions_still_burn_everything_once(
    world: ServiceWorld,
) -> None:
    teams = [f"team_{n}" for n in range(20)]
    await world.team(*teams)
    events = [event(team, f"id-{n}") for team in teams for n in range(5)]
    messages = [to_structured(e, JSONFormat(), team_of) for e in events]

    async with world.recorder(), world.recorder():
        first = await send(world, messages, partitioner=PARTITIONERS[0])
        second = await send(world, messages, partitioner=PARTITIONERS[1])
        await world.recorded()

    assert first != second, "both partitioners agree on all of these teams"
    assert await world.refused() == []
    assert len(await world.facts(type="usage.recorded.v1")) == 100
    assert await world.connection.fetchval("SELECT sum(duplicates)::int FROM repeats") == 100
    for team in teams:
        assert (await world.balance(team)).total == (3_000 - 5 * 2) * CREDIT


async def test_a_void_of_another_client_is_accepted_too(world: ServiceWorld) -> None:
    await world.team("team_1")
    usage_id, void_id = str(uuid4()), str(uuid4())
    taken_back = {"usage_source": "/features/elsewhere", "usage_id": usage_id, "reason": "the render failed"}
    messages = [
        to_binary(event("team_1", usage_id, quantity=2.5), JSONFormat(), team_of),
        to_structured(event("team_1", void_id, type="usage.voided.v1", **taken_back), JSONFormat(), team_of),
    ]

    async with world.recorder():
        await send(world, messages)
        await world.recorded()

    assert [fact.type for fact in await world.facts("team_1")][-2:] == ["usage.recorded.v1", "usage.voided.v1"]
    assert (await world.balance()).total == 3_000 * CREDIT


async def test_what_the_relay_publishes_is_read_by_librdkafka_and_the_cloudevents_library(
    world: ServiceWorld, fleet: Fleet
) -> None:
    await world.team("team_1")
    reader = TopicReader(world.stack.kafka, "credits.events", await ends_of(world.stack.kafka, "credits.events"))
    async with world.recorder():
        await send(world, [to_binary(event("team_1", "über-1"), JSONFormat(), team_of)])
        await world.recorded()
    fleet.start("relay")

    read = []

    async def all_there() -> bool:
        read.extend(await reader.read_to_end())
        return len(read) >= 4  # the rate card, the plan, its refill, the usage

    await until(all_there, what="the relay has published everything")
    reader.close()
    events = [
        from_structured(KafkaMessage(dict(record.headers), record.key, record.value or b""), JSONFormat())
        for record in read
    ]
    (usage,) = [e for e in events if e.get_type() == "usage.recorded.v1"]
    assert usage.get_id() == "über-1"
    assert usage.get_subject() == "team_1"
    assert usage.get_time() is not None
    assert usage.get_time() < datetime.now(UTC)  # type: ignore[operator]
    data = usage.get_data()
    assert (data if isinstance(data, dict) else json.loads(data))["credits"] == 2 * CREDIT  # type: ignore[arg-type]
    assert isinstance(usage.get_extension("position"), int)
    assert {record.key for record in read} == {b"team_1", b"creditwell"}
