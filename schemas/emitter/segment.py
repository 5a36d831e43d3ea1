"""One file of a spool: a fixed size on disk, written through a memory map, read while it is written.

A record is length, CRC-32, when it was spooled, length of the key, key, value; after the last come zeros. It is whole
or not there: its bytes are written first and its length last, so a process that is killed leaves nothing half-said.
Writing through a map is no system call, so it never hands the interpreter to another thread and makes its caller wait
for it.
"""

import errno
import logging
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple, Self
from zlib import crc32

FRAME = Struct("<II")  # length of what follows, its CRC-32; a length of zero is the end
STAMP = Struct("<QH")  # when spooled (microseconds since 1970), length of the key
RECORD_MAX_BYTES = 256 * 1024

logger = logging.getLogger(__name__)


class SpoolRecord(NamedTuple):
    """What was appended, and when (microseconds since 1970)."""

    spooled_at: int
    key: bytes
    value: bytes


class Segment:
    """One file of a spool. What lies before `end` is whole and may be read; nothing is ever changed there."""

    def __init__(self, path: Path, number: int, file: int, view: mmap.mmap) -> None:
        self.path = path
        self.number = number
        self.file = file
        self.view = view
        self.capacity = len(view)
        self.end = 0
        self.synced = 0
        self.writable = True
        self.damaged = False

    @classmethod
    def create(cls, path: Path, number: int, size: int) -> Self:
        """A new, empty file, with its room on the disk reserved: a full disk shows here and not while writing."""
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            reserve(file, size)
            view = mmap.mmap(file, size)
        except OSError:
            os.close(file)
            path.unlink()
            raise
        return cls(path, number, file, view)

    @classmethod
    def reopen(cls, path: Path, number: int, start: int) -> tuple[Self, int]:
        """A file that an earlier process left, up to where it can be read.

        With it comes the number of records from `start` on.
        """
        file = os.open(path, os.O_RDWR)
        segment = cls(path, number, file, mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        segment.writable = False
        segment.end, records = segment.whole_from(min(start, segment.capacity))
        segment.damaged = bool(segment.view[segment.end :].strip(b"\0"))
        if segment.damaged:
            logger.error("%s can't be read from byte %d on: the rest is sent, the file is kept", path, segment.end)
        return segment, records

    def fits(self, payload: bytes) -> bool:
        """True if there is room for one more record."""
        return self.writable and self.end + FRAME.size + len(payload) <= self.capacity

    def write(self, payload: bytes) -> int:
        """Put a record at the end, its length last: until that is there, nothing is. Returns where it ends."""
        start = self.end + FRAME.size
        end = start + len(payload)
        self.view[start:end] = payload
        self.view[self.end : start] = FRAME.pack(len(payload), crc32(payload))
        return end

    def read(self, offset: int) -> Iterator[tuple[SpoolRecord, int]]:
        """The records from an offset on, each with the offset after it."""
        view, end = self.view, self.end
        while offset < end:
            length, _ = FRAME.unpack_from(view, offset)
            start = offset + FRAME.size
            offset = start + length
            spooled_at, key_length = STAMP.unpack_from(view, start)
            middle = start + STAMP.size + key_length
            yield SpoolRecord(spooled_at, view[start + STAMP.size : middle], view[middle:offset]), offset

    def spooled_at(self, offset: int) -> int:
        """When the record at an offset was spooled (microseconds since 1970)."""
        moment: int = STAMP.unpack_from(self.view, offset + FRAME.size)[0]
        return moment

    def whole_from(self, offset: int) -> tuple[int, int]:
        """Where the records from an offset on cease to be whole, and how many are."""
        records = 0
        while offset + FRAME.size <= self.capacity:
            length, checksum = FRAME.unpack_from(self.view, offset)
            start = offset + FRAME.size
            if not STAMP.size <= length <= min(RECORD_MAX_BYTES, self.capacity - start):
                break
            if crc32(self.view[start : start + length]) != checksum:
                break
            offset = start + length
            records += 1
        return offset, records

    def sync(self) -> None:
        """Bring it to the disk. Blocks, but holds up nobody else."""
        end = self.end
        if hasattr(os, "fdatasync"):
            os.fdatasync(self.file)
        else:  # elsewhere than on Linux a file does not know what was written through a map
            self.view.flush()
            os.fsync(self.file)
        self.synced = end

    def sync_or_erase(self) -> None:
        """Bring it to the disk with the record just written, or take that record back. Raises OSError."""
        try:
            self.sync()
        except OSError:
            self.view[self.end : self.end + FRAME.size] = bytes(FRAME.size)
            raise

    def close(self) -> None:
        """Let go of the file, without the room that it did not need."""
        self.view.close()
        if not self.damaged:
            os.ftruncate(self.file, self.end)
        os.close(self.file)


def payload_of(record: SpoolRecord) -> bytes:
    """A record as it stands in a file, without its frame."""
    payload = b"".join((STAMP.pack(record.spooled_at, len(record.key)), record.key, record.value))
    if len(payload) > RECORD_MAX_BYTES:
        raise ValueError(f"a record of {len(payload)} bytes is larger than {RECORD_MAX_BYTES}")
    return payload


def reserve(file: int, size: int) -> None:
    """Take room on the disk, so that writing through a map can't fail. Raises OSError when there is none."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:  # some file systems know no such call
                raise
        else:
            return
    written = 0
    while written < size:
        written += os.pwrite(file, bytes(size - written), written)
