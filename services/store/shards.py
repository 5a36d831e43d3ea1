"""Which shard a team's facts belong to: Kafka's own hash, so that one shard is fed by one partition.

The number is written into the store at migration and refused if changed: it is part of every position ever handed out.
"""

from aiokafka.partitioner import murmur2

SHARDS = 64
_KNOWN_MAX = 500_000
_known: dict[str, int] = {}


def shard_of(team_id: str) -> int:
    """0 ≤ shard < 64, by murmur2 as Kafka's default partitioner has it (librdkafka: `murmur2_random`)."""
    shard = _known.get(team_id)
    if shard is None:
        if len(_known) >= _KNOWN_MAX:
            _known.clear()
        shard = _known[team_id] = (murmur2(team_id.encode()) & 0x7FFFFFFF) % SHARDS
    return shard
