"""An instant as everybody outside reads it: over HTTP, on Kafka, in notices and in signed checkpoints."""

from datetime import UTC, datetime


def instant(at: datetime) -> str:
    """RFC 3339, UTC, microseconds: `2026-11-23T10:15:30.123456Z`, always 27 characters."""
    # By position: a keyword costs an eighth of it, and the relay writes two for each fact.
    return at.astimezone(UTC).isoformat("T", "microseconds")[:26] + "Z"
