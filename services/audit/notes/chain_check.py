"""What signed notes say of the shards, against the chains of their blocks. Pure.

A note names the last position of a shard, the hash of the block that ends there, and the root over the hashes of the
blocks since the note before. Of each shard the first note is named that its chain does not bear out.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from schemas.places import Place
from services.audit.notes.tree import Frontier
from services.audit.notes.vectors import SignedShard
from services.audit.verdict import LogProblem
from services.store.proofs import leaf_of


class Growth(NamedTuple):
    """What a note says of a shard that had grown. `exact` is False where notes before it are not there."""

    name: str
    signed_at: datetime
    shard: int
    signed: SignedShard
    exact: bool = True


@dataclass(slots=True)
class ChainCheck:
    """The check of all shards.

    Call `expect` with what some notes say, in order, `block` for each block from `reached` on to the last of these, in
    order, then `end`.

    Attributes:
        heads: where each shard ends.
        reached: up to where each shard was looked at.
        agreed: up to where notes and chain said the same.
        broken: shards of which it was said already that they do not.
        problems: what is wrong.
    """

    heads: Mapping[int, int]
    reached: dict[int, int] = field(default_factory=dict)
    agreed: dict[int, int] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    problems: list[LogProblem] = field(default_factory=list)
    _expected: dict[int, deque[Growth]] = field(default_factory=dict)
    _blocks: dict[int, Frontier] = field(default_factory=dict)

    def expect(self, growths: Iterable[Growth]) -> dict[int, tuple[int, int]]:
        """What the next notes say; gives of each shard the position after which blocks are needed, and the last one."""
        for growth in growths:
            self._expected.setdefault(growth.shard, deque()).append(growth)
        self._blocks = {shard: Frontier() for shard in self._expected}
        spans = {
            shard: (self.reached.get(shard, 0), max(growth.signed.last for growth in growths))
            for shard, growths in self._expected.items()
        }
        self.reached |= {shard: max(span) for shard, span in spans.items()}
        return spans

    def block(self, shard: int, last: int, block_hash: bytes) -> None:
        """The next block of these."""
        expected, blocks = self._expected[shard], self._blocks[shard]
        while expected and expected[0].signed.last < last:
            self._judge(expected.popleft(), holds=False)
        blocks.append(leaf_of(block_hash))
        if expected and expected[0].signed.last == last:
            growth = expected.popleft()
            fits = blocks.root == growth.signed.blocks or not growth.exact
            self._judge(growth, holds=fits and growth.signed.head == block_hash)
            self._blocks[shard] = Frontier()

    def end(self) -> None:
        """There are no more blocks; what is left over has none."""
        for expected in self._expected.values():
            for growth in expected:
                self._judge(growth, holds=False)
        self._expected, self._blocks = {}, {}

    def head(self, growth: Growth, block_hash: bytes | None) -> None:
        """What one more note says of the end of a shard, and the hash of the block that ends there, if one does."""
        self._judge(growth, holds=growth.signed.head == block_hash)

    def _judge(self, growth: Growth, *, holds: bool) -> None:
        shard, last = growth.shard, growth.signed.last
        if shard in self.broken:
            return
        if holds:
            self.agreed[shard] = max(self.agreed.get(shard, 0), last)
            return
        self.broken.add(shard)
        note, end = f"{growth.name} of {growth.signed_at:%Y-%m-%d %H:%M:%S} UTC", self.heads.get(shard, 0)
        first, what = (
            (end + 1, f"{note} has {last} facts of this shard, the log has {end}: facts were taken away, or an old backup was restored")
            if end < last
            else (min(self.agreed.get(shard, 0) + 1, last), f"something here was rewritten after it was signed by {note}")
        )  # fmt: skip
        self.problems.append(LogProblem(f"{Place(shard, first)} to {Place(shard, last)}", what))
