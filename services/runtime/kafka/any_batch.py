"""Batches that aiokafka can't read, or should not, are handed out like any other record, and stop nobody.

That holds for every consumer of ours: whoever may write to a topic could end who reads it otherwise.

It decodes header names strictly while it hands out a fetched batch: one record with a name that is not UTF-8 makes
every fetch of its partition fail, for ever. So the batches of this process try aiokafka's fast parser first, and where
that fails go on with its Python parser, told to write such bytes as escapes.

It unpacks whatever a compressed batch becomes. So here a batch is unpacked within a bound, or handed out as a record of
its own that is refused: at the batch's first offset, with the compressed bytes as its value. A second one at the last
offset lets the cursor pass. And what one turn of the event loop unpacks is bounded, too: the rest is fetched again.

Batches of the formats before Kafka 0.11 are left to aiokafka: no broker since 3.0 writes them.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from services.runtime.kafka.unpacking import UNPACKED_MAX, NotUnpacked, unpack

MAGIC_OFFSET = 16
DEFAULT_MAGIC = 2
CODEC_OFFSET = 22  # the lower byte of the attributes
CODEC_MASK = 0x07
HEADER_BYTES = 61
MARK_BYTES = 64 * 1024  # of a batch, in the record that marks its end: enough to tell it from another
TURN_MAX = (
    2 * UNPACKED_MAX
)  # unpacked in one turn of the event loop: less than a tenth of a second, and what is in hand


class BatchNotRead(bytes):
    """The value of a record that stands for a batch: its compressed bytes.

    Without `reason` it marks the batch's last offset alone.
    """

    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _StandIn:
    """A record as the fetcher takes it."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    checksum: int | None = None


class FetchedRecord(msgspec.Struct, gc=False):
    """A `KafkaRecord`: of what aiokafka gives, which takes three times as long to make, what we ask for."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of a partition, as ours."""

    def __iter__(self) -> Iterator[FetchedRecord]:
        records: Iterator[FetchedRecord] = self._records_iterator
        return records

    def _consumer_record(self, tp: TopicPartition, record: Any) -> FetchedRecord:
        return FetchedRecord(
            tp.topic, tp.partition, record.offset, record.timestamp, record.key, record.value, record.headers
        )


class _Turn:
    """How much this turn of the event loop has unpacked already."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, count: int) -> None:
        if not self._bytes:
            asyncio.get_running_loop().call_soon(self._end)
        self._bytes += count

    def is_full(self) -> bool:
        return self._bytes >= TURN_MAX

    def _end(self) -> None:
        self._bytes = 0


_turn = _Turn()


class _Bytes(bytearray):
    """Bytes whose text is never wrong."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Bytes(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:  # noqa: ARG002 - never strict
        return super().decode(encoding, "backslashreplace")


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """aiokafka's Python parser over such bytes."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Bytes(self._buffer)


class _Batch:
    """A batch as the fetcher sees it: the fast parser's, until that fails."""

    def __init__(self, data: memoryview) -> None:
        self._data: memoryview | bytes = data
        self._fast = DefaultRecordBatch(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        return next(self._fast)  # of a control batch: its marker

    def __iter__(self) -> Iterator[Any]:
        count = 0
        try:
            for record in self._plain():
                yield record
                count += 1
        except UnicodeDecodeError:
            yield from islice(_PatientBatch(self._data), count, None)
        except NotUnpacked as error:
            yield from self._stand_ins(error)

    def _plain(self) -> Any:
        """The same batch, unpacked."""
        codec = self._fast.compression_type
        if not codec:
            return self._fast
        try:
            unpacked = unpack(codec, bytes(self._data[HEADER_BYTES:]))
        except NotUnpacked:
            _turn.add(UNPACKED_MAX)
            raise
        _turn.add(len(unpacked))
        header = bytearray(self._data[:HEADER_BYTES])
        header[CODEC_OFFSET] &= ~CODEC_MASK
        self._data = b"".join((header, unpacked))
        return DefaultRecordBatch(self._data)

    def _stand_ins(self, error: NotUnpacked) -> Iterator[_StandIn]:
        batch = self._fast
        value = BatchNotRead(self._data[HEADER_BYTES:])
        value.reason, value.detail = error.reason, error.detail
        yield _StandIn(batch.base_offset, batch.max_timestamp, batch.timestamp_type, value)
        if (last := batch.next_offset - 1) > batch.base_offset:
            yield _StandIn(last, batch.max_timestamp, batch.timestamp_type, BatchNotRead(value[:MARK_BYTES]))


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    """What a fetch brought for one partition."""

    _begun = False

    def has_next(self) -> bool:
        """True while there is a batch that this turn has room for.

        The first to ask is the fetcher, which only wants to know of any.
        """
        if self._begun and _turn.is_full():
            return False
        self._begun = True
        return bool(super().has_next())

    def next_batch(self) -> Any:  # the base class has arguments for speed alone
        """The next batch, or None."""
        data = self._next_slice
        batch = super().next_batch()
        return batch if data is None or data[MAGIC_OFFSET] < DEFAULT_MAGIC else _Batch(data)


def accept_any_batch() -> None:
    """From now on the consumers of this process read such records, too. Whoever makes one calls this."""
    fetcher.MemoryRecords = _Records
    fetcher.PartitionRecords = _PartitionRecords
