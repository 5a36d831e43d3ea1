"""Batches that are small in Kafka and large when they are unpacked."""

from time import time

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

MB = 2**20
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def bomb(codec: int, *, megabytes: int) -> bytes:
    """A batch of so many records of a megabyte of zeros each, as Kafka is sent it."""
    batch = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 2**31 - 1)
    for offset in range(megabytes):
        batch.append(offset, timestamp=_now_ms(), key=b"team_1", value=bytes(MB), headers=[])
    return bytes(batch.build())


def with_header_name(name: bytes, *, key: bytes, value: bytes) -> bytes:
    """A batch with a record whose header has this name: client libraries write none that is not UTF-8."""
    placeholder = "h" * len(name)
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, MB)
    builder.append(0, timestamp=_now_ms(), key=key, value=value, headers=[(placeholder, b"")])
    batch = bytearray(builder.build())
    where = batch.rindex(placeholder.encode())
    batch[where : where + len(name)] = name
    batch[17:21] = calc_crc32c(bytes(batch[21:])).to_bytes(4, "big")
    return bytes(batch)


def _now_ms() -> int:
    """As producers stamp records: of a log that ends in 1970 the broker's retention leaves nothing, each five minutes."""
    return int(time() * 1000)


async def send_batch(producer: AIOKafkaProducer, batch: bytes, *, partition: int, topic: str = "usage") -> int:
    """Send these bytes; the offset of the first record."""
    builder = producer.create_batch()
    builder.append(timestamp=None, key=b"x", value=b"x")
    builder.close()
    builder._build()
    builder._buffer = batch
    done = await (await producer.send_batch(builder, topic, partition=partition))
    return int(done.offset)
