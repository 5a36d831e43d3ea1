"""Can the facts that were lost come back, each at its position, in the blocks that it was part of? Pure.

Of each shard everything after its head must be in the topic, without a gap, and nothing else may stand there by now.
Then leaves, blocks and chain come to the very hashes that they had, and whatever was signed holds again. A last block
that was published in part is shorter than it was: no note covers it, for the signer signs whole published blocks. It
may not end within an amendment: what takes a usage back is wrong without the usage that replaces it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from schemas.facts import AMENDMENTS, Stored, UnknownFact
from services.publishing.beyond import Published
from services.store.append import BlockRow
from services.store.copying import microseconds
from services.store.proofs import block_hash, leaf_of, merkle_root, pack_known, pack_place
from services.store.shards import shard_of

Lost = Mapping[tuple[int, int], Sequence[Published]]


class Head(NamedTuple):
    """The end of a shard: its last position, the hash of its last block, the time of its last fact."""

    last: int
    hash: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Tail:
    """What comes back of a shard: its facts in order with their leaves, and its blocks."""

    facts: Sequence[Stored]
    leaves: Sequence[bytes]
    blocks: Sequence[BlockRow]

    @property
    def head(self) -> Head:
        """Where the shard ends then."""
        _, _, last, _, hash_ = self.blocks[-1]
        return Head(last, hash_, self.facts[-1].recorded_at)


def tails_of(lost: Lost, heads: Mapping[int, Head]) -> tuple[dict[int, Tail], list[str]]:
    """What comes back of each shard, and why nothing can: one sentence for each place that is in the way."""
    tails: dict[int, Tail] = {}
    wrong: list[str] = []
    for shard, places in groupby(sorted(lost), key=lambda place: place[0]):
        if shard not in heads:
            wrong.append(f"there is no shard {shard}")
            continue
        published = [lost[place] for place in places]
        faults = list(_faults(heads[shard], published))
        if faults:
            wrong += faults
        else:
            tails[shard] = _tail(heads[shard], [same[0] for same in published])
    return tails, wrong


def _faults(head: Head, published: Sequence[Sequence[Published]]) -> Iterator[str]:
    """Why the facts of a shard, in order, can't come back."""
    before, expected = head.recorded_at, head.last + 1
    for same in published:
        one = same[0]
        stored = one.stored
        if stored.position != expected:
            yield f"{stored.shard}:{expected} is not in the topic, and {stored.place} is"
            return
        if any((other.stored, other.first, other.last) != (stored, one.first, one.last) for other in same):
            yield f"{stored.place} was published more than once, with different contents"
        if shard_of(stored.team_id) != stored.shard:
            yield f"{stored.place}: {stored.team_id} is not of this shard"
        if stored.recorded_at < before:
            yield f"{stored.place} was recorded before the fact in front of it"
        try:
            stored.fact()
        except (UnknownFact, ValueError, TypeError) as unreadable:
            yield f"{stored.place} can't be read: {unreadable}"[:300]
        before, expected = stored.recorded_at, expected + 1
    if published[-1][0].stored.source == AMENDMENTS:
        yield f"{published[-1][0].stored.place} takes back what is amended, and what replaces it is not in the topic"
    yield from _of_blocks(head, [same[0] for same in published])


def _of_blocks(head: Head, facts: Sequence[Published]) -> Iterator[str]:
    begins = head.last + 1
    for (first, last), block in groupby(facts, key=lambda one: (one.first, one.last)):
        of_block = [one.stored for one in block]
        ends = of_block[-1].position
        is_last = of_block[-1] is facts[-1].stored
        if first != begins or (ends != last and not is_last):
            yield f"the block of {of_block[0].place} reaches from {first} to {last}, and is not whole"
            return
        if len({stored.recorded_at for stored in of_block}) > 1:
            yield f"the block of {of_block[0].place} has facts of different times"
        begins = ends + 1


def _tail(head: Head, facts: Sequence[Published]) -> Tail:
    leaves = [leaf_of(_row(one.stored)) for one in facts]
    blocks: list[BlockRow] = []
    before, begin = head.hash, 0
    for _, group in groupby(facts, key=lambda one: one.first):
        block = list(group)
        shard, first, last = block[0].stored.shard, block[0].stored.position, block[-1].stored.position
        root = merkle_root(leaves[begin : begin + len(block)])
        before = block_hash(shard, first, last, before, root)
        blocks.append((shard, first, last, root, before))
        begin += len(block)
    return Tail([one.stored for one in facts], leaves, blocks)


def _row(stored: Stored) -> bytes:
    place = pack_place(stored.shard, stored.position, microseconds(stored.recorded_at))
    return place + pack_known(
        stored.occurred_at, stored.team_id, stored.source, stored.id, stored.type, stored.body
    )  # fmt: skip
