"""What one signed checkpoint says of every shard: the vector, and the leaf that stands for it in the tree of notes.

A line tells of a shard as it was when it last grew before the note, or of an empty one:

    31 20418 <head> <blocks>    shard, its last position, the hash of its last block, and the root (RFC 6962) over the
                                hashes of its blocks since the note before in which it had grown
    12 0 <32 zeros> <root over nothing>

The root over the 64 lines is the vector's; a leaf names it, so that a proof about one shard needs no line of another:

    time 2026-11-23T10:15:30.123456Z
    shards <root over the lines>
    unpublished                         only where it reaches beyond what the relay had published: Kafka was away

Hashes are in base64. The leaf's text ends each of its lines with a newline, a vector's line has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from schemas.instants import instant
from services.audit.checkpoints import base64_of, hash_from
from services.audit.notes.tree import EMPTY_ROOT
from services.store.proofs import GENESIS, leaf_of, node_hash
from services.store.shards import SHARDS


class SignedShard(NamedTuple):
    """One shard in a note: its last position and block, and the root over the hashes of the blocks it grew by."""

    last: int
    head: bytes
    blocks: bytes


EMPTY_SHARD = SignedShard(0, GENESIS, EMPTY_ROOT)


def line_of(shard: int, signed: SignedShard) -> str:
    """The line of a shard."""
    return f"{shard} {signed.last} {base64_of(signed.head)} {base64_of(signed.blocks)}"


def parse_line(line: str) -> tuple[int, SignedShard]:
    """The shard of a line. Raises ValueError."""
    shard, last, head, blocks = line.split(" ")
    signed = SignedShard(int(last), hash_from(head), hash_from(blocks))
    if not 0 <= int(shard) < SHARDS or signed.last < 1 or line != line_of(int(shard), signed):
        message = f"{line!r} is no line of a shard"
        raise ValueError(message)
    return int(shard), signed


def leaf_text(signed_at: datetime, root: bytes, *, unpublished: bool) -> str:
    """The leaf of a note: when it was signed, and what the root over the shards was."""
    return f"time {instant(signed_at)}\nshards {base64_of(root)}\n" + ("unpublished\n" if unpublished else "")


@dataclass(slots=True)
class ShardTree:
    """The tree over the lines of all shards, in which one line is set at a time."""

    shards: dict[int, SignedShard] = field(default_factory=dict)
    _levels: list[list[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        level = [leaf_of(line_of(shard, self.shards.get(shard, EMPTY_SHARD)).encode()) for shard in range(SHARDS)]
        self._levels.append(level)
        while len(level) > 1:
            level = [node_hash(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
            self._levels.append(level)

    def set(self, shard: int, signed: SignedShard) -> None:
        """A shard has grown."""
        self.shards[shard] = signed
        self._levels[0][shard] = leaf_of(line_of(shard, signed).encode())
        for lower, upper in zip(self._levels, self._levels[1:], strict=False):
            shard >>= 1
            upper[shard] = node_hash(lower[2 * shard], lower[2 * shard + 1])

    @property
    def root(self) -> bytes:
        """The root over the lines of all shards."""
        return self._levels[-1][0]

    def path(self, shard: int) -> list[bytes]:
        """The proof that the line of a shard is one of these."""
        return [level[(shard >> height) ^ 1] for height, level in enumerate(self._levels[:-1])]


@dataclass(frozen=True, slots=True)
class Vector:
    """What a note says of the log. `shards` has those that have facts."""

    signed_at: datetime
    unpublished: bool = False
    shards: Mapping[int, SignedShard] = field(default_factory=dict)

    @property
    def facts(self) -> int:
        """How many facts it covers."""
        return sum(signed.last for signed in self.shards.values())

    @property
    def leaf(self) -> str:
        """The text that stands for it in the tree of notes."""
        return leaf_text(self.signed_at, ShardTree(dict(self.shards)).root, unpublished=self.unpublished)

    @property
    def leaf_hash(self) -> bytes:
        """The hash of that leaf."""
        return leaf_of(self.leaf.encode())
