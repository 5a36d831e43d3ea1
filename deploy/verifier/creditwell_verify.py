#!/usr/bin/env python3
"""Check a log of Creditwell, or a proof of one entry, with this one file, Python 3.11 and `cryptography`.

    creditwell_verify.py --public-key KEY proof.json
    creditwell_verify.py --public-key KEY [--anchors FOLDER] log.jsonl

docs/log-format.md says what is checked, and how the lines of a log are made with psql alone. It keeps the hash of every
block in memory, 200 bytes or so each. Exit code 0: it is what was recorded; 1: it is not, and the first bad place is
named; 2: used wrongly.
"""

import argparse
import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SHARDS = 64
ZEROS = bytes(32)
NOTHING = sha256().digest()
EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - as the oldest Python reads it
LOG, PROOF, ANCHOR = "creditwell log 1", "creditwell proof 1", "creditwell anchor 1"
TLOG_PROOF = "c2sp.org/tlog-proof@v1"
OURS, RESUMED = "creditwell", "store.resumed.v1"
SIGNATURE = re.compile(r"— (\S+) (\S+)")

Json = dict[str, Any]
Vector = dict[int, tuple[int, str, str]]  # by shard: last, head, blocks


class Discrepancy(Exception):
    """It is not what was recorded: where, and what is wrong."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place, self.what = place, what


def leaf_hash(data: bytes) -> bytes:
    """A leaf of RFC 6962."""
    return sha256(b"\x00" + data).digest()


def node_hash(one: bytes, other: bytes) -> bytes:
    """A node of RFC 6962."""
    return sha256(b"\x01" + one + other).digest()


def root_over(leaves: list[bytes]) -> bytes:
    """The root of RFC 6962 over these."""
    if len(leaves) < 2:
        return leaves[0] if leaves else NOTHING
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(root_over(leaves[:half]), root_over(leaves[half:]))


def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root to which a proof of inclusion leads (RFC 9162, 2.1.3.2). Raises Discrepancy: it is no such proof."""
    if not 0 <= index < size:
        raise Discrepancy("path", f"a tree of {size} leaves has no leaf {index}")
    last = size - 1
    for sibling in path:
        if last == 0:
            raise Discrepancy("path", "it has too many hashes")
        if index & 1 or index == last:
            leaf = node_hash(sibling, leaf)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise Discrepancy("path", "it has too few hashes")
    return leaf


def microseconds(text: str) -> int:
    """An instant as PostgreSQL counts it."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def row_of(fact: Json, body: bytes) -> bytes:
    """The bytes of a fact, of which its leaf is made."""
    row = pack(">ihiq", 2, fact["shard"], 8, fact["position"])
    row += pack(">iqiq", 8, microseconds(fact["recorded_at"]), 8, microseconds(fact["occurred_at"]))
    values = [fact[name].encode() for name in ("team_id", "source", "id", "type")]
    return row + b"".join(pack(">i", len(value)) + value for value in [*values, body])


def block_hash(shard: int, first: int, last: int, before: bytes, root: bytes) -> bytes:
    """The next link of a shard's chain."""
    return sha256(pack(">chqq", b"\x02", shard, first, last) + before + root).digest()


def line_of(shard: int, last: int, head: str, blocks: str) -> bytes:
    """What a note says of a shard."""
    return f"{shard} {last} {head} {blocks}".encode()


def leaf_of_note(time: str, shards: bytes, *, unpublished: bool) -> bytes:
    """The leaf of a note."""
    text = f"time {time}\nshards {b64encode(shards).decode()}\n" + ("unpublished\n" if unpublished else "")
    return leaf_hash(text.encode())


def shards_root(vector: Vector) -> bytes:
    """The root over what is said of all shards."""
    empty = (0, b64encode(ZEROS).decode(), b64encode(NOTHING).decode())
    return root_over([leaf_hash(line_of(shard, *vector.get(shard, empty))) for shard in range(SHARDS)])


def open_note(note: str, keys: list[Ed25519PublicKey]) -> tuple[str, int, bytes, bool]:
    """Origin, size and root of a note, and whether one of the keys signed it. Raises Discrepancy: it is no note."""
    text, _, signatures = note.rpartition("\n\n")
    lines = text.split("\n")
    if len(lines) != 3 or not re.fullmatch("[1-9][0-9]*", lines[1]):
        raise Discrepancy("note", "it is no note of a Creditwell log")
    return lines[0], int(lines[1]), b64decode(lines[2]), any(
        name == lines[0] and _signed(key, name, b64decode(signature), f"{text}\n".encode())
        for name, signature in SIGNATURE.findall(signatures) for key in keys
    )  # fmt: skip


def _signed(key: Ed25519PublicKey, name: str, signature: bytes, text: bytes) -> bool:
    if signature[:4] != sha256(name.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]:
        return False
    try:
        key.verify(signature[4:], text)
    except InvalidSignature:
        return False
    return True


def vector_of(anchor: str, size: int, root: bytes) -> Vector:
    """What an anchor says of the shards. Raises Discrepancy: it is not what its note signs."""
    head, _, proof = anchor.partition(f"\n\n{TLOG_PROOF}\n")
    try:
        _, time, *lines = head.split("\n")
        unpublished = lines[:1] == ["unpublished"]
        rows = [line.split(" ") for line in lines[unpublished:]]
        path = [b64decode(line) for line in proof.partition("\n\n")[0].split("\n")[1:]]
        vector = {int(shard): (int(last), of, blocks) for _, shard, last, of, blocks in rows}
        leaf = leaf_of_note(time.removeprefix("time "), shards_root(vector), unpublished=unpublished)
        if root_of_path(leaf, size - 1, size, path) == root:
            return vector
    except ValueError as error:
        raise Discrepancy("anchor", f"it is no anchor of a Creditwell log: {error}") from error
    raise Discrepancy("anchor", "what it says of the shards is not what its note signs")


def hashes_in(text: str) -> list[bytes]:
    """A path of a proof: hashes one after another."""
    data = b64decode(text)
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def verify_proof(proof: Json, keys: list[Ed25519PublicKey]) -> str:
    """Check the proof of one entry. Gives what it proves. Raises Discrepancy: it does not hold."""
    if proof["format"] != PROOF:
        raise Discrepancy("format", f"it is no {PROOF!r}")
    fact, block, shard, note = proof["fact"], proof["block"], proof["shard"], proof["note"]
    place = f"{fact['shard']}:{fact['position']}"
    leaf = leaf_hash(row_of(fact, fact["body"].encode()))
    size = block["last"] - block["first"] + 1
    root = root_of_path(leaf, fact["position"] - block["first"], size, hashes_in(block["path"]))
    link = block_hash(fact["shard"], block["first"], block["last"], b64decode(block["before"]), root)
    blocks = root_of_path(leaf_hash(link), shard["index"], shard["size"], hashes_in(shard["blocks"]))
    line = line_of(fact["shard"], shard["last"], shard["head"], b64encode(blocks).decode())
    shards = root_of_path(leaf_hash(line), fact["shard"], SHARDS, hashes_in(shard["path"]))
    in_tree = leaf_of_note(note["time"], shards, unpublished=note["unpublished"])
    origin, leaves, signed_root, signed = open_note(note["text"], keys)
    if root_of_path(in_tree, note["number"] - 1, leaves, hashes_in(note["path"])) != signed_root:
        raise Discrepancy(place, "this is not what the note signs")
    if keys and not signed:
        raise Discrepancy("note", "it was not signed by a known key")
    return f"{place} of {fact['team_id']} is in {origin}, signed at {note['time']} or before"


@dataclass
class Shard:
    """One shard on the way."""

    number: int
    next: int = 1
    covered: int = 0
    before: Json | None = None
    block: Json | None = None
    leaves: list[bytes] = field(default_factory=list)
    changed: bool = False
    blocks: list[tuple[int, bytes]] = field(default_factory=list)
    findings: list[tuple[int, int, str]] = field(default_factory=list)

    def take_block(self, block: Json) -> None:
        """The next block; its facts follow."""
        self.close()
        if block["first"] > self.covered + 1:
            self.find(self.covered + 1, block["first"] - 1, "the proof of these facts was taken away")
        self.block, self.covered = block, block["last"]
        self.blocks.append((block["last"], b64decode(block["hash"])))

    def take_fact(self, fact: Json) -> None:
        """The next fact of the block."""
        position = fact["position"]
        if position > self.next:
            self.find(self.next, position - 1, "taken out of the log")
        if position < self.next:
            self.find(position, position, "two facts stand at this place")
            return
        self.next = position + 1
        leaf = leaf_hash(row_of(fact, b64decode(fact["body"])))
        covered = self.block is not None and position <= self.block["last"]
        if covered:
            self.leaves.append(leaf)
        if leaf != b64decode(fact["leaf"]):
            self.changed = True
            self.find(position, position, "this fact or its proof was changed after it was recorded")
        if not covered:
            self.find(position, position, "no proof covers this fact")

    def close(self) -> None:
        """All facts of the block were read."""
        block, before = self.block, self.before
        if block is None:
            return
        first, last, root = block["first"], block["last"], b64decode(block["root"])
        complete = len(self.leaves) == last - first + 1
        link = b64decode(before["hash"]) if before else ZEROS
        if complete and not self.changed and root_over(self.leaves) != root:
            self.find(first, last, "a fact of this block was replaced, or the proof of the block")
        elif (
            first == (before["last"] if before else 0) + 1
            and not self.changed
            and block_hash(self.number, first, last, link, root) != b64decode(block["hash"])
        ):
            self.find((before or block)["first"], last, "a fact here was replaced, together with its proofs")
        self.before, self.block, self.leaves, self.changed = block, None, [], False

    def end(self, last: int, head: bytes) -> None:
        """The head of the shard, after everything else."""
        self.close()
        self.find(self.next, max(self.covered, last), "taken out of the log")
        if last != self.covered or head != (b64decode(self.before["hash"]) if self.before else ZEROS):
            self.find(self.before["first"] if self.before else 1, max(last, self.covered), "its head is not its end")

    def find(self, first: int, last: int, what: str) -> None:
        """Something is wrong from here to there."""
        if first <= last:
            self.findings.append((first, last, what))


@dataclass
class Notes:
    """The signed notes on the way."""

    origin: str
    shards: dict[int, Shard]
    number: int = 0
    peaks: list[bytes] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    gap: int = 0
    grown_at: dict[int, int] = field(default_factory=dict)
    vector: Vector = field(default_factory=dict)
    newest: str = ""
    lost: list[tuple[int, int]] = field(default_factory=list)
    findings: list[Discrepancy] = field(default_factory=list)
    broken: list[Discrepancy] = field(default_factory=list)

    def take(self, note: Json) -> None:
        """The next note, and what it says of the shards that had grown."""
        name, number = f"checkpoint {note['number']}", note["number"]
        if number != self.number + 1:
            self.findings.append(Discrepancy(f"checkpoint {self.number + 1}", "it was taken away"))
            self.gap = number - 1
        complete = number == len(self.roots) + 1
        for text, (last, head, blocks) in note["shards"].items():
            shard = int(text)
            # After a gap it is not known since when the shard had grown.
            self.check_chain(name, shard, last, head, blocks if self.grown_at.get(shard, 0) >= self.gap else None)
            self.vector[shard], self.grown_at[shard] = (last, head, blocks), number
        self.number, self.newest = number, note["text"]
        leaf = leaf_of_note(note["time"], shards_root(self.vector), unpublished=note["unpublished"])
        if complete:
            self.grow(leaf)
        try:
            origin, size, root, _ = open_note(note["text"], [])
        except Discrepancy as wrong:
            self.findings.append(Discrepancy(name, wrong.what))
            return
        if origin != self.origin or size != number or (complete and root != self.roots[number]):
            self.findings.append(Discrepancy(name, "it is not what was signed, or one up to it is not"))

    def grow(self, leaf: bytes) -> None:
        """One more leaf; only the roots of the full subtrees are needed."""
        number = len(self.roots)
        while number & 1:
            leaf, number = node_hash(self.peaks.pop(), leaf), number >> 1
        self.peaks.append(leaf)
        root = leaf
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        self.roots[len(self.roots) + 1] = root

    def check_chain(self, name: str, number: int, last: int, head: str, blocks: str | None) -> None:
        """Does the chain of a shard bear out what a note says of it?"""
        before = self.vector.get(number, (0, "", ""))[0]
        shard = self.shards.get(number, Shard(number))
        grown = [(end, link) for end, link in shard.blocks if before < end <= last]
        ends = bool(grown) and grown[-1] == (last, b64decode(head))
        if not ends or blocks not in (None, b64encode(root_over([leaf_hash(link) for _, link in grown])).decode()):
            self.breaks(name, shard, before, last)

    def breaks(self, name: str, shard: Shard, agreed: int, last: int) -> None:
        """The chain of a shard does not bear out what a note says of it."""
        first = shard.covered + 1 if shard.covered < last else min(agreed + 1, last)
        what = f"{name} has {last} facts of this shard, and not these: rewritten, taken away, or an old backup"
        self.broken.append(Discrepancy(f"{shard.number}:{first} to {shard.number}:{last}", what))

    def take_anchor(self, name: str, text: str, keys: list[Ed25519PublicKey]) -> None:
        """A note from outside."""
        note = text.partition(f"\n\n{TLOG_PROOF}\n")[2].partition("\n\n")[2]
        try:
            origin, size, root, signed = open_note(note, keys)
            vector = vector_of(text, size, root)
        except Discrepancy as invalid:
            self.findings.append(Discrepancy(f"anchor {name}", invalid.what))
            return
        if not text.startswith(f"{ANCHOR}\n") or origin != self.origin or (keys and not signed):
            what = "it is of another log, or was not signed by a known key"
            self.findings.append(Discrepancy(f"anchor {name}", what))
            return
        if any(first <= size <= last for first, last in self.lost):
            self.take_lost(name, vector)
        elif size > self.number:
            self.findings.append(Discrepancy(f"anchor {name}", "the log has no note as new as this one"))
        elif self.roots.get(size, root) != root:
            self.findings.append(Discrepancy(f"anchor {name}", f"checkpoint {size} of the log says something else"))

    def take_lost(self, name: str, vector: Vector) -> None:
        """A note that was lost with the store, so another one may have its number. The facts must be there."""
        for number, (last, head, _) in sorted(vector.items()):
            shard = self.shards.get(number, Shard(number))
            if (last, b64decode(head)) not in shard.blocks:
                self.breaks(f"anchor {name}", shard, self.vector.get(number, (0, "", ""))[0], last)


def verify_log(lines: Iterable[Json], keys: list[Ed25519PublicKey], anchors: dict[str, str]) -> Iterator[Discrepancy]:
    """Check the lines of a log. Gives what is wrong: first the shards, then the notes, then the anchors.

    Raises:
        Discrepancy: they are no such lines.
    """
    lines = iter(lines)
    first = next(lines, {})
    if first.get("format") != LOG:
        raise Discrepancy("line 1", f"it does not begin with {LOG!r}")
    shards: dict[int, Shard] = {}
    notes = Notes(first["log"], shards)
    for line in lines:
        _take(line, shards, notes)
    for number, shard in sorted(shards.items()):
        for begin, end, what in sorted(shard.findings):
            yield Discrepancy(f"{number}:{begin}" if begin == end else f"{number}:{begin} to {number}:{end}", what)
    if notes.newest and keys and not notes.findings and not open_note(notes.newest, keys)[3]:
        notes.findings.append(Discrepancy(f"checkpoint {notes.number}", "it was not signed by a known key"))
    if not notes.newest and any(shard.covered for shard in shards.values()):
        notes.findings.append(Discrepancy("checkpoints", "there are facts and no signed checkpoint"))
    for name, text in sorted(anchors.items()):
        notes.take_anchor(name, text, keys)
    yield from notes.findings
    yield from notes.broken


def _take(line: Json, shards: dict[int, Shard], notes: Notes) -> None:
    ((kind, row),) = line.items()
    if kind == "note":
        notes.take(row)
        return
    shard = shards.setdefault(row["shard"], Shard(row["shard"]))
    if kind == "block":
        shard.take_block(row)
    elif kind == "fact":
        shard.take_fact(row)
        if row["team_id"] == OURS and row["type"] == RESUMED:
            notes.lost += lost_notes(b64decode(row["body"]))
    elif kind == "head":
        shard.end(row["last"], b64decode(row["hash"]))
    else:
        raise Discrepancy("line", f"there are no lines of kind {kind!r}")


def lost_notes(body: bytes) -> list[tuple[int, int]]:
    """The first and the last note that were lost with the store, as the fact says that tells how it went on."""
    try:
        lost = json.loads(body).get("lost_notes")
        return [] if lost is None else [(int(lost[0]), int(lost[1]))]
    except (AttributeError, IndexError, TypeError, ValueError):
        return []  # it was changed, which is a finding already


def public_key(text: str) -> Ed25519PublicKey:
    """32 bytes in base64, or name+id+key. Raises ValueError."""
    named = re.fullmatch(r"[^+\s]+\+[0-9a-f]{8}\+(\S+)", text)
    return Ed25519PublicKey.from_public_bytes(b64decode(named[1])[1:] if named else b64decode(text))


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check a log of Creditwell, or a proof of one entry.")
    parser.add_argument("file", type=Path, help="a proof (.json) or the lines of a log (.jsonl)")
    parser.add_argument("--public-key", action="append", default=[], help="who may have signed; repeatable")
    parser.add_argument("--unsigned", action="store_true", help="do without a key")
    parser.add_argument("--anchors", type=Path, help="a folder of anchors")
    options = parser.parse_args(arguments)
    if not options.public_key and not options.unsigned:
        parser.error("no key is known: give --public-key, or --unsigned to do without")
    try:
        keys = [public_key(text) for text in options.public_key]
        if options.file.suffix == ".json":
            proof = json.loads(options.file.read_text("utf-8"))
            print(verify_proof(proof, keys))
            return 0
        anchors = (
            {file.name: file.read_text("utf-8") for file in sorted(options.anchors.glob("*.anchor"))}
            if options.anchors
            else {}
        )
        with options.file.open(encoding="utf-8") as lines:
            problems = list(verify_log(map(json.loads, lines), keys, anchors))
    except Discrepancy as wrong:
        problems = [wrong]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems = [Discrepancy(str(options.file), f"it can't be read: {error!r}")]
    for problem in problems:
        print(problem)
    print("it is not what was recorded" if problems else "it is what was recorded")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
