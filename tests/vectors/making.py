"""The histories of the vectors: one honest log, and what can be done to it."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.facts import RATE_CARD_TEAM, StoreResumed
from schemas.instants import instant
from services.audit.anchors import text_of_anchor
from services.audit.checkpoints import Checkpoint, sign, verifier_key
from services.audit.entry_proof import FORMAT, path_text
from services.audit.notes.tree import Frontier, inclusion, path_in, root_over
from services.audit.notes.vectors import ShardTree, SignedShard, Vector
from services.audit.sign_log import Signed
from services.store.copying import microseconds
from services.store.proofs import GENESIS, block_hash, leaf_of, merkle_root, pack_known, pack_place
from services.store.shards import shard_of

FOLDER = Path(__file__).parent
ORIGIN = "creditwell/7f9c"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
NOW = datetime(2026, 11, 23, 10, 15, 30, 123456, tzinfo=UTC)
SHARD, OTHER = 31, 63
TEAMS = {SHARD: "team_42", OTHER: "team_ä"}
OURS = shard_of(RATE_CARD_TEAM)

Json = dict[str, Any]


def text(data: bytes) -> str:
    return b64encode(data).decode()


def fact_at(shard: int, position: int, *, quantity: int | None = None, id: str | None = None) -> Json:
    """A usage; times before 2000 and characters beyond ASCII are among them."""
    occurred = (
        datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC) if position == 1 else NOW - timedelta(hours=position)
    )
    body = f'{{"feature":"ai_video.generate","quantity":"{quantity or position}","credits":1000000,"rate_card":1}}'
    return with_leaf({
        "shard": shard, "position": position, "recorded_at": instant(NOW + timedelta(seconds=position)),
        "occurred_at": instant(occurred), "team_id": TEAMS[shard], "source": "/features/video",
        "id": id or f"use-{position}-ß", "type": "usage.recorded.v1", "body": text(body.encode()),
    })  # fmt: skip


def row_of(fact: Json) -> bytes:
    recorded = microseconds(datetime.fromisoformat(fact["recorded_at"]))
    return pack_place(fact["shard"], fact["position"], recorded) + pack_known(
        datetime.fromisoformat(fact["occurred_at"]),
        fact["team_id"],
        fact["source"],
        fact["id"],
        fact["type"],
        bytes_of(fact["body"]),
    )


def bytes_of(base64: str) -> bytes:
    return b64decode(base64)


def with_leaf(fact: Json) -> Json:
    return {**fact, "leaf": text(leaf_of(row_of(fact)))}


@dataclass
class History:
    """A log as it grows: facts and blocks of each shard, and its notes."""

    facts: dict[int, list[Json]] = field(default_factory=lambda: {OURS: [], SHARD: [], OTHER: []})
    blocks: dict[int, list[Json]] = field(default_factory=lambda: {OURS: [], SHARD: [], OTHER: []})
    notes: list[Json] = field(default_factory=list)
    anchors: dict[str, str] = field(default_factory=dict)
    tree: Frontier = field(default_factory=Frontier)
    leaves: list[bytes] = field(default_factory=list)
    signed: list[Signed] = field(default_factory=list)
    key: Ed25519PrivateKey = KEY

    def append(self, shard: int, count: int) -> None:
        """One block of so many facts."""
        first = len(self.facts[shard]) + 1
        facts = [fact_at(shard, position) for position in range(first, first + count)]
        self.facts[shard] += facts
        self.blocks[shard].append(self.block_over(shard, facts))

    def resume(self, lost: tuple[int, int] | None) -> None:
        """The store had gone back, and goes on."""
        fact = StoreResumed(life=1, why="an old backup", resumed_by="op_1", lost_notes=lost)
        position = len(self.facts[OURS]) + 1
        facts = [with_leaf({
            "shard": OURS, "position": position, "recorded_at": instant(NOW), "occurred_at": instant(NOW),
            "team_id": RATE_CARD_TEAM, "source": "creditwell:admin", "id": f"resumed:{position}", "type": fact.type,
            "body": text(fact.body()),
        })]  # fmt: skip
        self.facts[OURS] += facts
        self.blocks[OURS].append(self.block_over(OURS, facts))

    def block_over(self, shard: int, facts: list[Json], before: bytes | None = None) -> Json:
        """The block of these facts; the next one of its shard where nothing else is said."""
        if before is None:
            before = bytes_of(self.blocks[shard][-1]["hash"]) if self.blocks[shard] else GENESIS
        first, last = facts[0]["position"], facts[-1]["position"]
        root = merkle_root([bytes_of(fact["leaf"]) for fact in facts])
        link = block_hash(shard, first, last, before, root)
        return {"shard": shard, "first": first, "last": last, "root": text(root), "hash": text(link)}

    def forge(self, shard: int, number: int) -> None:
        """Make the proofs of block `number`, counted from 0, fit facts that were changed."""
        block = self.blocks[shard][number]
        before = bytes_of(self.blocks[shard][number - 1]["hash"]) if number else GENESIS
        self.blocks[shard][number] = self.block_over(
            shard, self.facts[shard][block["first"] - 1 : block["last"]], before
        )

    def sign(self, *, unpublished: bool = False) -> None:
        """The next note."""
        before = self.signed[-1].vector.shards if self.signed else {}
        grown = {}
        for shard, blocks in self.blocks.items():
            reached = before[shard].last if shard in before else 0
            if newer := [block for block in blocks if block["last"] > reached]:
                root = root_over([leaf_of(bytes_of(block["hash"])) for block in newer])
                grown[shard] = SignedShard(newer[-1]["last"], bytes_of(newer[-1]["hash"]), root)
        vector = Vector(NOW + timedelta(minutes=len(self.notes)), unpublished, {**before, **grown})
        hashes = self.tree.append(vector.leaf_hash)
        self.leaves.append(vector.leaf_hash)
        checkpoint = Checkpoint(ORIGIN, self.tree.size, self.tree.root)
        self.signed.append(Signed(checkpoint, vector, sign(checkpoint, self.key)))
        self.notes.append({
            "number": self.tree.size, "time": instant(vector.signed_at), "unpublished": unpublished,
            "shards": {str(s): [of.last, text(of.head), text(of.blocks)] for s, of in grown.items()},
            "hashes": text(b"".join(hashes)), "text": self.signed[-1].note,
        })  # fmt: skip

    def anchor(self) -> None:
        """The newest note goes into the folder."""
        path = path_in(self.leaves, len(self.leaves) - 1)
        self.anchors[f"{self.tree.size:020d}.anchor"] = text_of_anchor(self.signed[-1], path)

    def lines(self) -> list[Json]:
        """The log on paper."""
        lines: list[Json] = [{"format": "creditwell log 1", "log": ORIGIN}]
        for shard, blocks in sorted(self.blocks.items()):
            rows = [(block["first"], 0, {"block": block}) for block in blocks]
            rows += [(fact["position"], 1, {"fact": fact}) for fact in self.facts[shard]]
            lines += (line for _, _, line in sorted(rows, key=lambda row: row[:2]))
            if blocks:
                lines.append({"head": {"shard": shard, "last": blocks[-1]["last"], "hash": blocks[-1]["hash"]}})
        return lines + [{"note": note} for note in self.notes]

    def prove(self, shard: int, position: int, *, to: int | None = None) -> Json:
        """The proof of a fact, made from the lists."""
        fact = self.facts[shard][position - 1]
        index, block = next(
            (index, block)
            for index, block in enumerate(self.blocks[shard])
            if block["first"] <= position <= block["last"]
        )
        note = next(n for n in self.notes if str(shard) in n["shards"] and n["shards"][str(shard)][0] >= position)
        earlier = [n for n in self.notes[: note["number"] - 1] if str(shard) in n["shards"]]
        seen = earlier[-1]["shards"][str(shard)][0] if earlier else 0
        last, head, _ = note["shards"][str(shard)]
        grown = [one for one in self.blocks[shard] if seen < one["last"] <= last]
        leaves = [bytes_of(one["leaf"]) for one in self.facts[shard][block["first"] - 1 : block["last"]]]
        tree = ShardTree(dict(self.signed[note["number"] - 1].vector.shards))
        to = to or note["number"]
        at = grown.index(block)
        return {
            "format": FORMAT,
            "fact": {**{name: fact[name] for name in fact if name not in ("leaf", "body")}, "body": bytes_of(fact["body"]).decode()},
            "block": {
                "first": block["first"], "last": block["last"],
                "before": self.blocks[shard][index - 1]["hash"] if index else text(GENESIS),
                "path": path_text(path_in(leaves, position - block["first"])),
            },
            "shard": {
                "last": last, "head": head, "index": at, "size": len(grown),
                "blocks": path_text(path_in([leaf_of(bytes_of(one["hash"])) for one in grown], at)),
                "path": path_text(tree.path(shard)),
            },
            "note": {
                "number": note["number"], "time": note["time"], "unpublished": note["unpublished"],
                "path": path_text([root_over(self.leaves[s.begin : s.end]) for s in inclusion(note["number"] - 1, to)]),
                "text": self.signed[to - 1].note,
            },
        }  # fmt: skip


def honest(key: Ed25519PrivateKey = KEY) -> History:
    """Twenty facts of one team in five blocks, three of another, four notes, two anchors, and facts that no note covers."""
    history = History(key=key)
    history.append(SHARD, 4)
    history.append(OTHER, 3)
    history.sign()
    history.anchor()
    history.append(SHARD, 1)
    history.append(SHARD, 7)
    history.sign()
    history.sign()
    history.append(SHARD, 4)
    history.sign(unpublished=True)
    history.anchor()
    history.append(SHARD, 4)
    return history


def resumed(lost: tuple[int, int] | None, *came_back: int) -> History:
    """The honest log, which was set back to its second note: an anchor has the fourth, and the log has another one now.

    The facts came back in blocks of so many.
    """
    history = History(anchors=honest().anchors)
    for shard, count in ((SHARD, 4), (OTHER, 3)):
        history.append(shard, count)
    history.sign()
    for count in (1, 7):
        history.append(SHARD, count)
    history.sign()
    for count in came_back:
        history.append(SHARD, count)
    history.resume(lost)
    history.sign()
    history.sign()
    return history


def by_chance(chance: Random) -> History:
    """An honest log of some blocks of some facts, with notes and anchors here and there and one at the end."""
    history = History()
    for _ in range(chance.randint(1, 12)):
        history.append(chance.choice((SHARD, OTHER)), chance.randint(1, 6))
        if chance.random() < 0.5:
            history.sign(unpublished=chance.random() < 0.2)
            if chance.random() < 0.5:
                history.anchor()
    history.sign()
    return history


Tamper = Callable[[History], object]


def changed(**columns: object) -> Tamper:
    """Columns of the tenth fact."""
    return lambda history: history.facts[SHARD][9].update(columns)


def _swap(history: History) -> None:
    facts = history.facts[SHARD]
    facts[9], facts[10] = {**facts[10], "position": 10}, {**facts[9], "position": 11}


def _insert(history: History) -> None:
    history.facts[SHARD].append(fact_at(SHARD, 21, id="gift"))


def _replace(history: History) -> None:
    history.facts[SHARD][9] = fact_at(SHARD, 10, quantity=9)


def _forge_block(history: History) -> None:
    _replace(history)
    history.forge(SHARD, 2)


def _forge_to_the_end(history: History) -> None:
    _replace(history)
    for number in (2, 3, 4):
        history.forge(SHARD, number)


def _cut(history: History) -> None:
    history.facts[SHARD], history.blocks[SHARD] = history.facts[SHARD][:12], history.blocks[SHARD][:3]


def _cut_the_beginning(history: History) -> None:
    history.facts[SHARD], history.blocks[SHARD] = history.facts[SHARD][4:], history.blocks[SHARD][1:]


def _old_backup(history: History) -> None:
    _cut(history)
    history.notes = history.notes[:2]


def _without_notes(history: History) -> None:
    history.notes, history.anchors = [], {}


def _note(number: int, **columns: object) -> Tamper:
    return lambda history: history.notes[number - 1].update(columns)


def _later_note(history: History) -> None:
    history.notes[1]["shards"][str(SHARD)][0] = 11


def _another_past(history: History) -> None:
    """Signed anew, by whoever has the key."""
    other = honest()
    _forge_to_the_end(other)
    again = History(facts=other.facts, blocks=other.blocks)
    for _ in range(4):
        again.sign()
    history.facts, history.blocks, history.notes = again.facts, again.blocks, again.notes


# What is done to the log, and where the first finding begins.
TAMPERS: dict[str, tuple[Tamper, str]] = {
    "changed-body": (changed(body=text(b'{"credits":9}')), f"{SHARD}:10"),
    "changed-occurred-at": (changed(occurred_at="2026-11-23T00:15:30.123455Z"), f"{SHARD}:10"),
    "changed-recorded-at": (changed(recorded_at="2026-11-23T11:15:40.123456Z"), f"{SHARD}:10"),
    "changed-team": (changed(team_id="team_43"), f"{SHARD}:10"),
    "changed-source": (changed(source="/features/video "), f"{SHARD}:10"),
    "changed-id": (changed(id="use-10-ss"), f"{SHARD}:10"),
    "changed-type": (changed(type="usage.recorded.v2"), f"{SHARD}:10"),
    "changed-leaf": (changed(leaf=text(GENESIS)), f"{SHARD}:10"),
    "deleted": (lambda history: history.facts[SHARD].pop(9), f"{SHARD}:10"),
    "swapped": (_swap, f"{SHARD}:10"),
    "inserted": (_insert, f"{SHARD}:21"),
    "replaced-with-its-leaf": (_replace, f"{SHARD}:6"),
    "forged-block": (_forge_block, f"{SHARD}:6"),
    "forged-to-the-end": (_forge_to_the_end, f"{SHARD}:5"),
    "deleted-block": (lambda history: history.blocks[SHARD].pop(2), f"{SHARD}:6"),
    "cut-off": (_cut, f"{SHARD}:13"),
    "cut-off-at-the-beginning": (_cut_the_beginning, f"{SHARD}:1"),
    "old-backup": (_old_backup, "anchor 00000000000000000004.anchor"),
    "without-notes": (_without_notes, "checkpoints"),
    "note-deleted": (lambda history: history.notes.pop(1), "checkpoint 2"),
    "note-of-another-time": (_note(2, time="2026-11-23T10:16:31.123456Z"), "checkpoint 2"),
    "note-published-after-all": (_note(4, unpublished=False), "checkpoint 4"),
    "note-of-other-shards": (_later_note, "checkpoint 2"),
    "note-of-another-past": (_note(2, text=sign(Checkpoint(ORIGIN, 2, GENESIS), KEY)), "checkpoint 2"),
    "no-note": (_note(3, text="creditwell/7f9c\n3\n"), "checkpoint 3"),
    "signed-anew": (_another_past, "anchor 00000000000000000001.anchor"),
}


def _proofs() -> dict[str, tuple[Json, bool]]:
    """Proofs, and whether they hold."""
    history = honest()
    proof = history.prove(SHARD, 10)

    def but(part: str, **columns: object) -> tuple[Json, bool]:
        changed = deepcopy(proof)
        changed[part].update(columns)
        return changed, False

    path = bytes_of(proof["note"]["path"])
    return {
        "proof": (proof, True),
        "proof-of-a-whole-block": (history.prove(SHARD, 5), True),
        "proof-to-a-newer-note": (history.prove(SHARD, 10, to=4), True),
        "proof-of-what-was-not-published": (history.prove(SHARD, 13), True),
        "proof-of-another-body": but("fact", body='{"credits":9}'),
        "proof-of-another-time": but("fact", occurred_at="2026-11-23T00:15:30.123455Z"),
        "proof-of-another-place": but("fact", position=11),
        "proof-of-another-shard": but("fact", shard=30),
        "proof-of-another-block": but("block", last=13),
        "proof-after-another-block": but("block", before=text(GENESIS)),
        "proof-of-another-end": but("shard", last=16),
        "proof-in-another-place": but("shard", index=0),
        "proof-of-another-moment": but("note", time=instant(NOW)),
        "proof-published-after-all": but("note", unpublished=True),
        "proof-with-a-path-too-long": but("note", path=text(path + GENESIS)),
        "proof-with-a-path-too-short": but("note", path=text(path[32:])),
        "proof-by-a-stranger": (honest(STRANGER).prove(SHARD, 10), False),
        "proof-of-nothing": ({"format": FORMAT}, False),
    }  # fmt: skip


def document_of(history: History, finding: str | None) -> Json:
    """A log for verifiers, with where its first finding begins."""
    public = verifier_key(ORIGIN, KEY.public_key())
    return {"public_key": public, "finding": finding, "lines": history.lines(), "anchors": history.anchors}


def documents() -> dict[str, str]:
    """Every file by its name, without its ending."""
    public = verifier_key(ORIGIN, KEY.public_key())
    written: dict[str, Json] = {}
    logs: dict[str, tuple[History, str | None]] = {"honest": (honest(), None), "empty": (History(), None)}
    logs["signed-by-a-stranger"] = honest(STRANGER), "checkpoint 4"
    logs["lost-notes"] = resumed((3, 4), 4), None
    logs["lost-notes-unsaid"] = resumed(None, 4), "anchor 00000000000000000004.anchor"
    logs["lost-notes-in-other-blocks"] = resumed((3, 4), 2, 2), f"{SHARD}:16"
    for name, (tamper, finding) in TAMPERS.items():
        history = honest()
        tamper(history)
        logs[name] = history, finding
    for name, (history, begins) in logs.items():
        written[f"log-{name}"] = document_of(history, begins)
    for name, (proof, holds) in _proofs().items():
        written[name] = {"public_key": public, "finding": None if holds else "proof", "proof": proof}
    return {name: json.dumps(document, ensure_ascii=False, indent=1) + "\n" for name, document in written.items()}
