"""Which shard a team's facts belong to: Kafka's own hash, so that one shard is fed by one partition.

The number is written into the store at migration and refused if changed: it is part of every position ever handed out.
The hash is written out here, so that where a fact lies rests on no library, and who reads a balance loads none.
"""

from struct import iter_unpack

SHARDS = 64
MASK = 0xFFFF_FFFF
MULTIPLIER, SEED = 0x5BD1_E995, 0x9747_B28C  # of MurmurHash2, and what Kafka's clients begin with
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


def murmur2(key: bytes) -> int:
    """MurmurHash2 of 32 bits, as Kafka's clients have it (org.apache.kafka.common.utils.Utils)."""
    whole = len(key) & ~3
    value = SEED ^ len(key)
    for (word,) in iter_unpack("<I", key[:whole]):
        mixed = word * MULTIPLIER & MASK
        value = value * MULTIPLIER & MASK ^ (mixed ^ mixed >> 24) * MULTIPLIER & MASK
    if rest := key[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * MULTIPLIER & MASK
    value = (value ^ value >> 13) * MULTIPLIER & MASK
    return value ^ value >> 15
