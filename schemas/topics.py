"""The Kafka topics of the contract, and where in them a record lies."""

from collections.abc import Mapping

USAGE = "usage"  # what feature services report
EVENTS = "credits.events"  # every fact, in order per team
REFUSED = "usage.refused"  # what of `usage` was refused, with the reason

DAY_MS = 24 * 60 * 60 * 1000

# Feature teams may send what is too large to accept: it must reach the recorder to be refused with a reason.
RECORD_BYTES_MAX = 16 * 2**20

# By time alone: a topic that also goes by size forgets more the more is reported. Batches are kept as producers packed
# them: a broker that unpacks them has to hold in its heap whatever comes out.
_EACH = {
    "cleanup.policy": "delete",
    "retention.ms": str(30 * DAY_MS),
    "retention.bytes": "-1",
    "max.message.bytes": str(RECORD_BYTES_MAX),
    "compression.type": "producer",
}

# Their settings at the broker.
TOPICS: Mapping[str, Mapping[str, str]] = {
    # Kafka's own time, not the producers': by it the recorder knows which cycles are over.
    USAGE: {**_EACH, "message.timestamp.type": "LogAppendTime"},
    EVENTS: {**_EACH, "message.timestamp.type": "CreateTime"},
    REFUSED: {**_EACH, "message.timestamp.type": "CreateTime"},
}

PARTITIONS = 64  # of new topics: with as many as there are shards, a shard lies in one partition
COPIES = 3

TRUNCATED = "refused-truncated"  # the header that says that a refused record is not whole, with the size that it had
