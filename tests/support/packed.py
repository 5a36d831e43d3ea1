"""Batches that are small in Kafka and large when they are unpacked."""

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder

MB = 2**20
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def bomb(codec: int, *, megabytes: int) -> bytes:
    """A batch of so many records of a megabyte of zeros each, as Kafka is sent it."""
    batch = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 2**31 - 1)
    for offset in range(megabytes):
        batch.append(offset, timestamp=0, key=b"team_1", value=bytes(MB), headers=[])
    return bytes(batch.build())


async def send_batch(producer: AIOKafkaProducer, batch: bytes, *, partition: int) -> int:
    """Send these bytes; the offset of the first record."""
    builder = producer.create_batch()
    builder.append(timestamp=None, key=b"x", value=b"x")
    builder.close()
    builder._build()
    builder._buffer = batch
    done = await (await producer.send_batch(builder, "usage", partition=partition))
    return int(done.offset)
