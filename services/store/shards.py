"""Which shard a team's facts belong to: Kafka's own hash, so that one shard is fed by one partition.

The number is written into the store at migration and refused if changed: it is part of every position ever handed out.
"""

from aiokafka.partitioner import murmur2

SHARDS = 64
_CACHE_MAX = 500_000
_cache: dict[str, int] = {}


def shard_of(team_id: str) -> int:
    """0 ≤ shard < 64: the team's partition in a topic of as many."""
    shard = _cache.get(team_id)
    if shard is None:
        if len(_cache) >= _CACHE_MAX:
            _cache.clear()
        shard = _cache[team_id] = partition_of(team_id.encode(), SHARDS)
    return shard


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's default partitioner puts a key: murmur2 (librdkafka: `murmur2_random`).

    Slow: remember what it says.
    """
    partition: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return partition
