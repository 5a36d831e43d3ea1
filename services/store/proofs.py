"""Proofs that nobody touched the log: leaves, Merkle roots, the chain of blocks.

    leaf   SHA-256(0x00, row)     row: every column but the leaf as PostgreSQL's binary COPY carries it
    node   SHA-256(0x01, left, right)                                                       (RFC 9162)
    block  SHA-256(0x02, shard, first, last, hash of the block before, root)

In a row each field is its length (4 bytes, big-endian) and its bytes: `shard` 2, `position` 8, `recorded_at` and
`occurred_at` 8 (microseconds since 2000-01-01 UTC), then `team_id`, `source`, `id`, `type` in UTF-8, and `body`.
Lengths make the boundaries unambiguous; one packing serves both the COPY and the leaf.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from struct import Struct

from services.store.copying import EPOCH, MICROSECOND

RowsAndLeaves = tuple[list[bytes], list[bytes]]

GENESIS = bytes(32)
_PLACE = Struct(">ihiqiq")
_TIME = Struct(">iq")
_LENGTH = Struct(">i")
SHORT_MAX = 1_024
_SHORT = tuple(map(_LENGTH.pack, range(SHORT_MAX)))  # to look a length up takes a third of packing it
_BLOCK = Struct(">chqq")
PACKED_MAX = 100_000
_packed: dict[str, bytes] = {}


def pack_known(occurred_at: datetime, team_id: str, source: str, id: str, type: str, body: bytes) -> bytes:
    """The part of a row that is known before its place is. Text must be encodable as UTF-8."""
    name, short, packed = id.encode(), _SHORT, _packed.get
    id_length, body_length = len(name), len(body)
    return b"".join((
        _TIME.pack(8, (occurred_at - EPOCH) // MICROSECOND),  # as `microseconds`: this is done for every fact
        packed(team_id) or _pack(team_id),
        packed(source) or _pack(source),
        short[id_length] if id_length < SHORT_MAX else _LENGTH.pack(id_length), name,
        packed(type) or _pack(type),
        short[body_length] if body_length < SHORT_MAX else _LENGTH.pack(body_length), body,
    ))  # fmt: skip


def _pack(text: str) -> bytes:
    """What comes again with many facts, with its length before it."""
    if len(_packed) >= PACKED_MAX:
        _packed.clear()
    data = text.encode()
    _packed[text] = packed = _LENGTH.pack(len(data)) + data
    return packed


def pack_place(shard: int, position: int, recorded_microseconds: int) -> bytes:
    """The part of a row that the shard's head decides."""
    return _PLACE.pack(2, shard, 8, position, 8, recorded_microseconds)


def leaf_of(row: bytes) -> bytes:
    """The leaf of a packed row."""
    return sha256(b"\x00" + row).digest()


def rows_and_leaves(shard: int, first: int, recorded_microseconds: int, parts: Iterable[bytes]) -> RowsAndLeaves:
    """What `pack_known` gave of the next facts of a shard, each behind its place, and their leaves."""
    place = _PLACE.pack  # `pack_place` and `leaf_of` written out: every append does this for each of its facts
    rows = [place(2, shard, 8, position, 8, recorded_microseconds) + part for position, part in enumerate(parts, first)]
    return rows, [sha256(b"\x00" + row).digest() for row in rows]


def node_hash(left_hash: bytes, right_hash: bytes) -> bytes:
    """The node above two others."""
    return sha256(b"\x01" + left_hash + right_hash).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over at least one leaf; pairing neighbours upwards gives the tree of RFC 9162."""
    level = list(leaves)
    while len(level) > 1:
        odd = level.pop() if len(level) % 2 else None
        pairs = iter(level)
        # Written out: every append does this for each of its facts.
        level = [
            sha256(b"\x01" + left_hash + right_hash).digest()
            for left_hash, right_hash in zip(pairs, pairs, strict=True)
        ]
        if odd is not None:
            level.append(odd)
    return level[0]


def block_hash(shard: int, first: int, last: int, before: bytes, root: bytes) -> bytes:
    """The next link of a shard's chain."""
    return sha256(_BLOCK.pack(b"\x02", shard, first, last) + before + root).digest()
