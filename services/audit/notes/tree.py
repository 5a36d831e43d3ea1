"""Merkle trees of RFC 6962 that grow: roots, and proofs about them. Pure.

The root over no leaves is SHA-256 of nothing; all else is made as the roots of blocks are (`services.store.proofs`).

The leaf of number n, counted from 1, completes one node for each time that 2 divides n, and itself. A log that keeps
these with each leaf needs no others: every root and every proof is made of some of them, logarithmically many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from services.store.proofs import merkle_root, node_hash

EMPTY_ROOT = sha256().digest()


class LeafSpan(NamedTuple):
    """The leaves from `begin` on, ahead of `end`, counted from 0: the leaves of one node of the tree."""

    begin: int
    end: int


class Node(NamedTuple):
    """A node over 2^level leaves; it is number `place` of its level, from 0."""

    level: int
    place: int

    @property
    def completed_by(self) -> int:
        """The number of the leaf, counted from 1, that completes it."""
        return (self.place + 1) << self.level


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree: as much of it as growing takes.

    Attributes:
        size: how many leaves there are.
        peaks: the roots of its full subtrees, the largest first.
    """

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add the hash of a leaf; gives the nodes that it completes, itself first."""
        completed, number = [leaf], self.size
        while number & 1:
            completed.append(node_hash(self.peaks.pop(), completed[-1]))
            number >>= 1
        self.peaks.append(completed[-1])
        self.size += 1
        return completed

    @property
    def root(self) -> bytes:
        """The root over all leaves."""
        return _joined(self.peaks)


def root_over(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves, or over none."""
    return merkle_root(leaves) if leaves else EMPTY_ROOT


def path_in(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The proof that a leaf is at `index` among these."""
    return [merkle_root(leaves[span.begin : span.end]) for span in inclusion(index, len(leaves))]


def nodes_of(span: LeafSpan) -> list[Node]:
    """The full subtrees that a span is made of, from left to right."""
    nodes, (begin, end) = [], span
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append(Node(level, begin >> level))
        begin += 1 << level
    return nodes


def root_of(span: LeafSpan, hashes: Mapping[Node, bytes]) -> bytes:
    """The hash over a span. Raises KeyError where one of its nodes is not there."""
    return _joined([hashes[node] for node in nodes_of(span)])


def inclusion(index: int, size: int) -> list[LeafSpan]:
    """What proves that leaf `index`, counted from 0, is in a tree of `size`: the siblings of its way to the root."""
    return [sibling for _, sibling in _way(index, size)]


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which a proof of inclusion leads. Raises ValueError where it is no proof for this place."""
    way = _way(index, size)
    if len(path) != len(way):
        message = f"a proof for leaf {index} of {size} has {len(way)} hashes, not {len(path)}"
        raise ValueError(message)
    for (is_right, _), sibling in zip(way, path, strict=True):
        leaf = node_hash(sibling, leaf) if is_right else node_hash(leaf, sibling)
    return leaf


def consistency(old: int, new: int) -> list[LeafSpan]:
    """What proves that the tree of `old` leaves is the beginning of that of `new`: 0 < old <= new."""
    begin, end, whole, path = 0, new, True, []
    while old != end:
        middle = begin + _left_size(end - begin)
        if old <= middle:
            path.append(LeafSpan(middle, end))
            end = middle
        else:
            path.append(LeafSpan(begin, middle))
            begin, whole = middle, False
    return ([] if whole else [LeafSpan(begin, end)]) + path[::-1]


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """True where the path proves that the older tree is the beginning of the newer one."""
    spans = consistency(old, new) if 0 < old <= new else None
    if spans is None or len(spans) != len(path):
        return False
    if old == new:
        return old_root == new_root
    # The first hash is a full part of the old tree, or the old tree itself is full.
    hashes = dict(zip(spans, path, strict=True))
    first, rest = (spans[0], spans[1:]) if spans[0].end <= old else (LeafSpan(0, old), spans)
    older = newer = hashes.get(first, old_root)
    for span in rest:
        if span.end <= old:
            older, newer = node_hash(hashes[span], older), node_hash(hashes[span], newer)
        else:
            newer = node_hash(newer, hashes[span])
    return older == old_root and newer == new_root


def _way(index: int, size: int) -> list[tuple[bool, LeafSpan]]:
    """From a leaf upwards: is it in the right half, and what is the other half?

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        message = f"a tree of {size} leaves has no leaf {index}"
        raise ValueError(message)
    begin, end, way = 0, size, []
    while end - begin > 1:
        middle = begin + _left_size(end - begin)
        if index >= middle:
            way.append((True, LeafSpan(begin, middle)))
            begin = middle
        else:
            way.append((False, LeafSpan(middle, end)))
            end = middle
    return way[::-1]


def _left_size(size: int) -> int:
    """The largest power of two below a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _joined(peaks: Sequence[bytes]) -> bytes:
    """Full subtrees, from left to right, under one root."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root
