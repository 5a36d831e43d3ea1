"""Signing the log: a new note only for a log that holds everything that was signed before.

Compared with what the last note said, no shard may be shorter, and each old head must still be in its chain. The blocks
since then must lead from the old head to the new one, link by link. What does not is not signed: somebody changed the
past.

Nor is what the relay has not published: a store that is restored from a standby may lose it, and must not have promised
it. `services.audit.notes.published` says where that has an end.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.checkpoints import Checkpoint, origin_of, parse, sign
from services.audit.notes.published import Bounds
from services.audit.notes.tree import Frontier, LeafSpan, Node, inclusion, nodes_of, root_of
from services.audit.notes.vectors import EMPTY_SHARD, SignedShard, Vector
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import LogChanged
from services.store.connect import Connection
from services.store.proofs import GENESIS, block_hash, leaf_of

PAGE = 2_000
HASH_BYTES = len(GENESIS)

LOG = "SELECT value FROM store_constants WHERE name = 'log'"
HEADS = "SELECT shard, next - 1 AS last, head FROM shard_heads WHERE next > 1"
NEWEST = "SELECT number, signed_at, unpublished, note FROM signed_checkpoints ORDER BY number DESC LIMIT 1"
HASHES = "SELECT number, hashes FROM signed_checkpoints WHERE number = ANY($1)"
KEEP = "INSERT INTO signed_checkpoints (number, signed_at, unpublished, hashes, note) VALUES ($1, $2, $3, $4, $5)"
KEEP_SHARDS = """
    INSERT INTO signed_shards (shard, number, last, head, blocks)
    SELECT shard, $1, last, head, blocks
    FROM unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS grown (shard, last, head, blocks)
"""
VECTOR = """
    SELECT signed.shard, signed.last, signed.head, signed.blocks
    FROM generate_series(0, 63) AS s (shard)
    CROSS JOIN LATERAL (
        SELECT * FROM signed_shards WHERE signed_shards.shard = s.shard AND number <= $1 ORDER BY number DESC LIMIT 1
    ) AS signed
"""

BLOCKS_BETWEEN = """
    SELECT b.shard, b.first, b.last, b.root, b.hash
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS grown (shard, seen, last)
    CROSS JOIN LATERAL (
        SELECT * FROM blocks WHERE blocks.shard = grown.shard AND blocks.last > grown.seen AND blocks.last <= grown.last
    ) AS b
    ORDER BY b.shard, b.last
"""

LAST_WHOLE_BLOCKS = """
    SELECT bound.shard, b.last, b.hash
    FROM unnest($1::smallint[], $2::bigint[]) AS bound (shard, position)
    CROSS JOIN LATERAL (
        SELECT last, hash FROM blocks WHERE blocks.shard = bound.shard AND last <= bound.position ORDER BY last DESC LIMIT 1
    ) AS b
"""

HASHES_AT = """
    SELECT shard, last, hash
    FROM unnest($1::smallint[], $2::bigint[]) AS wanted (shard, last) JOIN blocks USING (shard, last)
"""


class ShardEnd(NamedTuple):
    """Where the chain of a shard stands: its last position, and the hash of its last block."""

    last: int
    hash: bytes


class Signed(NamedTuple):
    """A note, and the vector that is the last leaf of its tree."""

    checkpoint: Checkpoint
    vector: Vector
    note: str

    @property
    def number(self) -> int:
        """Notes are numbered by the leaves of their trees."""
        return self.checkpoint.size


async def sign_log(
    connection: Connection,
    key: Ed25519PrivateKey,
    now: datetime,
    *,
    earlier: Sequence[Signed] = (),
    bounds: Bounds | None = None,
    idle: timedelta | None = None,
) -> Signed | None:
    """Sign the log as it is now and store the note.

    None when nothing was added since the last note, unless that is older than `idle`. `earlier` are notes that are
    known outside the database: the log must hold what they say, too. `bounds` says how far to sign.

    Raises:
        LogChanged: the log does not hold what was signed before; nothing is signed.
        asyncpg.UniqueViolationError: another signer was quicker.
    """
    async with connection.transaction(isolation="repeatable_read"):
        origin = origin_of(await connection.fetchval(LOG))
        heads = {shard: ShardEnd(last, head) for shard, last, head in await connection.fetch(HEADS)}
        before = await newest_signed(connection)
        tree = await _tree_before(connection, origin, before)
        if before is not None:
            await check_holds(connection, heads, before.vector)
        for outside in earlier:
            await _check_outside(connection, origin, heads, tree.size, outside)
        signed_before = {} if before is None else before.vector.shards
        ends = await _ends(connection, heads, bounds)
        grown = await _grown(connection, signed_before, ends)
        if not grown and (before is None or idle is None or now - before.vector.signed_at < idle):
            return None
        unpublished = bounds is not None and any(shard in bounds.beyond for shard in grown)
        vector = Vector(now, unpublished, {**signed_before, **grown})
        hashes = tree.append(vector.leaf_hash)
        checkpoint = Checkpoint(origin, tree.size, tree.root)
        signed = Signed(checkpoint, vector, sign(checkpoint, key))
        await _keep(connection, signed, hashes, grown)
        crashpoint("signer:kept")
        return signed


async def _keep(
    connection: Connection, signed: Signed, hashes: Sequence[bytes], grown: Mapping[int, SignedShard]
) -> None:
    """Store a note, the hashes that it completes, and the lines of the shards that have grown."""
    now, unpublished = signed.vector.signed_at, signed.vector.unpublished
    await connection.execute(KEEP, signed.number, now, unpublished, b"".join(hashes), signed.note)
    columns = [list(grown), *map(list, zip(*grown.values(), strict=True))] if grown else [[], [], [], []]
    await connection.execute(KEEP_SHARDS, signed.number, *columns)


async def newest_signed(connection: Connection) -> Signed | None:
    """The newest note of the database with its vector.

    Raises:
        NoteInvalid: it is no note.
    """
    row = await connection.fetchrow(NEWEST)
    if row is None:
        return None
    shards = await signed_shards(connection, row["number"])
    return Signed(parse(row["note"]), Vector(row["signed_at"], row["unpublished"], shards), row["note"])


async def signed_shards(connection: Connection, number: int) -> dict[int, SignedShard]:
    """The shards of the vector of a note."""
    return {shard: SignedShard(*signed) for shard, *signed in await connection.fetch(VECTOR, number)}


async def tree_nodes(connection: Connection, spans: Sequence[LeafSpan]) -> dict[Node, bytes]:
    """The stored hashes that these spans of the tree of notes are made of.

    Raises:
        LogChanged: one of them is not there.
    """
    nodes = [node for span in spans for node in nodes_of(span)]
    rows = await connection.fetch(HASHES, sorted({node.completed_by for node in nodes}))
    stored = {row["number"]: row["hashes"] for row in rows}
    hashes = {}
    for node in nodes:
        row, start = stored.get(node.completed_by, b""), node.level * HASH_BYTES
        if len(row) < start + HASH_BYTES:
            message = f"checkpoint {node.completed_by} was taken away or changed; run `creditwell verify`"
            raise LogChanged(message)
        hashes[node] = row[start : start + HASH_BYTES]
    return hashes


async def path_of_note(connection: Connection, number: int) -> list[bytes]:
    """What proves that the vector of a note is the last leaf of its tree. Raises as `tree_nodes`."""
    spans = inclusion(number - 1, number)
    hashes = await tree_nodes(connection, spans)
    return [root_of(span, hashes) for span in spans]


async def _tree_before(connection: Connection, origin: str, before: Signed | None) -> Frontier:
    """The tree of the notes so far, which must be the one that the last of them signed."""
    if before is None:
        return Frontier()
    if before.checkpoint.origin != origin:
        message = f"the last signed note is of {before.checkpoint.origin}, this log is {origin}"
        raise LogChanged(message)
    whole, leaf = LeafSpan(0, before.number), LeafSpan(before.number - 1, before.number)
    hashes = await tree_nodes(connection, [whole, leaf])
    if (root_of(whole, hashes), root_of(leaf, hashes)) != (before.checkpoint.root, before.vector.leaf_hash):
        message = (
            f"what is stored of the signed checkpoints is not what note {before.number} signed; run `creditwell verify`"
        )
        raise LogChanged(message)
    return Frontier(before.number, [hashes[node] for node in nodes_of(whole)])


async def _check_outside(
    connection: Connection, origin: str, heads: Mapping[int, ShardEnd], size: int, outside: Signed
) -> None:
    """Make sure that the log holds what a note from outside the database says."""
    if outside.checkpoint.origin != origin:
        message = f"the anchors are of {outside.checkpoint.origin}, this log is {origin}"
        raise LogChanged(message)
    await check_holds(connection, heads, outside.vector)
    if outside.number > size:
        message = f"checkpoint {outside.number} is known outside, the database ends at {size}: facts were taken away, or an old backup was restored"
        raise LogChanged(message)
    whole = LeafSpan(0, outside.number)
    if root_of(whole, await tree_nodes(connection, [whole])) != outside.checkpoint.root:
        message = f"checkpoint {outside.number} is not the one that is known outside; run `creditwell verify --anchors`"
        raise LogChanged(message)


async def check_holds(connection: Connection, heads: Mapping[int, ShardEnd], vector: Vector) -> None:
    """Make sure that the log holds everything that a vector speaks of.

    Raises:
        LogChanged: it is a shorter one, or one whose past was rewritten.
    """
    shards = vector.shards
    hashes = await hashes_at(connection, list(shards), [signed.last for signed in shards.values()])
    for shard, signed in shards.items():
        end = heads[shard].last if shard in heads else 0
        if end < signed.last:
            message = f"shard {shard} ends at {end}, but {signed.last} facts of it were signed: facts were taken away, or an old backup was restored"
            raise LogChanged(message)
        if hashes.get((shard, signed.last)) != signed.head:
            message = f"shard {shard} is not the one that was signed up to {signed.last}: its past was rewritten"
            raise LogChanged(message)


async def hashes_at(
    connection: Connection, shards: Sequence[int], lasts: Sequence[int]
) -> dict[tuple[int, int], bytes]:
    """The hash of the chain at these places, where a block ends there."""
    rows = await connection.fetch(HASHES_AT, shards, lasts)
    return {(row["shard"], row["last"]): row["hash"] for row in rows}


async def _ends(connection: Connection, heads: Mapping[int, ShardEnd], bounds: Bounds | None) -> Mapping[int, ShardEnd]:
    """How far each shard is to be signed: to its head, or to its last whole block within the bounds."""
    if bounds is None:
        return heads
    bounded = {shard: bounds.published.get(shard, 0) for shard, head in heads.items() if bounds.holds(shard, head.last)}
    whole = await connection.fetch(LAST_WHOLE_BLOCKS, list(bounded), list(bounded.values()))
    ends = {shard: ShardEnd(last, hash_) for shard, last, hash_ in whole}
    return {shard: head for shard, head in heads.items() if shard not in bounded} | ends


async def _grown(
    connection: Connection, signed_before: Mapping[int, SignedShard], ends: Mapping[int, ShardEnd]
) -> dict[int, SignedShard]:
    """Follow the blocks from what was signed to what is to be signed; the shards that have any."""
    reached = {shard: _end_of(signed_before.get(shard, EMPTY_SHARD)) for shard in ends}
    longer = {shard: end for shard, end in ends.items() if end.last >= reached[shard].last and end != reached[shard]}
    roots = {shard: Frontier() for shard in longer}
    arguments = list(longer), [reached[shard].last for shard in longer], [end.last for end in longer.values()]
    async for shard, first, last, root, hash_ in connection.cursor(BLOCKS_BETWEEN, *arguments, prefetch=PAGE):
        before = reached[shard]
        if first != before.last + 1 or block_hash(shard, first, last, before.hash, root) != hash_:
            message = f"the chain of shard {shard} breaks between {before.last} and {last}; run `creditwell verify`"
            raise LogChanged(message)
        reached[shard] = ShardEnd(last, hash_)
        roots[shard].append(leaf_of(hash_))
    if broken := sorted(shard for shard, end in longer.items() if reached[shard] != end):
        message = f"the blocks of shards {broken} do not lead to their heads; run `creditwell verify`"
        raise LogChanged(message)
    return {shard: SignedShard(*end, roots[shard].root) for shard, end in longer.items()}


def _end_of(signed: SignedShard) -> ShardEnd:
    return ShardEnd(signed.last, signed.head)
