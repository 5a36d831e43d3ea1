"""Walking a shard of the log from its beginning, and saying where it is not what was recorded.

Pure: facts and blocks come in.

    row    its leaf, worked out anew from every column, is the leaf that was stored
    place  positions go from 1 without gaps
    block  blocks touch each other, and the root over their leaves is the one that was stored
    chain  each block's hash names the one before; the last is the head

The first bad place is named, and what was probably done there, in words that finance understands. After a break the
walk goes on, so that one changed fact is one finding and not a thousand.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from schemas.places import Place
from services.store.proofs import GENESIS, block_hash, leaf_of, merkle_root

FINDINGS_MAX = 1_000  # of one shard; the rest is counted
MOVED_MAX = 200  # changed facts that are compared with each other's places
_PLACE = Struct(">ihiq")  # how a packed row begins: shard and position with their lengths

CHANGED = "the amount, the time or the text of this fact was changed after it was recorded"
PROOF_CHANGED = "the stored proof was changed; what it proves is as it was recorded"
MISSING = "taken out of the log"
TWICE = "two facts stand at this place"
NEVER_RECORDED = "this fact was put into the log without Creditwell: no proof covers it"
REPLACED = (
    "a fact of this block was replaced, together with its own proof; the proof of the block does not fit any more"
)
CHAIN = "a fact here was replaced, together with its proofs; the proofs before and after do not fit each other any more"
BLOCK_MISSING = "the proof of these facts was taken away"
HEAD = "the head of the shard is not where its proofs end"


class StoredBlock(NamedTuple):
    """A stored proof: the root over the facts from `first` to `last`, and its link in the chain."""

    first: int
    last: int
    root: bytes
    hash: bytes


class Finding(NamedTuple):
    """One place where the log is not what was recorded."""

    shard: int
    first: int
    last: int
    what: str

    def __str__(self) -> str:
        """A sentence that begins with the place."""
        return f"{self.place}: {self.what}"

    @property
    def place(self) -> str:
        """`31:20418`, or `31:20418 to 31:20420`."""
        first, last = Place(self.shard, self.first), Place(self.shard, self.last)
        return str(first) if first == last else f"{first} to {last}"


class Mismatch(NamedTuple):
    """A fact whose leaf is not the one that was stored."""

    position: int
    row: bytes
    leaf: bytes


@dataclass(slots=True)
class Walk:
    """The walk over one shard.

    Call `block` for each block, in order, ahead of its facts; `fact` for each fact; then `end`.

    Attributes:
        shard: which one.
        facts: how many were read.
        findings: what is wrong, up to a limit.
        more: how many findings were left out.
        _start: the position after which it begins.
        _next: the position that the next fact must have.
        _covered: the last position of the blocks so far.
        _ahead: blocks whose facts are still to come.
        _leaves: those of the block that is being read, worked out from its facts.
        _mismatches: facts of that block that do not fit their leaf.
        _before: the last block that is complete.
        _links: the hashes to which the next block may be linked.
        _moved: facts that may stand in each other's place.
    """

    shard: int
    facts: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    _start: int = 0
    _next: int = 1
    _covered: int = 0
    _ahead: deque[StoredBlock] = field(default_factory=deque)
    _leaves: list[bytes] = field(default_factory=list)
    _mismatches: list[Mismatch] = field(default_factory=list)
    _before: StoredBlock | None = None
    _links: tuple[bytes, ...] = (GENESIS,)
    _moved: list[Mismatch] = field(default_factory=list)

    @classmethod
    def after(cls, shard: int, last: int, head: bytes) -> "Walk":
        """The walk from a place on that was verified before."""
        return cls(shard, _start=last, _next=last + 1, _covered=last, _links=(head,))

    @property
    def next(self) -> int:
        """The position that is expected next."""
        return self._next

    def block(self, block: StoredBlock) -> None:
        """The next block: does it begin where the one before ended?"""
        if block.first > self._covered + 1:
            self._find(self._covered + 1, block.first - 1, BLOCK_MISSING)
        elif block.first <= self._covered or block.last < block.first:
            self._find(block.first, block.last, CHAIN)
        self._covered = max(self._covered, block.last)
        self._ahead.append(block)

    def fact(self, position: int, row: bytes, leaf: bytes) -> None:
        """The next fact, as its packed columns and the leaf that was stored with it."""
        if position < self._next:
            self._find(position, position, TWICE if position > 0 else NEVER_RECORDED)
            return
        if position > self._next:
            self._find(self._next, position - 1, MISSING)
        self.facts += 1
        self._next = position + 1
        while self._ahead and self._ahead[0].last < position:
            self._close(self._ahead.popleft())
        if not self._ahead or position < self._ahead[0].first:
            return  # no proof covers it: said by `block`, or by `end`
        computed = leaf_of(row)
        self._leaves.append(computed)
        if computed != leaf:
            self._mismatches.append(Mismatch(position, row, leaf))
        if position == self._ahead[0].last:
            self._close(self._ahead.popleft())

    def end(self, last: int, head: bytes) -> list[Finding]:
        """The head of the shard, after everything else; all findings in the order of their places."""
        while self._ahead:
            self._close(self._ahead.popleft())
        if self._next <= max(self._covered, last):
            self._find(self._next, max(self._covered, last), MISSING)
        else:
            self._find(self._covered + 1, min(last, self._next - 1), BLOCK_MISSING)
            self._find(max(self._covered, last) + 1, self._next - 1, NEVER_RECORDED)
        if last < self._covered:
            self._find(last + 1, self._covered, HEAD)
        elif last == self._covered and head not in self._links:
            self._find(self._before.first if self._before else max(self._start, 1), max(last, 1), HEAD)
        self._name_moved()
        return sorted(self.findings)

    def _close(self, block: StoredBlock) -> None:
        """All facts of a block have been seen: do they fit its root, and does it fit into the chain?"""
        complete = len(self._leaves) == block.last - block.first + 1
        root = merkle_root(self._leaves) if complete else block.root
        linked = self._is_linked(block, block.root)
        if self._mismatches:
            for mismatch in self._mismatches:
                self._judge(mismatch, fits=complete and root == block.root)
        elif root != block.root:
            self._find(block.first, block.last, PROOF_CHANGED if self._is_linked(block, root) else REPLACED)
        elif not linked and block.first == (self._before.last if self._before else self._start) + 1:
            start = self._before or block
            self._find(start.first, block.last, CHAIN)
        # After a break either end may be the true one: the next link decides.
        self._links = (
            (block.hash,) if linked else (block.hash, *(self._link(block, root, before) for before in self._links))
        )
        self._before, self._leaves, self._mismatches = block, [], []

    def _is_linked(self, block: StoredBlock, root: bytes) -> bool:
        return any(self._link(block, root, before) == block.hash for before in self._links)

    def _link(self, block: StoredBlock, root: bytes, before: bytes) -> bytes:
        return block_hash(self.shard, block.first, block.last, before, root)

    def _judge(self, mismatch: Mismatch, *, fits: bool) -> None:
        if fits:
            self._find(mismatch.position, mismatch.position, PROOF_CHANGED)
        elif len(self._moved) < MOVED_MAX:
            self._moved.append(mismatch)
        else:
            self._find(mismatch.position, mismatch.position, CHANGED)

    def _name_moved(self) -> None:
        """Tell facts that stand in another place from facts that were changed.

        The former fit their leaf at that place.
        """
        places = [mismatch.position for mismatch in self._moved]
        origins = {mismatch.position: _origin(self.shard, mismatch, places) for mismatch in self._moved}
        for position, origin in origins.items():
            if origin is None:
                self._find(position, position, CHANGED)
            elif origins.get(origin) == position:
                self._find(position, position, f"this fact and {Place(self.shard, origin)} changed places")
            else:
                self._find(position, position, f"this fact was recorded as {Place(self.shard, origin)} and moved here")

    def _find(self, first: int, last: int, what: str) -> None:
        if first > last:
            return
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(self.shard, first, last, what))
        else:
            self.more += 1


def _origin(shard: int, mismatch: Mismatch, places: Iterable[int]) -> int | None:
    """The place at which a fact fits its leaf, among the places in question and its neighbours."""
    rest = mismatch.row[_PLACE.size :]
    for place in _candidates(mismatch.position, places):
        if leaf_of(_PLACE.pack(2, shard, 8, place) + rest) == mismatch.leaf:
            return place
    return None


def _candidates(position: int, places: Iterable[int]) -> Iterator[int]:
    yield from (position - 1, position + 1)
    yield from places
