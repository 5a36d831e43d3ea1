"""The signed notes and anchors of a log, against each other and against the chains of blocks, page by page."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.facts import RATE_CARD_TEAM
from services.audit.anchors import note_of, parse_anchor, read_anchor
from services.audit.checkpoints import Checkpoint, NoteInvalid, origin_of, parse, signer_of
from services.audit.notes.chain_check import ChainCheck, Growth
from services.audit.notes.note_walk import NoteWalk, StoredNote
from services.audit.notes.tree import Frontier, LeafSpan, nodes_of
from services.audit.notes.vectors import ShardTree, SignedShard, Vector
from services.audit.sign_log import LOG, Signed, hashes_at, signed_shards, tree_nodes
from services.audit.verdict import LogProblem, Verified
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.read import heads
from services.store.shards import shard_of

NOTES_MAX = 500
BLOCKS_MAX = 5_000

NOTES = """
    SELECT number, signed_at, unpublished, hashes, note FROM signed_checkpoints
    WHERE number > $1 ORDER BY number LIMIT $2
"""
GROWN = """
    SELECT number, shard, last, head, blocks FROM signed_shards
    WHERE number > $1 AND number <= $2 ORDER BY number, shard
"""
BLOCKS = """
    SELECT b.shard, b.last, b.hash
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS grown (shard, seen, last)
    CROSS JOIN LATERAL (
        SELECT shard, last, hash FROM blocks
        WHERE blocks.shard = grown.shard AND blocks.last > grown.seen AND blocks.last <= grown.last
    ) AS b
    ORDER BY b.shard, b.last
"""
ONE = "SELECT number, signed_at, unpublished, hashes, note FROM signed_checkpoints WHERE number = $1"
SOME = "SELECT number, note FROM signed_checkpoints WHERE number = ANY($1)"
RESUMED = """
    SELECT (b.lost ->> 0)::bigint AS first, (b.lost ->> 1)::bigint AS last
    FROM facts AS f CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb -> 'lost_notes' AS lost OFFSET 0) AS b
    WHERE f.shard = $1 AND f.team_id = $2 AND f.type = 'store.resumed.v1' AND f.type NOT LIKE 'usage.%'
      AND f.type NOT LIKE 'hold.%' AND jsonb_typeof(b.lost) = 'array'
"""
NEWEST = "SELECT coalesce(max(number), 0) FROM signed_checkpoints"


class Start(NamedTuple):
    """A checkpoint that was verified before, and the tree up to it."""

    signed: Signed
    tree: Frontier


async def start_at(connection: Connection, number: int, keys: Sequence[Ed25519PublicKey]) -> Start:
    """The checkpoint from which only what is newer is verified.

    Raises:
        Refused: there is none of this number, no known key signed it, or it is not what is stored of the shards.
        LogChanged: hashes of the notes up to it were taken away.
    """
    row = await connection.fetchrow(ONE, number)
    if row is None:
        raise Refused("unknown_checkpoint", f"the log has no checkpoint {number}")
    stored = StoredNote(*row)
    checkpoint = parse(stored.note)
    whole = LeafSpan(0, number)
    hashes = await tree_nodes(connection, [whole])
    tree = Frontier(number, [hashes[node] for node in nodes_of(whole)])
    vector = Vector(stored.signed_at, stored.unpublished, await signed_shards(connection, number))
    origin = origin_of(await connection.fetchval(LOG))
    if checkpoint != Checkpoint(origin, number, tree.root) or stored.hashes[:32] != vector.leaf_hash:
        raise Refused(
            "checkpoint_changed", f"checkpoint {number} is not what is stored of it; verify without --from-checkpoint"
        )
    if keys and signer_of(stored.note, keys) is None:
        raise Refused("unknown_key", f"checkpoint {number} was not signed by a known key")
    return Start(Signed(checkpoint, vector, stored.note), tree)


@dataclass(slots=True)
class NotesCheck:
    """The check of all notes from a start on, and of anchors.

    `lost` are the first and last numbers of notes that were lost when the store went back, as the log says.
    """

    connection: Connection
    verified: Verified
    walk: NoteWalk
    chain: ChainCheck
    lost: Sequence[tuple[int, int]] = ()

    @classmethod
    async def begin(
        cls, connection: Connection, keys: Sequence[Ed25519PublicKey], verified: Verified, start: Start | None
    ) -> "NotesCheck":
        """At the first note, or after the start."""
        walk = NoteWalk(origin_of(await connection.fetchval(LOG)), keys)
        chain = ChainCheck(await heads(connection))
        if start is not None:
            shards = start.signed.vector.shards
            walk.number, walk.tree, walk.shards = start.signed.number, start.tree, ShardTree(dict(shards))
            chain.reached = {shard: signed.last for shard, signed in shards.items()}
            chain.agreed = dict(chain.reached)
        return cls(connection, verified, walk, chain)

    async def notes(self) -> None:
        """Every note that is stored."""
        while rows := await self.connection.fetch(NOTES, self.walk.number, NOTES_MAX):
            await self._page([StoredNote(*row) for row in rows])
        self.verified.signed_by = self.walk.end()
        self.verified.signed = sum(signed.last for signed in self.walk.shards.shards.values())
        if self.walk.newest is not None:
            self.verified.signed_at = self.walk.newest.signed_at
        self.verified.problems += self.walk.problems + self.chain.problems
        self.walk.problems, self.chain.problems = [], []

    async def _page(self, notes: list[StoredNote]) -> None:
        before = self.walk.number
        rows = deque(await self.connection.fetch(GROWN, before, notes[-1].number))
        growths: list[Growth] = []
        for note in notes:
            grown: dict[int, SignedShard] = {}
            while rows and rows[0]["number"] <= note.number:  # with those of notes that are not there
                _, shard, last, head, blocks = rows.popleft()
                grown[shard] = SignedShard(last, head, blocks)
            self.walk.note(note, grown)
            growths += self.walk.growths(note, grown)
        self.verified.checkpoints += len(notes)
        await self._against_chain(growths)

    async def _against_chain(self, growths: list[Growth]) -> None:
        spans = self.chain.expect(growths)
        columns = list(spans), [after for after, _ in spans.values()], [last for _, last in spans.values()]
        async for shard, last, block_hash in self.connection.cursor(BLOCKS, *columns, prefetch=BLOCKS_MAX):
            self.chain.block(shard, last, block_hash)
        self.chain.end()

    async def anchors(self, files: Sequence[Path]) -> None:
        """Every anchor: it is a note that is stored, or it is looked at for what it says."""
        newest = await self.connection.fetchval(NEWEST)
        rows = await self.connection.fetch(RESUMED, shard_of(RATE_CARD_TEAM), RATE_CARD_TEAM)
        self.lost = [(row["first"], row["last"]) for row in rows]
        last = max((file for file in files if file.stem.isdecimal()), default=None)
        for begin in range(0, len(files), NOTES_MAX):
            page = files[begin : begin + NOTES_MAX]
            numbers = [int(file.stem) if file.stem.isdecimal() else 0 for file in page]
            stored = {row["number"]: row["note"] for row in await self.connection.fetch(SOME, numbers)}
            for number, file in zip(numbers, page, strict=True):
                await self._anchor(file, stored.get(number), newest, whole=file == last)
        self.verified.problems += self.chain.problems

    async def _anchor(self, file: Path, stored: str | None, newest: int, *, whole: bool) -> None:
        """An anchor, and the note of the same number; `whole` also where they are the same."""
        self.verified.anchors += 1
        name = f"anchor {file.name}"
        try:
            text = read_anchor(file)
            if stored is not None and note_of(text) == stored and not whole:
                return
            anchored = parse_anchor(text)
        except NoteInvalid as invalid:
            self._problem(name, str(invalid))
            return
        is_lost = any(first <= anchored.number <= until for first, until in self.lost)
        problem = self.walk.anchor(anchored.checkpoint, anchored.note, stored, newest, is_lost=is_lost)
        if problem is not None:
            self._problem(name, problem)
        if anchored.checkpoint.origin != self.walk.origin:
            return
        ends = anchored.vector.shards
        hashes = await hashes_at(self.connection, list(ends), [signed.last for signed in ends.values()])
        for shard, signed in ends.items():
            growth = Growth(name, anchored.vector.signed_at, shard, signed)
            self.chain.head(growth, hashes.get((shard, signed.last)))
        if problem is None:
            self.verified.anchored_at = anchored.vector.signed_at

    def _problem(self, place: str, what: str) -> None:
        self.verified.problems.append(LogProblem(place, what))
