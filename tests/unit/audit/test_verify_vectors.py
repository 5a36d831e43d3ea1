"""Fixed vectors, worked out by hand from the description: whoever writes a verifier of their own can test it with these.

And the walk over a shard, told with facts and blocks that never saw a database.
"""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.audit.anchors import note_of, parse_anchor, text_of_anchor
from services.audit.checkpoints import (
    Checkpoint,
    NoteInvalid,
    base64_of,
    key_id,
    new_key_pair,
    parse,
    parse_public_key,
    parse_signing_key,
    sign,
    signer_of,
    verifier_key,
)
from services.audit.notes.tree import EMPTY_ROOT, root_over
from services.audit.notes.vectors import ShardTree, SignedShard, Vector, line_of, parse_line
from services.audit.sign_log import Signed
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
LINE = "31 20419 nTwKyaXt341egjrWfDZ1AIwqOg8fyuSevXxkJsot1Ps= ozOGMNX2ws6LtHV/051gnAAFR3HlvWRBm4KUBZXLUkA="
LEAF_TEXT = """\
time 2026-11-23T10:15:30.123456Z
shards JW/JQ7uFs3dmAkWs9+Jt5gmUIaGddKW56fgYkThQgqc=
"""
NOTE = """\
creditwell/7f9c
1
vYFsjuri2c+lIPdT+dWYFufWCHnkhFMYDbswEjFpUY4=

— creditwell/7f9c 2EXqYzgtgr6LIIUA7jB+hmoDOFk0ZDHp5WiXMzf6llnddRDKQ782s/SV+LqruNFXHau7ppdBfWI9htnc/xz2t+uuMg0=
"""


def vector() -> Vector:
    signed = SignedShard(20419, bytes.fromhex(BLOCK), root_over([leaf_of(bytes.fromhex(BLOCK))]))
    return Vector(RECORDED, shards={31: signed})


def checkpoint_of(of: Vector) -> Checkpoint:
    return Checkpoint("creditwell/7f9c", 1, of.leaf_hash)


def test_leaf_root_and_block_are_those_of_the_vectors() -> None:
    row = pack_place(31, 20418, microseconds(RECORDED)) + pack_known(
        OCCURRED, "team_42", "/features/video", "0198c1f2-ä", "usage.recorded.v1", BODY
    )
    root = merkle_root([leaf_of(row), leaf_of(b"second")])

    assert leaf_of(row).hex() == LEAF
    assert root.hex() == ROOT
    assert block_hash(31, 20418, 20419, GENESIS, root).hex() == BLOCK


def test_line_leaf_and_note_are_those_of_the_vectors_to_the_byte() -> None:
    assert line_of(31, vector().shards[31]) == LINE
    assert parse_line(LINE) == (31, vector().shards[31])
    assert vector().leaf == LEAF_TEXT
    assert sign(checkpoint_of(vector()), parse_signing_key(KEY)) == NOTE
    assert parse(NOTE) == checkpoint_of(vector())


def test_an_anchor_holds_vector_proof_and_note_and_is_read_back() -> None:
    anchor = text_of_anchor(Signed(checkpoint_of(vector()), vector(), NOTE), [])

    assert anchor == (
        f"creditwell anchor 1\ntime 2026-11-23T10:15:30.123456Z\nshard {LINE}\n\nc2sp.org/tlog-proof@v1\nindex 0\n\n{NOTE}"
    )
    assert note_of(anchor) == NOTE
    assert parse_anchor(anchor) == Signed(checkpoint_of(vector()), vector(), NOTE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("anchor 1", "anchor 2"),
        ("time 2026", "time 2025"),
        ("time 2026", "time 2026-13"),
        ("shard 31 20419", "shard 31 20420"),
        ("shard 31", "shard 64"),
        ("shard 31", "shard 031"),
        ("shard 31", "chard 31"),
        ("index 0", "index 1"),
        ("\n\nc2sp", "\nunpublished\n\nc2sp"),
        ("123456Z\n", "123456Z\nunpublished\n"),
    ],
)
def test_an_anchor_that_is_not_what_its_note_signs_is_none(old: str, new: str) -> None:
    anchor = text_of_anchor(Signed(checkpoint_of(vector()), vector(), NOTE), [])
    assert old in anchor

    with pytest.raises(NoteInvalid):
        parse_anchor(anchor.replace(old, new, 1))


def test_the_tree_over_the_shards_is_the_same_whichever_way_it_grew() -> None:
    one, other = SignedShard(1, b"1" * 32, EMPTY_ROOT), SignedShard(9, b"9" * 32, EMPTY_ROOT)
    grown = ShardTree({5: one})
    grown.set(63, one)
    grown.set(5, other)
    made = ShardTree({5: other, 63: one})

    assert grown.root == made.root == root_over(made._levels[0])
    assert grown.root != ShardTree({5: one, 63: one}).root


@pytest.mark.parametrize("public", [PUBLIC, VERIFIER])
def test_a_signature_is_checked_with_either_form_of_the_public_key(public: str) -> None:
    key = parse_public_key(public)

    assert signer_of(NOTE, [key]) == verifier_key("creditwell/7f9c", key) == VERIFIER
    assert signer_of(NOTE, [Ed25519PrivateKey.generate().public_key()]) is None
    assert signer_of(NOTE, []) is None


def test_a_signature_in_the_name_of_another_log_counts_for_nothing() -> None:
    key, name = parse_signing_key(KEY), "creditwell/other"
    text = NOTE.partition("\n\n")[0]
    signature = base64_of(key_id(name, key.public_key()) + key.sign(f"{text}\n".encode()))

    assert signer_of(f"{text}\n\n— {name} {signature}\n", [key.public_key()]) is None


def test_signatures_of_others_beside_ours_are_ignored() -> None:
    """A witness may sign a note, too (C2SP): unknown signatures are passed over, whatever they look like."""
    witnessed = NOTE + "— witness.example/w1 AAAA\n— creditwell/7f9c not-base64!\n"

    assert signer_of(witnessed, [parse_public_key(PUBLIC)]) == VERIFIER


@given(st.integers(0, len(NOTE.rpartition("\n\n")[0]) - 1), st.characters(exclude_categories=["Cs"]))
def test_whatever_is_changed_in_the_text_of_a_note_it_is_no_longer_ours(place: int, other: str) -> None:
    changed = NOTE[:place] + other + NOTE[place + 1 :]

    assert (changed == NOTE) == (signer_of(changed, [parse_public_key(PUBLIC)]) is not None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n1\n", "\n01\n"),
        ("\n1\n", "\n0\n"),
        ("\n1\n", "\none\n"),
        ("\n1\n", "\n1\nextension\n"),
        ("=\n\n", "\n\n"),
        ("\n\n—", "\n—"),
        ("creditwell/7f9c", ""),
    ],
)
def test_a_text_that_does_not_hold_together_is_no_note(old: str, new: str) -> None:
    assert old in NOTE

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

    checkpoint = Checkpoint("creditwell/x", 1, GENESIS)
    assert signer_of(sign(checkpoint, parse_signing_key(secret)), [parse_public_key(public)])


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
