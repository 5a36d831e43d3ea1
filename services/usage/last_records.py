"""Is the topic the one that was recorded? The record before each cursor is read again, and its hash compared."""

import asyncio
from collections.abc import Iterable
from hashlib import sha256

from aiokafka import TopicPartition

from services.runtime import kafka
from services.runtime.errors import LogChanged
from services.runtime.settings import Settings
from services.usage.cursors import Cursor
from services.usage.refusals import KafkaRecord

CHECK_SECONDS = 30
CHECK_BYTES = 64 * 1024  # of each partition: one record is looked at, and a backlog may lie behind it
ADVICE = "Nothing was skipped. Restore the topic, or move the cursor on purpose."


async def check_last_records(settings: Settings, cursors: Iterable[Cursor]) -> None:
    """Read the record before each cursor again and compare its hash.

    Raises:
        LogChanged: the topic is not the one that was recorded.
    """
    waiting = {TopicPartition(c.topic, c.partition): c for c in cursors if c.last_hash is not None}
    if not waiting:
        return
    consumer = kafka.consumer(
        settings, client_id="creditwell-recorder-check", enable_auto_commit=False, auto_offset_reset="none",
        isolation_level="read_committed", max_partition_fetch_bytes=CHECK_BYTES,
    )  # fmt: skip
    async with consumer, asyncio.timeout(CHECK_SECONDS):
        consumer.assign(list(waiting))
        for place, cursor in waiting.items():
            consumer.seek(place, cursor.next_offset - 1)
        while waiting:
            for place, records in (await consumer.getmany(timeout_ms=100)).items():
                if place in waiting:
                    _check_hash(waiting.pop(place), records[0])
                    consumer.pause(
                        place
                    )  # a batch larger than asked for comes only for the first partition of an answer


def _check_hash(cursor: Cursor, record: KafkaRecord) -> None:
    if (record.offset, hash_of(record)) != (cursor.next_offset - 1, cursor.last_hash):
        raise LogChanged(
            f"{cursor.topic}-{cursor.partition}: the record at offset {cursor.next_offset - 1} is not the one that was recorded last: "
            f"the topic was recreated or truncated. {ADVICE}"
        )


def hash_of(record: KafkaRecord) -> bytes:
    """What tells a record from another one at the same offset."""
    return sha256((record.key or b"") + b"\0" + (record.value or b"")).digest()
