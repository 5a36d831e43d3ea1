"""Is the log what was recorded?

Every fact against its leaf, every block against its facts, the chain, the signed checkpoints; no identity stands
twice; and the fence around it all (`fence`).

Read shard by shard, each in one snapshot, as the very bytes that leaves are made of: PostgreSQL's binary COPY. Memory
stays bounded however long the log is. Nothing is written, and whoever may read everything may verify: role
`creditwell_reader`.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from struct import error as TooShort  # noqa: N812 - what it means here
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.places import Place
from services.audit.anchors import anchors_in, read_anchor
from services.audit.checkpoints import Checkpoint, NoteInvalid, ShardHead, note_hash, origin_of, parse, signature_fits
from services.audit.fence import PIN, TWICE, holes
from services.audit.sign_log import LOG, hashes_at
from services.audit.walk import StoredBlock, Walk
from services.store.connect import Connection
from services.store.copying import COPY_BEGIN, COPY_END
from services.store.read import FACT_COLUMNS, heads
from services.store.shards import SHARDS

BLOCKS_MAX = 2_000
NOTES_MAX = 200
FIRST, LAST = -(2**63), 2**63 - 1

HEAD = "SELECT next - 1 AS last, head FROM shard_heads WHERE shard = $1"
SIZE = "SELECT coalesce(sum(next - 1), 0)::bigint FROM shard_heads"
BLOCKS = "SELECT first, last, root, hash FROM blocks WHERE shard = $1 AND last >= $2 ORDER BY last LIMIT $3"
FACTS = f"""
    SELECT {FACT_COLUMNS}, leaf
    FROM facts WHERE shard = $1 AND position BETWEEN $2 AND $3 ORDER BY position
"""
STRAYS = "SELECT shard, position FROM facts WHERE shard < 0 OR shard >= $1 ORDER BY shard, position LIMIT 100"
NOTES = "SELECT number, size, note FROM signed_checkpoints ORDER BY number"
NEWEST = "SELECT coalesce(max(size), 0) FROM signed_checkpoints"

_FIXED = Struct(">hihiqiqiq")  # ten columns: shard, position, recorded_at, occurred_at, each with its length
_LENGTH = Struct(">i")
_LENGTHS = (2, 8, 8, 8)

OnFacts = Callable[[int], None]


class LogProblem(NamedTuple):
    """A place in the log, or a checkpoint, with what is wrong there."""

    place: str
    what: str


@dataclass(slots=True)
class Verified:
    """What was read, and what is wrong.

    `signed` facts are in the newest note; `more` counts problems that are not listed.
    """

    facts: int = 0
    blocks: int = 0
    checkpoints: int = 0
    anchors: int = 0
    signed: int = 0
    signatures_checked: bool = False
    problems: list[LogProblem] = field(default_factory=list)
    more: int = 0


class _Note(NamedTuple):
    name: str
    number: int | None
    size: int | None
    text: str


async def size_of_log(connection: Connection) -> int:
    """How many facts there should be."""
    size: int = await connection.fetchval(SIZE)
    return size


async def verify(
    connection: Connection,
    *,
    anchors: Path | None = None,
    keys: Sequence[Ed25519PublicKey] = (),
    on_facts: OnFacts = lambda _: None,
) -> Verified:
    """Check the whole log and the fence around it; `on_facts` is told how many more facts were read."""
    verified = Verified(signatures_checked=bool(keys))
    await connection.execute(PIN)
    anchored = anchors_in(anchors) if anchors else []  # listed first: the database has each of them by now
    for shard in range(SHARDS):
        await _verify_shard(connection, shard, verified, on_facts)
    stray = "there is no such shard: this fact was put into the log without Creditwell"
    verified.problems += [LogProblem(str(Place(*row)), stray) for row in await connection.fetch(STRAYS, SHARDS)]
    await _verify_notes(connection, anchored, keys, verified)
    verified.problems += [LogProblem(name, what) for name, what in await holes(connection)]
    return verified


async def _verify_shard(connection: Connection, shard: int, verified: Verified, on_facts: OnFacts) -> None:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await connection.fetchrow(HEAD, shard)
        walk, start = Walk(shard), FIRST
        while True:
            blocks = await connection.fetch(BLOCKS, shard, start, BLOCKS_MAX)
            for block in blocks:
                walk.block(StoredBlock(*block))
            verified.blocks += len(blocks)
            until = blocks[-1]["last"] if len(blocks) == BLOCKS_MAX else LAST
            await _walk_facts(connection, walk, start, until, on_facts)
            if until == LAST:
                break
            start = until + 1
        repeats = await connection.fetch(TWICE, shard)
    findings = walk.end(*head) if head else walk.end(0, b"")
    verified.facts += walk.facts
    verified.more += walk.more
    verified.problems += [LogProblem(finding.place, finding.what) for finding in findings]
    for first, again in repeats:
        what = f"its identity (team, source, id) stands at {Place(shard, first)} already"
        verified.problems.append(LogProblem(str(Place(shard, again)), what))
    if head is None:
        verified.problems.append(LogProblem(str(Place(shard, 1)), f"the head of shard {shard} was taken away"))


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


async def _verify_notes(
    connection: Connection, anchored: Sequence[Path], keys: Sequence[Ed25519PublicKey], verified: Verified
) -> None:
    check = _NoteCheck(origin_of(await connection.fetchval(LOG)), keys, verified)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for notes in _stored_notes(connection):
            verified.checkpoints += len(notes)
            await check.notes(connection, notes)
        verified.signed = newest = await connection.fetchval(NEWEST)
        check = _NoteCheck(check.origin, keys, verified, broken=check.broken)
        for begin in range(0, len(anchored), NOTES_MAX):
            paths = anchored[begin : begin + NOTES_MAX]
            verified.anchors += len(paths)
            await check.notes(
                connection, [_Note(f"anchor {p.name}", None, None, read_anchor(p)) for p in paths], newest
            )


async def _stored_notes(connection: Connection) -> AsyncIterator[list[_Note]]:
    notes: list[_Note] = []
    async for number, size, note in connection.cursor(NOTES, prefetch=NOTES_MAX):
        notes.append(_Note(f"checkpoint {number}", number, size, note))
        if len(notes) == NOTES_MAX:
            yield notes
            notes = []
    yield notes


@dataclass(slots=True)
class _NoteCheck:
    """Checks notes in their order: each alone, against the one before, and against the chain of every shard."""

    origin: str
    keys: Sequence[Ed25519PublicKey]
    verified: Verified
    broken: set[int] = field(default_factory=set)  # shards of which it was said already
    number: int = 0
    before: str | None = None
    agreed: dict[int, int] = field(default_factory=dict)  # how far notes and chain said the same

    async def notes(self, connection: Connection, notes: Iterable[_Note], newest: int | None = None) -> None:
        """The next notes; `newest` is the size of the newest note in the database, for anchors."""
        parsed = [(note, checkpoint) for note in notes if (checkpoint := self._alone(note, newest)) is not None]
        blocks = {(shard, head.last) for _, checkpoint in parsed for shard, head in checkpoint.heads.items()}
        hashes = await _hashes(connection, blocks)
        ends = await heads(connection)
        for note, checkpoint in parsed:
            for shard, head in checkpoint.heads.items():
                self._against_chain(note, checkpoint, shard, head, hashes, ends.get(shard, 0))

    def _alone(self, note: _Note, newest: int | None) -> Checkpoint | None:
        try:
            checkpoint = parse(note.text)
        except NoteInvalid as invalid:
            self._problem(note.name, str(invalid))
            self.before = note.text
            return None
        if note.number is not None:
            self._follows(note, checkpoint)
        if checkpoint.origin != self.origin:
            self._problem(note.name, f"it is of another log, {checkpoint.origin}")
            return None
        if self.keys and not signature_fits(note.text, self.keys):
            self._problem(note.name, "it was not signed by a known key")
        if newest is not None and checkpoint.size > newest:
            gone = "facts were taken away, or an old backup was restored"
            self._problem(note.name, f"the database has no checkpoint as new as this one: {gone}")
        return checkpoint

    def _follows(self, note: _Note, checkpoint: Checkpoint) -> None:
        assert note.number is not None
        if note.number != self.number + 1:
            self._problem(f"checkpoint {self.number + 1}", f"it was taken away; {note.name} is the next one there")
        elif (note_hash(self.before) if self.before else bytes(32)) != checkpoint.previous:
            self._problem(note.name, "it does not follow from the one before: one of the two was replaced")
        if note.size != checkpoint.size:
            self._problem(note.name, "its size in the table is not the one that was signed")
        self.number, self.before = note.number, note.text

    def _against_chain(
        self,
        note: _Note,
        checkpoint: Checkpoint,
        shard: int,
        head: ShardHead,
        hashes: Mapping[tuple[int, int], bytes],
        end: int,
    ) -> None:
        if hashes.get((shard, head.last)) == head.hash:
            self.agreed[shard] = max(self.agreed.get(shard, 0), head.last)
        elif shard not in self.broken:
            self.broken.add(shard)
            first = self.agreed.get(shard, 0) + 1
            signed = f"{note.name} of {checkpoint.signed_at:%Y-%m-%d %H:%M:%S} UTC"
            if end < head.last:
                what = f"{signed} has {head.last} facts of this shard, the log has {end}: facts were taken away, or an old backup was restored"
                self._problem(f"{Place(shard, end + 1)} to {Place(shard, head.last)}", what)
            else:
                self._problem(
                    f"{Place(shard, first)} to {Place(shard, head.last)}",
                    f"something here was rewritten after it was signed by {signed}",
                )

    def _problem(self, place: str, what: str) -> None:
        self.verified.problems.append(LogProblem(place, what))


async def _hashes(connection: Connection, ends: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    places = sorted(ends)
    return await hashes_at(connection, [shard for shard, _ in places], [last for _, last in places])
