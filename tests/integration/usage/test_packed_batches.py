"""A compressed batch that unpacks to hundreds of megabytes is refused as one; all others are recorded."""

from hashlib import sha256

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from tests.integration.usage.test_bad_input import peak_memory_mb
from tests.support.fleet import Fleet
from tests.support.usage import used
from tests.support.world import ServiceWorld

MB = 2**20
RECORDS = 200
MANY = 20
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HEADER_BYTES = 61


def bomb(codec: int) -> bytes:
    """A batch of 200 records of a megabyte of zeros each, as Kafka is sent it."""
    batch = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 2**31 - 1)
    for offset in range(RECORDS):
        batch.append(offset, timestamp=0, key=b"team_1", value=bytes(MB), headers=[])
    return bytes(batch.build())


async def send_batch(world: ServiceWorld, producer: AIOKafkaProducer, batch: bytes, *, partition: int) -> int:
    """Send these bytes; the offset of the first record."""
    builder = producer.create_batch()
    builder.append(timestamp=None, key=b"x", value=b"x")
    builder.close()
    builder._build()
    builder._buffer = batch
    done = await (await producer.send_batch(builder, "usage", partition=partition))
    world.ends[partition] = done.offset + RECORDS
    return int(done.offset)


@pytest.mark.parametrize("name", CODECS)
async def test_a_batch_of_two_hundred_megabytes_in_some_kilobytes_is_refused_as_one_and_the_cursor_passes_it(
    world: ServiceWorld, name: str
) -> None:
    await world.team("team_1")
    batch = bomb(CODECS[name])

    async with world.recorder():
        ((partition, _),) = await world.send(used("team_1", "before"))
        async with AIOKafkaProducer(bootstrap_servers=world.stack.kafka) as producer:
            base = await send_batch(world, producer, batch, partition=partition)
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
    batches = [bomb(CODECS[name]) for name in ("gzip", "zstd", "lz4")]
    partitions = sorted(await world.cursors())
    fleet.start("recorder")
    await fleet.ready("recorder")
    await world.send(used("team_1", "before"))
    await world.recorded()
    epochs = "SELECT sum(epoch)::bigint FROM kafka_cursors"
    claimed = await world.connection.fetchval(epochs)

    async with AIOKafkaProducer(bootstrap_servers=world.stack.kafka) as producer:
        for n in range(MANY):
            await send_batch(world, producer, batches[n % 3], partition=partitions[n % len(partitions)])
    await world.send(*[used("team_1", f"after-{n}") for n in range(5)])
    await world.recorded()

    assert await world.reasons() == ["batch_too_big"] * MANY
    assert len(await world.usage_ids()) == 6
    assert await world.connection.fetchval(epochs) == claimed
    assert peak_memory_mb(fleet.processes["recorder"].pid) < 400
