"""Where the recorder goes on in Kafka: a row per partition, moved in the transaction that appends.

Kafka's generation check can't stop a paused process from writing to PostgreSQL, so the fence is here. A new owner
raises the epoch; every batch first compares and swaps (epoch, next offset). No row means fenced: drop the batch and
join again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.runtime.errors import Fenced
from services.store.connect import Connection


@dataclass(frozen=True, slots=True)
class Cursor:
    """A partition that this process owns: everything before `next_offset` is in the log.

    From there to `through`, where that is more, was nothing for the log.
    """

    topic: str
    partition: int
    epoch: int
    next_offset: int
    through: int
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


# Rows are locked in the order of partitions, here and below, so that two owners never wait for each other in a circle.
CLAIM = """
    INSERT INTO kafka_cursors (topic, partition, epoch, owner, next_offset)
    SELECT $1, start.partition, 1, $2, start.next_offset
    FROM check_life() AS may JOIN unnest($3::integer[], $4::bigint[]) AS start (partition, next_offset) ON may
    ORDER BY start.partition
    ON CONFLICT (topic, partition) DO UPDATE SET epoch = kafka_cursors.epoch + 1, owner = excluded.owner
    RETURNING topic, partition, epoch, next_offset, through, last_hash
"""

SWAP = """
    WITH step AS (
        SELECT * FROM unnest($2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::timestamptz[])
            AS s (partition, epoch, from_offset, to_offset, last_hash, passed_at)
    ), mine AS (
        SELECT c.partition FROM check_life() AS may JOIN kafka_cursors c ON may JOIN step s USING (partition)
        WHERE c.topic = $1 AND c.epoch = s.epoch AND c.next_offset = s.from_offset
        ORDER BY c.partition FOR UPDATE OF c
    )
    UPDATE kafka_cursors c
    SET next_offset = s.to_offset, through = s.to_offset, last_hash = coalesce(s.last_hash, c.last_hash),
        passed_at = greatest(c.passed_at, s.passed_at)
    FROM step s JOIN mine USING (partition)
    WHERE c.topic = $1 AND c.partition = s.partition AND c.epoch = s.epoch AND c.next_offset = s.from_offset
    RETURNING c.partition
"""

PASSED = """
    WITH mine AS (
        SELECT c.partition, o.through FROM kafka_cursors c
        JOIN unnest($2::integer[], $3::bigint[], $4::bigint[]) AS o (partition, epoch, through) USING (partition, epoch)
        WHERE c.topic = $1 ORDER BY c.partition FOR UPDATE OF c
    )
    UPDATE kafka_cursors c SET passed_at = greatest(c.passed_at, $5), through = mine.through
    FROM mine WHERE c.topic = $1 AND c.partition = mine.partition
"""

READ = "SELECT topic, partition, epoch, next_offset, through, last_hash FROM kafka_cursors WHERE topic = $1"


async def claim_cursors(
    connection: Connection, topic: str, owner: str, start_offsets: Mapping[int, int]
) -> list[Cursor]:
    """Become the owner of partitions, all or none; their start offsets count only where nobody ever was."""
    rows = await connection.fetch(CLAIM, topic, owner, list(start_offsets), list(start_offsets.values()))
    return [Cursor(*row) for row in rows]


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


async def note_passed(
    connection: Connection, topic: str, through: Mapping[int, tuple[int, int]], moment: datetime
) -> None:
    """Everything that Kafka received until then is in the log, for the partitions that are still owned as given.

    `through` has the epoch of each, and the offset before which nothing is left to be recorded.
    """
    epochs, offsets = zip(*through.values(), strict=True)
    await connection.execute(PASSED, topic, list(through), epochs, offsets, moment)
