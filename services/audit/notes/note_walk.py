"""Walking the signed checkpoints from their beginning, and saying where they are not what was signed. Pure.

    number   notes go from 1 without gaps
    leaf     what a note says of the shards is the leaf that was stored
    tree     the root over all leaves so far is the one in the note; the nodes on the way are those that were stored
    key      the newest note was signed by a known key

The newest root covers every older leaf, so one signature is enough. Where notes were taken away, the tree can't be made
until the next note that completes all of it (its number is a power of two); up to there each signature is checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.audit.checkpoints import Checkpoint, NoteInvalid, parse, signer_of
from services.audit.notes.chain_check import Growth
from services.audit.notes.tree import Frontier
from services.audit.notes.vectors import ShardTree, SignedShard, leaf_text
from services.audit.verdict import LogProblem
from services.store.proofs import GENESIS, leaf_of

HASH_BYTES = len(GENESIS)

UNKNOWN_KEY = "it was not signed by a known key"


class StoredNote(NamedTuple):
    """A row of `signed_checkpoints`."""

    number: int
    signed_at: datetime
    unpublished: bool
    hashes: bytes
    note: str

    @property
    def name(self) -> str:
        """How findings call it."""
        return f"checkpoint {self.number}"


@dataclass(slots=True)
class NoteWalk:
    """The walk over the notes of a log.

    Attributes:
        origin: whose notes they must be.
        keys: who may have signed.
        tree: as far as it can be made; None after a gap.
        shards: what the notes so far say of each shard.
        number: the last note.
        newest: its row.
        gap: the last note that is not there, or 0.
        problems: what is wrong.
    """

    origin: str
    keys: Sequence[Ed25519PublicKey]
    tree: Frontier | None = field(default_factory=Frontier)
    shards: ShardTree = field(default_factory=ShardTree)
    number: int = 0
    newest: StoredNote | None = None
    gap: int = 0
    problems: list[LogProblem] = field(default_factory=list)
    _grown_at: dict[int, int] = field(default_factory=dict)  # the note at which each shard had last grown
    _differs: bool = False  # said of the note before

    def note(self, stored: StoredNote, grown: Mapping[int, SignedShard]) -> None:
        """The next note, and the shards that it says have grown."""
        if stored.number != self.number + 1:
            self._problem(f"checkpoint {self.number + 1}", f"it was taken away; {stored.name} is the next one there")
            self.tree, self.gap = None, stored.number - 1
        self.number, self.newest = stored.number, stored
        for shard, signed in grown.items():
            self.shards.set(shard, signed)
        text = leaf_text(stored.signed_at, self.shards.root, unpublished=stored.unpublished)
        leaf, in_tree = leaf_of(text.encode()), stored.hashes[:HASH_BYTES]
        if leaf != in_tree:
            self._problem(stored.name, "what it says of the shards, or its time, was changed after it was signed")
        if self.tree is not None:
            self._grow(self.tree, stored, in_tree)
        elif not stored.number & (stored.number - 1):
            self.tree = Frontier(stored.number, [stored.hashes[-HASH_BYTES:]])
        self._judge(stored)

    def growths(self, stored: StoredNote, grown: Mapping[int, SignedShard]) -> list[Growth]:
        """What the note that was just walked over says of the shards.

        After a gap it is not known since when a shard had grown.
        """
        growths = [
            Growth(stored.name, stored.signed_at, shard, signed, exact=self._grown_at.get(shard, 0) >= self.gap)
            for shard, signed in grown.items()
        ]
        self._grown_at |= dict.fromkeys(grown, stored.number)
        return growths

    def end(self) -> str | None:
        """After the last note: the key that signed it, of those that are known."""
        if self.newest is None or not self.keys:
            return None
        signer = signer_of(self.newest.note, self.keys)
        if signer is None:
            self._problem(self.newest.name, UNKNOWN_KEY)
        return signer

    def anchor(
        self, checkpoint: Checkpoint, note: str, stored: str | None, newest: int, *, is_lost: bool = False
    ) -> str | None:
        """What is wrong with a note from outside.

        `stored` is the note of its number in the database, `newest` the number of the newest one. `is_lost`: the log
        says that the note was lost when the store went back, so another one may have its number.
        """
        if checkpoint.origin != self.origin:
            return f"it is of another log, {checkpoint.origin}"
        if self.keys and signer_of(note, self.keys) is None:
            return UNKNOWN_KEY
        if is_lost:
            return None
        if checkpoint.size > newest:
            return "the database has no checkpoint as new as this one: facts were taken away, or an old backup was restored"
        if stored is None or not _is_note(stored, checkpoint):
            return f"checkpoint {checkpoint.size} of the database says something else"
        return None

    def _grow(self, tree: Frontier, stored: StoredNote, leaf: bytes) -> None:
        if b"".join(tree.append(leaf)) != stored.hashes:
            self._problem(stored.name, "the hashes that are kept with it were changed")

    def _judge(self, stored: StoredNote) -> None:
        try:
            checkpoint = parse(stored.note)
        except NoteInvalid as invalid:
            self._problem(stored.name, str(invalid))
            return
        if checkpoint.origin != self.origin:
            self._problem(stored.name, f"it is of another log, {checkpoint.origin}")
            return
        if self.tree is None:
            if self.keys and signer_of(stored.note, self.keys) is None:
                self._problem(stored.name, UNKNOWN_KEY)
            return
        differs = checkpoint != Checkpoint(self.origin, stored.number, self.tree.root)
        if differs and not self._differs:  # one change shows in every later note
            self._problem(stored.name, "it does not follow from what is stored: it was replaced, or one up to it was")
        self._differs = differs

    def _problem(self, place: str, what: str) -> None:
        self.problems.append(LogProblem(place, what))


def _is_note(stored: str, checkpoint: Checkpoint) -> bool:
    """True where a stored note says the same, whoever else has signed it."""
    try:
        return parse(stored) == checkpoint
    except NoteInvalid:
        return False
