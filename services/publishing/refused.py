"""Refused records: published as they arrived, with the reason, and their bytes let go when their time is over."""

import asyncio
import time
from base64 import b64decode
from dataclasses import dataclass
from datetime import timedelta
from json import loads

import asyncpg
from aiokafka import AIOKafkaProducer

from schemas.topics import REFUSED, TRUNCATED, USAGE
from services.publishing.batches import Batches, Headers
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.shards import partition_of

ROUND_BYTES = 4 * 1024 * 1024
FORGET_SECONDS = 60.0
FORGET_MAX = 500  # with up to a megabyte each

# A partition's refused rows are written under its cursor's lock, in order: whoever has seen one never meets an earlier
# one later.
AFTER = """
    SELECT partition, "offset", reason, detail, key, value, headers, sha256, size, is_whole
    FROM (
        SELECT r.*, sum(r.bytes) OVER (ORDER BY r.partition, r."offset") AS bytes_so_far
        FROM unnest($2::integer[], $3::bigint[]) AS seen (partition, next_offset)
        CROSS JOIN LATERAL (
            SELECT refused.*, b.detail, b.key, b.value, coalesce(b.headers, '[]') AS headers,
                   b.topic IS NOT NULL AND b.erased_at IS NULL AS is_whole,
                   octet_length(coalesce(b.key, '')) + octet_length(coalesce(b.value, ''))
                   + octet_length(coalesce(b.headers::text, '')) AS bytes
            FROM refused LEFT JOIN refused_bytes AS b USING (topic, partition, "offset")
            WHERE topic = $1 AND partition = seen.partition AND "offset" >= seen.next_offset
            ORDER BY "offset" LIMIT 1000
        ) AS r
    ) AS waiting
    WHERE bytes_so_far - bytes < $4
    ORDER BY partition, "offset"
"""

FORGET = "SELECT forget_refused_bytes($1, $2)"


async def relay_refused(
    connection: Connection, producer: AIOKafkaProducer, claims: Claims, stop: asyncio.Event, health: Health
) -> bool:
    """Publish refused records as they arrived, with the reason; True when there were any.

    The checkpoint of partition n of `usage` is kept as that of shard n: the offset before which everything is
    published.
    """
    rows = await connection.fetch(AFTER, USAGE, list(claims.positions), list(claims.positions.values()), ROUND_BYTES)
    if not rows:
        return False
    batches = Batches(producer, REFUSED, len(await producer.partitions_for(REFUSED)))
    reached: dict[int, int] = {}
    for row in rows:
        target = partition_of(row["key"] or b"", batches.partitions)
        if not batches.add(target, row["key"], row["value"], refused_headers(row)):
            break
        reached[row["partition"]] = row["offset"] + 1
    await batches.send()
    await batches.acknowledged(stop, health)
    await claims.lock_and_move(connection, reached)
    claims.moved(reached)
    return True


def refused_headers(row: asyncpg.Record) -> Headers:
    """The headers as kept (in binary mode they are half of the event), then where it came from and what was wrong.

    Where its bytes were erased, or their time was over, before it was published, there are no headers as kept.
    """
    headers = [(name, b64decode(text)) for name, text in loads(row["headers"])]
    if not row["is_whole"]:
        headers.append((TRUNCATED, b"%d" % row["size"]))
    headers += [
        ("refused-reason", row["reason"].encode()),
        ("refused-detail", (row["detail"] or "").encode()),
        ("refused-sha256", row["sha256"].hex().encode()),
        ("origin-topic", USAGE.encode()),
        ("origin-partition", b"%d" % row["partition"]),
        ("origin-offset", b"%d" % row["offset"]),
    ]
    return headers


@dataclass(slots=True)
class RefusedBytes:
    """Lets go of the bytes of refused records that are older than `kept`, now and then and a few at a time."""

    kept: timedelta
    looked_at: float = float("-inf")

    async def forget(self, connection: Connection) -> bool:
        """True while there is more of it."""
        if time.monotonic() - self.looked_at < FORGET_SECONDS:
            return False
        gone: int = await connection.fetchval(FORGET, self.kept, FORGET_MAX)
        if gone:
            get_log().info("bytes of refused records came to their end", records=gone, days=self.kept.days)
        if gone == FORGET_MAX:
            return True
        self.looked_at = time.monotonic()
        return False
