"""Signing the log: a new note only for a log that holds everything that was signed before.

Compared with what the last note said, no shard may be shorter, and each old head must still be in its chain. The blocks
since then must lead from the old head to the new one, link by link. What does not is not signed: somebody changed the
past.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.checkpoints import Checkpoint, ShardHead, note_hash, origin_of, parse, sign
from services.runtime.errors import LogChanged
from services.store.connect import Connection
from services.store.proofs import GENESIS, block_hash

PAGE = 2_000

LOG = "SELECT value FROM store_constants WHERE name = 'log'"
HEADS = "SELECT shard, next - 1 AS last, head FROM shard_heads WHERE next > 1"
LAST = "SELECT number, note FROM signed_checkpoints ORDER BY number DESC LIMIT 1"
AFTER = "SELECT size, note FROM signed_checkpoints WHERE size > $1 ORDER BY number LIMIT $2"
KEEP = "INSERT INTO signed_checkpoints (number, size, note, signed_at) VALUES ($1, $2, $3, $4)"

BLOCKS_BETWEEN = """
    SELECT b.shard, b.first, b.last, b.root, b.hash
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS grown (shard, seen, last)
    CROSS JOIN LATERAL (
        SELECT * FROM blocks WHERE blocks.shard = grown.shard AND blocks.last > grown.seen AND blocks.last <= grown.last
    ) AS b
    ORDER BY b.shard, b.last
"""

HASHES_AT = """
    SELECT shard, last, hash
    FROM unnest($1::smallint[], $2::bigint[]) AS wanted (shard, last) JOIN blocks USING (shard, last)
"""


class Signed(NamedTuple):
    """A note that was stored."""

    number: int
    checkpoint: Checkpoint
    note: str


async def sign_log(
    connection: Connection, key: Ed25519PrivateKey, now: datetime, anchored: Checkpoint | None = None
) -> Signed | None:
    """Sign the log as it is now and store the note; None when nothing was added since the last one.

    `anchored` is the newest note that is known outside the database; the log must hold what it says, too.

    Raises:
        LogChanged: the log does not hold what was signed before; nothing is signed.
        asyncpg.UniqueViolationError: another signer was quicker.
    """
    async with connection.transaction(isolation="repeatable_read"):
        origin = origin_of(await connection.fetchval(LOG))
        heads = {shard: ShardHead(last, head) for shard, last, head in await connection.fetch(HEADS)}
        row = await connection.fetchrow(LAST)
        before = None if row is None else parse(row["note"])
        for earlier in (before, anchored):
            if earlier is not None:
                await check_holds(connection, origin, heads, earlier)
        heads_before = {} if before is None else before.heads
        if heads == heads_before:
            return None
        await _check_chain(connection, heads_before, heads)
        checkpoint = Checkpoint(origin, now, GENESIS if row is None else note_hash(row["note"]), heads)
        signed = Signed(1 if row is None else row["number"] + 1, checkpoint, sign(checkpoint, key))
        await connection.execute(KEEP, signed.number, checkpoint.size, signed.note, now)
        return signed


async def check_holds(connection: Connection, origin: str, heads: Mapping[int, ShardHead], earlier: Checkpoint) -> None:
    """Make sure that the log holds everything that a note speaks of.

    Raises:
        LogChanged: it is another log, a shorter one, or one whose past was rewritten.
    """
    if earlier.origin != origin:
        message = f"the last signed note is of {earlier.origin}, this log is {origin}"
        raise LogChanged(message)
    hashes = await hashes_at(connection, list(earlier.heads), [head.last for head in earlier.heads.values()])
    for shard, head in earlier.heads.items():
        if shard not in heads or heads[shard].last < head.last:
            end = heads[shard].last if shard in heads else 0
            message = f"shard {shard} ends at {end}, but {head.last} facts of it were signed: facts were taken away, or an old backup was restored"
            raise LogChanged(message)
        if hashes.get((shard, head.last)) != head.hash:
            message = f"shard {shard} is not the one that was signed up to {head.last}: its past was rewritten"
            raise LogChanged(message)


async def hashes_at(
    connection: Connection, shards: Sequence[int], lasts: Sequence[int]
) -> dict[tuple[int, int], bytes]:
    """The hash of the chain at these places, where a block ends there."""
    rows = await connection.fetch(HASHES_AT, shards, lasts)
    return {(row["shard"], row["last"]): row["hash"] for row in rows}


async def _check_chain(
    connection: Connection, heads_before: Mapping[int, ShardHead], heads: Mapping[int, ShardHead]
) -> None:
    """Follow the blocks from what was signed to what is to be signed."""
    reached = {shard: heads_before.get(shard, ShardHead(0, GENESIS)) for shard in heads}
    arguments = list(heads), [head.last for head in reached.values()], [head.last for head in heads.values()]
    async for shard, first, last, root, hash_ in connection.cursor(BLOCKS_BETWEEN, *arguments, prefetch=PAGE):
        before = reached[shard]
        if first != before.last + 1 or block_hash(shard, first, last, before.hash, root) != hash_:
            message = f"the chain of shard {shard} breaks between {before.last} and {last}; run `creditwell verify`"
            raise LogChanged(message)
        reached[shard] = ShardHead(last, hash_)
    if broken := sorted(shard for shard, head in heads.items() if reached[shard] != head):
        message = f"the blocks of shards {broken} do not lead to their heads; run `creditwell verify`"
        raise LogChanged(message)


async def notes_after(connection: Connection, size: int, limit: int) -> list[tuple[int, str]]:
    """The next notes of a log larger than `size`, with their sizes, oldest first."""
    return [(row["size"], row["note"]) for row in await connection.fetch(AFTER, size, limit)]
