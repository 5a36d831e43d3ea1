"""Where the recorder goes on in Kafka: a row per partition, moved in the transaction that appends.

Kafka's generation check can't stop a paused process from writing to PostgreSQL, so the fence is here. A new owner
raises the epoch; every batch first compares and swaps (epoch, next offset). No row means fenced: drop the batch and
join again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.runtime.errors import Fenced
from services.store.connect import Connection


@dataclass(frozen=True, slots=True)
class Cursor:
    """A partition that this process owns: everything before `next_offset` is in the log."""

    topic: str
    partition: int
    epoch: int
    next_offset: int
    last_hash: bytes | None


@dataclass(frozen=True, slots=True)
class CursorStep:
    """One batch's move of one cursor."""

    partition: int
    epoch: int
    from_offset: int
    to_offset: int
    last_hash: bytes | None
    passed_at: datetime


CLAIM = """
    INSERT INTO kafka_cursors (topic, partition, epoch, owner, next_offset)
    VALUES ($1, $2, 1, $3, $4)
    ON CONFLICT (topic, partition) DO UPDATE SET epoch = kafka_cursors.epoch + 1, owner = excluded.owner
    RETURNING topic, partition, epoch, next_offset, last_hash
"""

# Rows are locked in the order of partitions, so that two owners never wait for each other in a circle.
SWAP = """
    WITH step AS (
        SELECT * FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::timestamptz[])
            AS s (partition, epoch, from_offset, to_offset, last_hash, passed_at)
    ), mine AS (
        SELECT c.partition FROM kafka_cursors c JOIN step s USING (partition)
        WHERE c.topic = $1 AND c.epoch = s.epoch AND c.next_offset = s.from_offset
        ORDER BY c.partition FOR UPDATE OF c
    )
    UPDATE kafka_cursors c
    SET next_offset = s.to_offset, last_hash = coalesce(s.last_hash, c.last_hash), passed_at = greatest(c.passed_at, s.passed_at)
    FROM step s JOIN mine USING (partition)
    WHERE c.topic = $1 AND c.partition = s.partition AND c.epoch = s.epoch AND c.next_offset = s.from_offset
    RETURNING c.partition
"""

READ = "SELECT topic, partition, epoch, next_offset, last_hash FROM kafka_cursors WHERE topic = $1"


async def claim_cursor(connection: Connection, topic: str, partition: int, owner: str, start_offset: int) -> Cursor:
    """Become the owner of a partition; `start_offset` counts only where nobody ever was."""
    row = await connection.fetchrow(CLAIM, topic, partition, owner, start_offset)
    assert row is not None
    return Cursor(*row)


async def move_cursors(connection: Connection, topic: str, steps: Sequence[CursorStep]) -> None:
    """The first statement of a batch's transaction.

    Raises:
        Fenced: one of the partitions has another owner, or stands elsewhere.
    """
    moved = await connection.fetch(
        SWAP, topic, [s.partition for s in steps], [s.epoch for s in steps], [s.from_offset for s in steps],
        [s.to_offset for s in steps], [s.last_hash for s in steps], [s.passed_at for s in steps],
    )  # fmt: skip
    if len(moved) != len(steps):
        raise Fenced(f"{len(steps) - len(moved)} of {len(steps)} partitions of {topic} have another owner")


async def read_cursors(connection: Connection, topic: str) -> dict[int, Cursor]:
    """Every cursor of a topic as it stands, whoever owns it: also what became of a COMMIT whose answer was lost."""
    return {row["partition"]: Cursor(*row) for row in await connection.fetch(READ, topic)}
