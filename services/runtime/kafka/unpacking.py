"""What producers have compressed, unpacked within a bound: some kB may say that they are hundreds of MB.

aiokafka unpacks a batch in the event loop, however much comes out of it. So ours goes no further than `UNPACKED_MAX`,
which takes some hundredths of a second: short enough to stay in the loop. A batch that is larger, or that can't be
unpacked, is refused as one: nobody knows where in it a record begins.

Where a format says its size first (snappy), that is believed before the work; the others are stopped when the room is
full. The broker could do it (`compression.type=uncompressed` lets `max.message.bytes` count what was unpacked). But it
then builds the whole batch in its own heap before it refuses it, and stores and sends everything unpacked. So the topic
stays as it is.
"""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import cramjam

from schemas.topics import RECORD_BYTES_MAX

UNPACKED_MAX = RECORD_BYTES_MAX  # of one batch; the largest single record that the topic takes has as much
BLOCKS_MAX = UNPACKED_MAX // 1024  # the smallest that snappy-java makes; each costs a turn of a loop of ours

# https://github.com/xerial/snappy-java: blocks of snappy, each behind its length, after this and two numbers of a
# version.
_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER_BYTES = 16
_LENGTH = struct.Struct(">i")
_NO_ROOM = "failed to write whole buffer"

_room: list[memoryview] = []


class NotUnpacked(Exception):
    """A batch that can't be read. `reason` is the code of its refusal, `detail` says what to change."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def unpack(codec: int, packed: bytes) -> memoryview:
    """What was packed, in a room that the next call uses again.

    Raises:
        NotUnpacked: batch_too_big, batch_unreadable.
    """
    try:
        match codec:
            case 1:  # https://kafka.apache.org/documentation/#recordbatch
                return _streamed(cramjam.gzip.decompress_into, packed)
            case 2:
                return _snappy(packed)
            case 3:
                return _streamed(cramjam.lz4.decompress_into, packed)
            case 4:
                return _streamed(cramjam.zstd.decompress_into, packed)
            case _:
                raise NotUnpacked("batch_unreadable", f"the batch is compressed in an unknown way, number {codec}")
    except (cramjam.DecompressionError, struct.error, ValueError, OverflowError) as error:
        raise NotUnpacked("batch_unreadable", f"the batch can't be decompressed: {error}"[:300]) from error


def _too_big() -> NotUnpacked:
    detail = f"the compressed batch has more than {UNPACKED_MAX} bytes when it is unpacked; send smaller batches"
    return NotUnpacked("batch_too_big", detail)


def _free() -> memoryview:
    """One room for all, made when it is needed first: to make it anew takes longer than to unpack a usual batch."""
    if not _room:
        _room.append(memoryview(bytearray(UNPACKED_MAX)))
    return _room[0]


def _streamed(unpack_into: Callable[[Any, Any], int], packed: bytes) -> memoryview:
    room = _free()
    try:
        return room[: unpack_into(packed, room)]
    except cramjam.DecompressionError as error:
        if _NO_ROOM in str(error):
            raise _too_big() from error
        raise


def _snappy(packed: bytes) -> memoryview:
    room, size = _free(), 0
    for number, block in enumerate(_blocks(packed)):
        length = cramjam.snappy.decompress_raw_len(block)
        if size + length > UNPACKED_MAX or number >= BLOCKS_MAX:
            raise _too_big()
        size += cramjam.snappy.decompress_raw_into(block, room[size : size + length])
    return room[:size]


def _blocks(packed: bytes) -> Iterator[bytes]:
    if not packed.startswith(_XERIAL):
        yield packed
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(packed):
        (length,) = _LENGTH.unpack_from(packed, at)
        at += _LENGTH.size
        if not 0 < length <= len(packed) - at:
            raise ValueError(f"a block of {length} bytes where {len(packed) - at} are left")
        yield packed[at : at + length]
        at += length
