"""Reports on disk until they have arrived: append-only segment files, one process at a time.

What was appended survives the death of the process, because the kernel owns the pages; against a power failure, `fsync`
says how long the disk may lag behind. The folder holds:

    00000000000000000007.spool    reports in the order in which they came; see segment.py
    delivered                     up to where everything has arrived: segment, offset, CRC-32
    refused.jsonl                 what the API will never take; see refusals.py
    lock                          held by the process that uses the spool

Nothing is thrown away before it has arrived. Bytes that can't be read (a torn end after a power failure, a rotten disk)
stay in a file that ends in `.damaged`. A place that was delivered but not yet written down is delivered again after a
restart.
"""

import fcntl
import os
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from struct import Struct
from threading import Lock
from typing import Literal
from zlib import crc32

from .segment import Segment, SpoolRecord, payload_of

PLACE = Struct("<QQI")  # segment, offset, CRC-32 of the two

SEGMENT_BYTES = 4 * 1024 * 1024
SPOOL_MAX_BYTES = 256 * 1024 * 1024
SEGMENTS_MIN = 4  # room for what is being written, what is being sent and what is about to be removed

Fsync = Literal["always", "interval", "never"]


class SpoolFull(Exception):
    """There is no room for another report until some have been sent. Nothing that was reported is lost."""


class SpoolInUse(Exception):
    """Another process, or another emitter of this one, uses the folder."""


class SpoolClosed(Exception):
    """The spool was closed, or belongs to the process that this one was forked from."""


@dataclass(frozen=True, slots=True)
class SpoolBatch:
    """The oldest records that have not arrived yet, and the place after them."""

    records: tuple[SpoolRecord, ...]
    segment: int
    end: int


class Spool:
    """A folder of undelivered reports. `append` may be called from any thread, the rest from one."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = SPOOL_MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        fsync: Fsync = "interval",
    ) -> None:
        """Open a folder, made if need be, and find what an earlier process left in it.

        Raises:
            SpoolInUse: somebody else has it open.
            ValueError: max_bytes has no room for four segments.
            OSError: the folder can't be written.
        """
        if max_bytes < SEGMENTS_MIN * segment_bytes:
            raise ValueError(f"max_bytes {max_bytes} is too small: write at least {SEGMENTS_MIN * segment_bytes}")
        self.folder = folder
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.fsync = fsync
        self.damaged = 0
        self.appended = 0  # since it was opened
        self.dropped = 0  # since it was opened
        self.mutex = Lock()
        self.open = True
        self.unsynced_names = False
        self.segments: deque[Segment] = deque()
        self.offset = 0  # up to here the first segment is delivered
        self.next_number = 1
        folder.mkdir(parents=True, exist_ok=True)
        self.lock_file = lock(folder)
        self.delivered_file = os.open(folder / "delivered", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self.leftover_count = self.find_leftovers()
        except BaseException:
            os.close(self.delivered_file)
            os.close(self.lock_file)
            raise
        os.register_at_fork(after_in_child=forget_when_forked(self))

    def append(self, key: bytes, value: bytes, spooled_at: int) -> None:
        """Keep a record. When this returns, the record survives the death of the process.

        Raises:
            SpoolFull: max_bytes are in use, or the disk is full.
            SpoolClosed: the spool is closed or was opened before a fork.
        """
        payload = payload_of(SpoolRecord(spooled_at, key, value))
        with self.mutex:
            if not self.open:
                raise SpoolClosed(f"the spool {self.folder} is closed, or was opened before this process was forked")
            segment = self.segments[-1] if self.segments else None
            if segment is None or not segment.fits(payload):
                segment = self.add_segment()
            end = segment.write(payload)
            if self.fsync == "always":
                segment.sync_or_erase()
            segment.end = end  # from now on it is sent
            self.appended += 1

    def pending(self) -> int:
        """How many records have not arrived yet."""
        return self.leftover_count + self.appended - self.dropped

    def oldest(self) -> int | None:
        """When the oldest of them was spooled (microseconds since 1970)."""
        with self.mutex:
            offset = self.offset
            for segment in self.segments:
                if offset < segment.end:
                    return segment.spooled_at(offset)
                offset = 0
        return None

    def peek(self, *, records_max: int = 2_000, bytes_max: int = 512 * 1024) -> SpoolBatch | None:
        """The oldest undelivered records, at least one if there are any; the same again until they are dropped."""
        with self.mutex:
            while len(self.segments) > 1 and self.offset >= self.segments[0].end:
                self.remove_first()
            if not self.segments or self.offset >= self.segments[0].end:
                return None
            segment, offset = self.segments[0], self.offset
        records: list[SpoolRecord] = []
        end = offset
        for record, after in islice(segment.read(offset), records_max):
            if records and after - offset > bytes_max:
                break
            records.append(record)
            end = after
        return SpoolBatch(tuple(records), segment.number, end)

    def drop(self, batch: SpoolBatch) -> None:
        """These records have arrived: write it down."""
        with self.mutex:
            place = batch.segment.to_bytes(8, "little") + batch.end.to_bytes(8, "little")
            os.pwrite(self.delivered_file, place + crc32(place).to_bytes(4, "little"), 0)
            self.offset = batch.end
            self.dropped += len(batch.records)

    def sync(self) -> None:
        """Bring to the disk what has not arrived yet, unless `fsync` is "never"."""
        if self.fsync == "never" or not self.pending():
            return
        with self.mutex:
            behind = [segment for segment in self.segments if segment.synced < segment.end]
            new_names, self.unsynced_names = self.unsynced_names, False
        for segment in behind:
            segment.sync()
        if new_names:
            sync_folder(self.folder)

    def close(self) -> None:
        """Leave what is undelivered for the next process, in files no larger than they need be."""
        with self.mutex:
            if not self.open:
                return
            self.open = False
            while self.segments and self.offset >= self.segments[0].end:
                self.remove_first()
            for segment in self.segments:
                segment.close()
            self.segments.clear()
            os.close(self.delivered_file)
            os.close(self.lock_file)

    def add_segment(self) -> Segment:
        """A new segment to write to; called with the mutex held. Raises SpoolFull."""
        used = sum(segment.capacity for segment in self.segments)
        if used + self.segment_bytes > self.max_bytes:
            raise SpoolFull(
                f"{self.pending()} reports wait in {self.folder}, which may hold {self.max_bytes} bytes:"
                " report again when some have been sent, or give the spool more room"
            )
        path = self.folder / f"{self.next_number:020d}.spool"
        try:
            segment = Segment.create(path, self.next_number, self.segment_bytes)
        except OSError as error:
            raise SpoolFull(f"{self.pending()} reports wait; {self.folder} takes no more: {error}") from error
        self.next_number += 1
        self.segments.append(segment)
        if self.fsync == "always":
            sync_folder(self.folder)
        else:
            self.unsynced_names = True
        return segment

    def remove_first(self) -> None:
        """Remove the first segment, which is delivered; called with the mutex held."""
        segment = self.segments.popleft()
        segment.close()
        if segment.damaged:
            segment.path.rename(segment.path.with_suffix(".damaged"))
        else:
            segment.path.unlink()
        self.offset = 0

    def find_leftovers(self) -> int:
        """Open the segments of an earlier process; returns how many records in them are undelivered."""
        delivered_segment, delivered_offset = self.read_place()
        count = 0
        self.next_number = delivered_segment + 1
        for path in sorted(path for path in self.folder.glob("*.spool") if path.stem.isdigit()):
            number = int(path.stem)
            if number < delivered_segment or not path.stat().st_size:
                path.unlink()
                continue
            start = delivered_offset if number == delivered_segment else 0
            segment, records = Segment.reopen(path, number, start)
            if not self.segments:
                self.offset = start
            count += records
            self.damaged += segment.damaged
            self.segments.append(segment)
            self.next_number = max(self.next_number, number + 1)
        return count

    def read_place(self) -> tuple[int, int]:
        """Up to where an earlier process delivered; the very beginning if that can't be read."""
        written = os.pread(self.delivered_file, PLACE.size, 0)
        if len(written) < PLACE.size:
            return 0, 0
        number, offset, checksum = PLACE.unpack(written)
        return (number, offset) if crc32(written[:16]) == checksum else (0, 0)


def lock(folder: Path) -> int:
    """Hold the folder for this process, until its end at the latest. Raises SpoolInUse."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "another process"
        os.close(file)
        raise SpoolInUse(
            f"{folder} is in use by process {holder} of this or another container: give each process a folder of its own"
        ) from error
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


def forget_when_forked(spool: Spool) -> Callable[[], None]:
    """A child must neither write to its parent's spool nor hold its lock when the parent is gone."""
    reference = weakref.ref(spool)

    def forget() -> None:
        parents = reference()
        if parents is not None and parents.open:
            parents.mutex = Lock()  # some thread of the parent may have held it
            parents.open = False
            os.close(parents.lock_file)

    return forget


def sync_folder(folder: Path) -> None:
    """Bring the names of new files to the disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
