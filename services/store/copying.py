"""PostgreSQL's binary COPY: what stands before and after the rows, and how it counts time."""

from datetime import UTC, datetime, timedelta
from struct import pack

COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATEST_RAW = pack(
    ">q", (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
)  # what was before EPOCH sorts behind it


def instant(raw: bytes) -> datetime:
    """The instant that PostgreSQL sends as eight bytes. Up to `LATEST_RAW` they sort as instants do."""
    return EPOCH + int.from_bytes(raw, "big", signed=True) * MICROSECOND


def microseconds(instant: datetime) -> int:
    """Microseconds since 2000-01-01 UTC, as PostgreSQL counts."""
    return (instant - EPOCH) // MICROSECOND
