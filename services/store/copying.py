"""PostgreSQL's binary COPY: what stands before and after the rows, and how it counts time."""

from datetime import UTC, datetime, timedelta

COPY_BEGIN = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Microseconds since 2000-01-01 UTC, as PostgreSQL counts."""
    return (instant - EPOCH) // MICROSECOND
