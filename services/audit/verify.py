"""Is the log what was recorded?

Every fact against its leaf, every block against its facts, the chain, the signed checkpoints; no identity stands
twice; and the fence around it all (`fence`).

Read shard by shard, each in one snapshot, as the very bytes that leaves are made of: PostgreSQL's binary COPY. Memory
stays bounded however long the log is. Nothing is written, and whoever may read everything may verify: role
`creditwell_reader`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from struct import error as TooShort  # noqa: N812 - what it means here

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.places import Place
from services.audit.anchors import anchors_in
from services.audit.checkpoints import signer_of
from services.audit.fence import PIN, holes, identities_twice
from services.audit.notes.checking import NotesCheck, Start, start_at
from services.audit.notes.tree import EMPTY_ROOT
from services.audit.notes.vectors import EMPTY_SHARD, SignedShard
from services.audit.outside.checking import check_words
from services.audit.outside.witness import Attestor
from services.audit.sign_log import ShardEnd
from services.audit.verdict import LogProblem, Verified
from services.audit.walk import StoredBlock, Walk
from services.store.connect import Connection
from services.store.copying import COPY_BEGIN, COPY_END
from services.store.read import FACT_COLUMNS
from services.store.shards import SHARDS

BLOCKS_MAX = 2_000
FIRST, LAST = -(2**63), 2**63 - 1

HEAD = "SELECT next - 1 AS last, head FROM shard_heads WHERE shard = $1"
SIZE = "SELECT coalesce(sum(next - 1), 0)::bigint FROM shard_heads"
BLOCKS = "SELECT first, last, root, hash FROM blocks WHERE shard = $1 AND last >= $2 ORDER BY last LIMIT $3"
FACTS = f"""
    SELECT {FACT_COLUMNS}, leaf
    FROM facts WHERE shard = $1 AND position BETWEEN $2 AND $3 ORDER BY position
"""
# A page whose checksum is wrong or that the disk does not give, a file that is gone, an index that contradicts itself.
# What others can't read either is no outage.
DAMAGED = (
    asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError, asyncpg.PostgresIOError, asyncpg.UndefinedFileError,
)  # fmt: skip
UNREADABLE = "from here on it can't be read: the disk has damaged it. Restore the store as docs/backup.md says."
STRAY = "there is no such shard: this fact was put into the log without Creditwell"
STRAYS = "SELECT shard, position FROM facts WHERE shard < 0 OR shard >= $1 ORDER BY shard, position LIMIT 100"

_FIXED = Struct(">hihiqiqiq")  # ten columns: shard, position, recorded_at, occurred_at, each with its length
_LENGTH = Struct(">i")
_LENGTHS = (2, 8, 8, 8)

OnFacts = Callable[[int], None]


async def size_of_log(connection: Connection) -> int:
    """How many facts there should be."""
    size: int = await connection.fetchval(SIZE)
    return size


async def verify(
    connection: Connection,
    *,
    anchors: Path | None = None,
    keys: Sequence[Ed25519PublicKey] = (),
    attestors: Sequence[Attestor] = (),
    from_checkpoint: int | None = None,
    after: Mapping[int, ShardEnd] | None = None,
    on_facts: OnFacts = lambda _: None,
) -> Verified:
    """Check the log, all of it or what is newer than a checkpoint that was verified before, and the fence around it.

    `attestors` are witnesses outside whose words on anchors are looked for. `after` says where each shard ends in
    exports that were verified before: only facts after these are read. `on_facts` is told how many more were read.

    Raises:
        Refused: that checkpoint is not there, or is not one to begin at.
    """
    verified = Verified(signatures_checked=bool(keys))
    await connection.execute(PIN)
    anchored = anchors_in(anchors) if anchors else []  # listed first: the database has each of them by now
    start = None if from_checkpoint is None else await start_at(connection, from_checkpoint, keys)
    before = {} if start is None else dict(start.signed.vector.shards)
    before |= {shard: SignedShard(*end, EMPTY_ROOT) for shard, end in (after or {}).items() if end.last}
    verified.verified_before = sum(signed.last for signed in before.values())
    for shard in range(SHARDS):
        await _verify_shard(connection, shard, before.get(shard, EMPTY_SHARD), verified, on_facts)
    with naming_damage(verified, lambda: "facts"):
        strays = await connection.fetch(STRAYS, SHARDS)
        verified.problems += [LogProblem(str(Place(*row)), STRAY) for row in strays]
    with naming_damage(verified, lambda: "signed_checkpoints"):
        held = await _verify_notes(connection, keys, anchored, start, verified)
        check_words(held, attestors, verified)
    verified.problems += [LogProblem(name, what) for name, what in await holes(connection)]
    return verified


async def _verify_notes(
    connection: Connection,
    keys: Sequence[Ed25519PublicKey],
    anchors: Sequence[Path],
    start: Start | None,
    verified: Verified,
) -> list[Path]:
    """Notes and anchors; the anchors that hold, oldest first."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        check = await NotesCheck.begin(connection, keys, verified, start)
        await check.notes()
        if start is not None and verified.signed_at is None:  # there is no newer note
            signed = start.signed
            verified.signed_at, verified.signed_by = signed.vector.signed_at, signer_of(signed.note, keys)
        await check.anchors(anchors)
    return check.held


@contextmanager
def naming_damage(verified: Verified, place: Callable[[], str]) -> Iterator[None]:
    """A page that PostgreSQL can't read is a finding like any other, and the rest is read all the same."""
    try:
        yield
    except DAMAGED as damaged:
        verified.problems.append(LogProblem(place(), f"{UNREADABLE} PostgreSQL says: {damaged}"))


async def _verify_shard(
    connection: Connection, shard: int, before: SignedShard, verified: Verified, on_facts: OnFacts
) -> None:
    walk = Walk(shard) if before.last == 0 else Walk.after(shard, before.last, before.head)
    with naming_damage(verified, lambda: str(Place(shard, walk.next))):
        await _verify_walk(connection, walk, before, verified, on_facts)
    verified.facts += walk.facts
    verified.more += walk.more


async def _verify_walk(
    connection: Connection, walk: Walk, before: SignedShard, verified: Verified, on_facts: OnFacts
) -> None:
    shard = walk.shard
    head, repeats = await _read_shard(connection, walk, before.last, verified, on_facts)
    findings = walk.end(*head) if head else walk.end(before.last, before.head)
    verified.problems += [LogProblem(finding.place, finding.what) for finding in findings]
    for first, again in repeats:
        what = f"its identity (team, source, id) stands at {Place(shard, first)} already"
        verified.problems.append(LogProblem(str(Place(shard, again)), what))
    if head is None:
        verified.problems.append(LogProblem(str(Place(shard, 1)), f"the head of shard {shard} was taken away"))


async def _read_shard(
    connection: Connection, walk: Walk, after: int, verified: Verified, on_facts: OnFacts
) -> tuple[tuple[int, bytes] | None, list[tuple[int, int]]]:
    """The shard's head, and the positions that share an identity; the walk has seen the rest."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await connection.fetchrow(HEAD, walk.shard)
        start = FIRST if after == 0 else after + 1
        while True:
            blocks = await connection.fetch(BLOCKS, walk.shard, start, BLOCKS_MAX)
            for block in blocks:
                walk.block(StoredBlock(*block))
            verified.blocks += len(blocks)
            until = blocks[-1]["last"] if len(blocks) == BLOCKS_MAX else LAST
            await _walk_facts(connection, walk, start, until, on_facts)
            if until == LAST:
                break
            start = until + 1
        return (head["last"], head["head"]) if head else None, await identities_twice(connection, walk.shard, after)


async def _walk_facts(connection: Connection, walk: Walk, start: int, until: int, on_facts: OnFacts) -> None:
    rows = _Rows(walk, on_facts)
    await connection.copy_from_query(FACTS, walk.shard, start, until, output=rows.read, format="binary")


class _Rows:
    """Cuts the stream of a binary COPY into rows and takes the walk over them."""

    def __init__(self, walk: Walk, on_facts: OnFacts) -> None:
        self._walk, self._on_facts = walk, on_facts
        self._rest, self._skip = b"", len(COPY_BEGIN)

    async def read(self, chunk: bytes) -> None:
        data = self._rest + chunk
        start, before = self._skip, self._walk.facts
        self._skip = 0
        while not data.startswith(COPY_END, start):
            try:
                position, leaf, end = _row(data, start)
            except TooShort:
                break
            if end > len(data):
                break
            self._walk.fact(position, data[start + 2 : leaf], data[leaf + 4 : end])
            start = end
        self._rest, self._skip = data[start:], max(0, start - len(data))
        self._on_facts(self._walk.facts - before)


def _row(data: bytes, start: int) -> tuple[int, int, int]:
    """Position, where the leaf's field begins, and where the row ends. Raises TooShort where the data end before."""
    _, of_shard, _, of_position, position, of_recorded, _, of_occurred, _ = _FIXED.unpack_from(data, start)
    if (of_shard, of_position, of_recorded, of_occurred) != _LENGTHS:
        return _odd_row(data, start)
    length = _LENGTH.unpack_from
    at = start + 44
    for _ in range(5):
        (size,) = length(data, at)
        at += 4 + size if size > 0 else 4
    (size,) = length(data, at)
    return position, at, at + 4 + max(size, 0)


def _odd_row(data: bytes, start: int) -> tuple[int, int, int]:
    """A row with a NULL where none can be: somebody changed the table. It will not fit its leaf."""
    at, leaf = start + 2, start + 2
    fields = []
    for _ in range(10):
        leaf = at
        (size,) = _LENGTH.unpack_from(data, at)
        at += 4 + max(size, 0)
        fields.append(data[leaf + 4 : at])
    return int.from_bytes(fields[1], "big", signed=True), leaf, at
