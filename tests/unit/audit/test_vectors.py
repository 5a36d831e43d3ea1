"""The vectors: ours and the single file find the same, and the files are those that `python -m tests.vectors` writes."""

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.verifier import creditwell_verify
from services.audit.anchors import parse_anchor
from services.audit.checkpoints import parse_public_key
from services.audit.entry_proof import check_proof
from services.audit.notes.chain_check import ChainCheck, Growth
from services.audit.notes.note_walk import NoteWalk, StoredNote
from services.audit.notes.tree import root_over
from services.audit.notes.vectors import SignedShard
from services.audit.verdict import LogProblem, Verified, what_is_missing
from services.audit.walk import StoredBlock, Walk
from services.store.proofs import leaf_of
from tests.vectors.making import FOLDER, ORIGIN, documents, row_of

LOGS = sorted(file.stem for file in FOLDER.glob("log-*.json"))
PROOFS = sorted(file.stem for file in FOLDER.glob("proof*.json"))

Json = dict[str, Any]


def read(name: str) -> Json:
    document: Json = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return document


def test_the_files_are_those_that_are_written_anew() -> None:
    assert {name: (FOLDER / f"{name}.json").read_text("utf-8") for name in (*LOGS, *PROOFS)} == documents()


def ours(document: Json) -> list[LogProblem]:
    """What `creditwell verify` does with the rows of a database."""
    keys = [parse_public_key(document["public_key"])]
    rows: dict[str, list[Json]] = {"fact": [], "block": [], "head": [], "note": []}
    for line in document["lines"][1:]:
        for kind, row in line.items():
            rows[kind].append(row)
    problems = [LogProblem(finding.place, finding.what) for shard in range(64) for finding in walked(shard, rows)]
    walk, chain = NoteWalk(ORIGIN, keys), ChainCheck({row["shard"]: row["last"] for row in rows["head"]})
    growths = []
    for row in rows["note"]:
        hashes, at = b64decode(row["hashes"]), datetime.fromisoformat(row["time"])
        note = StoredNote(row["number"], at, row["unpublished"], hashes, row["text"])
        grown = {
            int(shard): SignedShard(last, b64decode(head), b64decode(blocks))
            for shard, (last, head, blocks) in row["shards"].items()
        }
        walk.note(note, grown)
        growths += walk.growths(note, grown)
    spans = chain.expect(growths)
    for row in rows["block"]:
        after, last = spans.get(row["shard"], (0, 0))
        if after < row["last"] <= last:
            chain.block(row["shard"], row["last"], b64decode(row["hash"]))
    chain.end()
    verified = Verified(facts=len(rows["fact"]), signatures_checked=True)
    walk.end()
    if walk.newest is not None:
        verified.signed_at = walk.newest.signed_at
    problems += walk.problems
    stored = {row["number"]: row["text"] for row in rows["note"]}
    ends = {(row["shard"], row["last"]): b64decode(row["hash"]) for row in rows["block"]}
    bodies = [json.loads(b64decode(row["body"])) for row in rows["fact"] if row["type"] == "store.resumed.v1"]
    lost = [body["lost_notes"] for body in bodies if body.get("lost_notes")]
    for name, anchor in sorted(document["anchors"].items()):
        signed = parse_anchor(anchor)
        is_lost = any(first <= signed.number <= last for first, last in lost)
        problem = walk.anchor(
            signed.checkpoint, signed.note, stored.get(signed.number), walk.number, is_lost=is_lost
        )  # fmt: skip
        problems += [] if problem is None else [LogProblem(f"anchor {name}", problem)]
        for shard, of in signed.vector.shards.items():
            chain.head(Growth(name, signed.vector.signed_at, shard, of), ends.get((shard, of.last)))
    problems += chain.problems
    return problems + what_is_missing(verified, datetime.now(UTC), timedelta(days=36_500), anchors_wanted=False)


def walked(shard: int, rows: dict[str, list[Json]]) -> list[Any]:
    """The findings of one shard."""
    walk, heads = Walk(shard), [row for row in rows["head"] if row["shard"] == shard]
    for row in rows["block"]:
        if row["shard"] == shard:
            walk.block(StoredBlock(row["first"], row["last"], b64decode(row["root"]), b64decode(row["hash"])))
    for row in rows["fact"]:
        if row["shard"] == shard:
            walk.fact(row["position"], row_of(row), b64decode(row["leaf"]))
    return walk.end(heads[0]["last"], b64decode(heads[0]["hash"])) if heads else walk.end(0, bytes(32))


def test_a_note_that_covers_other_blocks_than_the_chain_has_is_named_once() -> None:
    chain, other = ChainCheck({31: 9}), SignedShard(4, b"4" * 32, root_over([leaf_of(b"4" * 32)]))
    right = SignedShard(9, b"9" * 32, root_over([leaf_of(b"9" * 32)]))
    at = datetime(2026, 11, 23, 10, tzinfo=UTC)

    spans = chain.expect([Growth("checkpoint 1", at, 31, other), Growth("checkpoint 2", at, 31, right)])
    for last, link in ((2, b"2" * 32), (4, b"4" * 32), (9, b"9" * 32)):
        chain.block(31, last, link)
    chain.end()

    assert spans == {31: (0, 9)}
    assert chain.problems == [
        LogProblem(
            "31:1 to 31:4",
            "something here was rewritten after it was signed by checkpoint 1 of 2026-11-23 10:00:00 UTC",
        )
    ]


def begins(place: str) -> str:
    """Where a place begins."""
    return place.partition(" to ")[0]


@pytest.mark.parametrize("name", LOGS)
def test_whatever_is_done_to_a_log_ours_and_the_single_file_name_the_same_place(name: str) -> None:
    document = read(name)
    keys = [creditwell_verify.public_key(document["public_key"])]
    theirs = list(creditwell_verify.verify_log(document["lines"], keys, document["anchors"]))

    assert [begins(problem.place) for problem in ours(document)][:1] == [document["finding"]] * bool(
        document["finding"]
    )
    assert [begins(problem.place) for problem in theirs][:1] == [document["finding"]] * bool(document["finding"])


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_holds_for_ours_and_for_the_single_file_or_for_neither(name: str) -> None:
    document = read(name)

    signer, problem = check_proof(document["proof"], [parse_public_key(document["public_key"])])

    assert (problem is None) == (document["finding"] is None)
    assert signer == (document["public_key"] if problem is None else None)
    keys = [creditwell_verify.public_key(document["public_key"])]
    if document["finding"] is None:
        assert "is in creditwell/7f9c" in creditwell_verify.verify_proof(document["proof"], keys)
    else:
        with pytest.raises((creditwell_verify.Discrepancy, KeyError)):
            creditwell_verify.verify_proof(document["proof"], keys)


@pytest.mark.parametrize(
    "proof", [None, [], {}, {"fact": None}, {"format": "creditwell proof 1", "fact": {"shard": "x", "position": 2**80}}]
)
def test_what_is_no_proof_is_said_to_be_none(proof: Any) -> None:
    signer, problem = check_proof(proof, [])

    assert signer is None
    assert problem is not None


@pytest.mark.parametrize("name", ["log-honest", "log-changed-body", "proof", "proof-of-another-body"])
def test_the_single_file_is_a_program_with_an_exit_code(name: str, tmp_path: Any, capsys: Any) -> None:
    document = read(name)
    file = tmp_path / ("proof.json" if "proof" in document else "log.jsonl")
    lines = [document["proof"]] if "proof" in document else document["lines"]
    file.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    for anchor, text in document.get("anchors", {}).items():
        (tmp_path / anchor).write_text(text, "utf-8")

    code = creditwell_verify.main(["--public-key", document["public_key"], "--anchors", str(tmp_path), str(file)])

    assert code == (0 if document["finding"] is None else 1)
    assert ("31:10" in capsys.readouterr().out) == (name != "log-honest")


def test_a_proof_has_at_most_four_kilobytes_at_the_worst() -> None:
    """Twelve levels within a block, twelve among the blocks of a minute, 24 among notes: 500 years of them."""
    proof = read("proof")["proof"]
    hashes = "A" * (4 * 32 // 3 + 1)
    proof["block"]["path"] = proof["shard"]["blocks"] = hashes * 12
    proof["note"]["path"] = hashes * 24

    assert len(json.dumps(proof, ensure_ascii=False).encode()) <= 4_096
