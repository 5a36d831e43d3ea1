"""Fixed vectors, worked out by hand from the description: whoever writes a verifier of their own can test it with these.

And the walk over a shard, told with facts and blocks that never saw a database.
"""

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.audit.checkpoints import (
    Checkpoint,
    NoteInvalid,
    ShardHead,
    new_key_pair,
    note_hash,
    parse,
    parse_public_key,
    parse_signing_key,
    sign,
    signature_fits,
    verifier_key,
)
from services.audit.walk import Finding, StoredBlock, Walk
from services.store.copying import microseconds
from services.store.proofs import GENESIS, block_hash, leaf_of, merkle_root, pack_known, pack_place

RECORDED = datetime(2026, 11, 23, 10, 15, 30, 123456, tzinfo=UTC)
OCCURRED = datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)  # before the epoch of 2000: negative microseconds
BODY = b'{"feature":"ai_video.generate","quantity":"12.5","credits":25000000,"rate_card":1}'

LEAF = "49e45121d0961a12d24deae1766f1789535f9487388e660e329f421f7cc975a5"
ROOT = "bd7b63b58a44d81dd2b11de8b5d47aab8248885216640abc17a3b76aee50cdcb"  # with a second leaf, SHA-256(0x00, "second")
BLOCK = (
    "9d3c0ac9a5eddf8d5e823ad67c3675008c2a3a0f1fcae49ebd7c6426ca2dd4fb"  # 31:20418 to 31:20419, the first of its shard
)
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PUBLIC = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
VERIFIER = "creditwell/7f9c+d845ea63+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
NOTE = """\
creditwell/7f9c
20419
3ZfE4l8UwYtDwgTYKVu2+ZhJxs84vodXBEiv340+XGM=
time 2026-11-23T10:15:30.123456Z
previous AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
shard 31 20419 nTwKyaXt341egjrWfDZ1AIwqOg8fyuSevXxkJsot1Ps=

— creditwell/7f9c 2EXqYwlulZf9yv/cLc743lq6ZDBPIzY+rdbSnV14Z/7uilgeJl2YQ1ein0Gj+5tXRxTXJKjHp93Cv+2T5viBQQqIVww=
"""


def test_leaf_root_and_block_are_those_of_the_vectors() -> None:
    row = pack_place(31, 20418, microseconds(RECORDED)) + pack_known(
        OCCURRED, "team_42", "/features/video", "0198c1f2-ä", "usage.recorded.v1", BODY
    )
    root = merkle_root([leaf_of(row), leaf_of(b"second")])

    assert leaf_of(row).hex() == LEAF
    assert root.hex() == ROOT
    assert block_hash(31, 20418, 20419, GENESIS, root).hex() == BLOCK


def test_a_note_is_that_of_the_vectors_to_the_byte() -> None:
    checkpoint = Checkpoint("creditwell/7f9c", RECORDED, GENESIS, {31: ShardHead(20419, bytes.fromhex(BLOCK))})

    assert sign(checkpoint, parse_signing_key(KEY)) == NOTE
    assert parse(NOTE) == checkpoint
    assert note_hash(NOTE) == sha256(NOTE.encode()).digest()


@pytest.mark.parametrize("public", [PUBLIC, VERIFIER])
def test_a_signature_is_checked_with_either_form_of_the_public_key(public: str) -> None:
    key = parse_public_key(public)

    assert signature_fits(NOTE, [key])
    assert verifier_key("creditwell/7f9c", key) == VERIFIER
    assert not signature_fits(NOTE, [Ed25519PrivateKey.generate().public_key()])
    assert not signature_fits(NOTE, [])


def test_signatures_of_others_beside_ours_are_ignored() -> None:
    """A witness may sign a note, too (C2SP): unknown signatures are passed over, whatever they look like."""
    witnessed = NOTE + "— witness.example/w1 AAAA\n— creditwell/7f9c not-base64!\n"

    assert signature_fits(witnessed, [parse_public_key(PUBLIC)])


@given(st.integers(0, len(NOTE.rpartition("\n\n")[0]) - 1), st.characters(exclude_categories=["Cs"]))
def test_whatever_is_changed_in_the_text_of_a_note_it_is_no_longer_ours(place: int, other: str) -> None:
    changed = NOTE[:place] + other + NOTE[place + 1 :]

    assert (changed == NOTE) == signature_fits(changed, [parse_public_key(PUBLIC)])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n20419\n", "\n20418\n"),
        ("shard 31 20419", "shard 31 20420"),
        ("shard 31", "shard 64"),
        ("3ZfE", "AZfE"),
        ("time 2026", "time 2027-13"),
        ("previous AAAA", "previous "),
        ("\n\n—", "\n—"),
        ("shard", "chard"),
    ],
)
def test_a_text_that_does_not_hold_together_is_no_note(old: str, new: str) -> None:
    with pytest.raises(NoteInvalid):
        parse(NOTE.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "short", "A" * 43, "ä" * 44, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ=="])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes in base64") as refused:
        parse_signing_key(text)
    assert not text or text not in str(refused.value)
    with pytest.raises(ValueError, match="not an Ed25519 public key"):
        parse_public_key(text)


def test_a_new_key_pair_belongs_together() -> None:
    secret, public = new_key_pair()

    checkpoint = Checkpoint("creditwell/x", RECORDED, GENESIS)
    assert signature_fits(sign(checkpoint, parse_signing_key(secret)), [parse_public_key(public)])


Told = tuple[int, bytes]


def shard_of_blocks(sizes: list[int]) -> tuple[list[Told], list[StoredBlock]]:
    """The packed facts of shard 7 in blocks of these sizes."""
    facts: list[Told] = []
    blocks: list[StoredBlock] = []
    before = GENESIS
    for size in sizes:
        first = len(facts) + 1
        some = [
            (p, pack_place(7, p, 0) + pack_known(OCCURRED, "t", "s", f"{p}", "x", b""))
            for p in range(first, first + size)
        ]
        root = merkle_root([leaf_of(row) for _, row in some])
        before = block_hash(7, first, first + size - 1, before, root)
        facts += some
        blocks.append(StoredBlock(first, first + size - 1, root, before))
    return facts, blocks


def walk(
    facts: list[Told], blocks: list[StoredBlock], leaves: dict[int, bytes], last: int, head: bytes
) -> list[Finding]:
    walked = Walk(7)
    for block in blocks:
        walked.block(block)
    for position, row in facts:
        walked.fact(position, row, leaves[position])
    return walked.end(last, head)


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=8)


@given(SIZES)
def test_an_honest_shard_has_no_finding(sizes: list[int]) -> None:
    facts, blocks = shard_of_blocks(sizes)

    assert walk(facts, blocks, {p: leaf_of(row) for p, row in facts}, len(facts), blocks[-1].hash) == []


@given(SIZES, st.data())
def test_whichever_bit_of_a_shard_is_flipped_the_place_is_named(sizes: list[int], data: st.DataObject) -> None:
    facts, blocks = shard_of_blocks(sizes)
    leaves = {position: leaf_of(row) for position, row in facts}
    head = blocks[-1].hash
    what = data.draw(st.sampled_from(["row", "leaf", "root", "hash", "head"]))
    at = data.draw(st.integers(0, (len(facts) if what in ("row", "leaf") else len(blocks)) - 1))
    if what == "row":
        place = facts[at][0]
        facts[at] = (place, facts[at][1][:-1] + b"\x01")  # the last byte of the length of the body
    elif what == "leaf":
        place = facts[at][0]
        leaves[place] = flipped(leaves[place])
    elif what == "head":
        place, head = blocks[-1].first, flipped(head)
    else:
        place = blocks[at].first
        block = blocks[at]
        blocks[at] = (
            block._replace(root=flipped(block.root)) if what == "root" else block._replace(hash=flipped(block.hash))
        )

    findings = walk(facts, blocks, leaves, len(facts), head)

    assert findings
    assert any(finding.first <= place <= finding.last for finding in findings)


@given(SIZES, st.data())
def test_whichever_facts_are_taken_out_each_gap_is_named_and_nothing_else(
    sizes: list[int], data: st.DataObject
) -> None:
    facts, blocks = shard_of_blocks(sizes)
    leaves = {position: leaf_of(row) for position, row in facts}
    gone = data.draw(st.sets(st.sampled_from(sorted(leaves)), min_size=1))

    findings = walk([fact for fact in facts if fact[0] not in gone], blocks, leaves, len(facts), blocks[-1].hash)

    assert {position for finding in findings for position in range(finding.first, finding.last + 1)} == gone


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]
