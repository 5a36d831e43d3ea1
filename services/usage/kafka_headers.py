"""Records whose header names are not text must be refused like any other, not stop the recorder.

aiokafka decodes header names strictly while it hands out a fetched batch: one record with a name that is not UTF-8
makes every fetch of its partition fail, for ever. So the batches of this process try aiokafka's fast parser first, and
where that fails go on with its Python parser, told to write such bytes as escapes.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

MAGIC_OFFSET = 16
DEFAULT_MAGIC = 2


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
        self._data = data
        self._fast = DefaultRecordBatch(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        return next(self._fast)  # of a control batch: its marker

    def __iter__(self) -> Iterator[Any]:
        count = 0
        try:
            for record in self._fast:
                yield record
                count += 1
        except UnicodeDecodeError:
            yield from islice(_PatientBatch(self._data), count, None)


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    """What a fetch brought for one partition."""

    def next_batch(self) -> Any:  # the base class has arguments for speed alone
        """The next batch, or None."""
        data = self._next_slice
        batch = super().next_batch()
        return batch if data is None or data[MAGIC_OFFSET] < DEFAULT_MAGIC else _Batch(data)


def accept_any_header_name() -> None:
    """From now on the consumers of this process read such records, too."""
    fetcher.MemoryRecords = _Records
