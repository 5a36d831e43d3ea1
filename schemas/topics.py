"""The Kafka topics of the contract, and where in them a record lies."""

from collections.abc import Mapping

USAGE = "usage"  # what feature services report
EVENTS = "credits.events"  # every fact, in order per team
REFUSED = "usage.refused"  # what of `usage` was refused, with the reason

DAY_MS = 24 * 60 * 60 * 1000

# Feature teams may send what is too large to accept: it must reach the recorder to be refused with a reason.
RECORD_BYTES_MAX = 16 * 2**20

_LIMIT = {"max.message.bytes": str(RECORD_BYTES_MAX)}

# Their settings at the broker.
TOPICS: Mapping[str, Mapping[str, str]] = {
    # Kafka's own time, not the producers': by it the recorder knows which cycles are over.
    USAGE: {"retention.ms": str(30 * DAY_MS), "message.timestamp.type": "LogAppendTime", **_LIMIT},
    EVENTS: {"retention.ms": str(7 * DAY_MS), **_LIMIT},
    REFUSED: {"retention.ms": str(30 * DAY_MS), **_LIMIT},
}
