"""A compressed batch that unpacks to hundreds of megabytes is refused as one; all others are recorded."""

from hashlib import sha256

import pytest
from aiokafka import AIOKafkaProducer

from tests.integration.usage.test_bad_input import peak_memory_mb
from tests.support.fleet import Fleet
from tests.support.packed import CODECS, bomb, send_batch
from tests.support.usage import used
from tests.support.world import ServiceWorld

RECORDS = 200  # of a megabyte each
MANY = 20
HEADER_BYTES = 61


async def send(world: ServiceWorld, producer: AIOKafkaProducer, batch: bytes, *, partition: int) -> int:
    """Send these bytes, whose last record the recorder has to pass; the offset of the first."""
    base = await send_batch(producer, batch, partition=partition)
    world.ends[partition] = base + RECORDS
    return base


@pytest.mark.parametrize("name", CODECS)
async def test_a_batch_of_two_hundred_megabytes_in_some_kilobytes_is_refused_as_one_and_the_cursor_passes_it(
    world: ServiceWorld, name: str
) -> None:
    await world.team("team_1")
    batch = bomb(CODECS[name], megabytes=RECORDS)

    async with world.recorder():
        ((partition, _),) = await world.send(used("team_1", "before"))
        async with AIOKafkaProducer(bootstrap_servers=world.stack.kafka) as producer:
            base = await send(world, producer, batch, partition=partition)
        await world.recorded()
    async with world.recorder():  # another begins behind it, and knows the topic again
        await world.send(used("team_1", "after"))
        await world.recorded()

    (row,) = await world.refused()
    assert (row["partition"], row["offset"], row["reason"]) == (partition, base, "batch_too_big")
    assert row["sha256"] == sha256(batch[HEADER_BYTES:]).digest()
    assert await world.usage_ids() == ["before", "after"]


async def test_many_such_batches_cost_no_recorder_its_memory_or_its_place_in_the_group(
    world: ServiceWorld, fleet: Fleet
) -> None:
    await world.team("team_1")
    batches = [bomb(CODECS[name], megabytes=RECORDS) for name in ("gzip", "zstd", "lz4")]
    partitions = sorted(await world.cursors())
    # Kafka's default. With the fleet's three seconds a machine that stands still would cost the place, too.
    fleet.common["CREDITWELL_KAFKA_SESSION_TIMEOUT_MS"] = "45000"
    fleet.start("recorder")
    await fleet.ready("recorder")
    await world.send(used("team_1", "before"))
    await world.recorded()
    epochs = "SELECT sum(epoch)::bigint FROM kafka_cursors"
    claimed = await world.connection.fetchval(epochs)

    async with AIOKafkaProducer(bootstrap_servers=world.stack.kafka) as producer:
        for n in range(MANY):
            await send(world, producer, batches[n % 3], partition=partitions[n % len(partitions)])
    await world.send(*[used("team_1", f"after-{n}") for n in range(5)])
    await world.recorded()

    assert await world.reasons() == ["batch_too_big"] * MANY
    assert len(await world.usage_ids()) == 6
    assert await world.connection.fetchval(epochs) == claimed
    assert peak_memory_mb(fleet.processes["recorder"].pid) < 400
