"""Trees that grow, how far may be signed, and how much a verdict rests on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.notes.published import PATIENCE_SECONDS, Bounds, Waiting
from services.audit.notes.tree import (
    EMPTY_ROOT,
    Frontier,
    LeafSpan,
    Node,
    consistency,
    inclusion,
    is_consistent,
    path_in,
    root_of,
    root_of_path,
    root_over,
)
from services.audit.verdict import Verified, Witnessed, what_is_missing
from services.store.proofs import leaf_of

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
MAX_UNSIGNED = timedelta(minutes=10)
LEAVES = [leaf_of(bytes([number])) for number in range(70)]

# RFC 6962 has no test vectors; these are those of Certificate Transparency's own implementations: the leaves are
# "", 00, 10, 2021, 3031, 40414243, and so on.
CT_LEAVES = [
    leaf_of(bytes.fromhex(text))
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
    )
]  # fmt: skip
CT_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def stored(size: int) -> dict[Node, bytes]:
    """What a log of this size keeps: with each leaf the nodes that it completes."""
    frontier, hashes = Frontier(), {}
    for number, leaf in enumerate(LEAVES[:size]):
        for level, node in enumerate(frontier.append(leaf)):
            hashes[Node(level, number >> level)] = node
            assert Node(level, number >> level).completed_by == number + 1
    return hashes


@pytest.mark.parametrize("size", CT_ROOTS)
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    frontier = Frontier()
    for leaf in CT_LEAVES[:size]:
        frontier.append(leaf)

    assert frontier.root.hex() == CT_ROOTS[size]
    assert root_over(CT_LEAVES[:size]).hex() == CT_ROOTS[size]


def test_the_root_over_nothing_is_the_hash_of_nothing() -> None:
    assert Frontier().root == root_over([]) == EMPTY_ROOT


@given(st.integers(1, 70), st.data())
def test_every_leaf_is_proved_from_what_is_stored_and_in_no_other_place(size: int, data: st.DataObject) -> None:
    hashes, index = stored(size), data.draw(st.integers(0, size - 1))
    path = [root_of(span, hashes) for span in inclusion(index, size)]
    root = root_of(LeafSpan(0, size), hashes)

    assert path == path_in(LEAVES[:size], index)
    assert root == root_over(LEAVES[:size]) == root_of_path(LEAVES[index], index, size, path)
    other = data.draw(st.integers(0, size - 1).filter(lambda other: other != index)) if size > 1 else None
    if other is not None and len(inclusion(other, size)) == len(path):
        assert root_of_path(LEAVES[index], other, size, path) != root
    with pytest.raises(ValueError, match="hashes, not"):
        root_of_path(LEAVES[index], index, size, [*path, EMPTY_ROOT])
    with pytest.raises(ValueError, match="has no leaf"):
        root_of_path(LEAVES[index], size, size, path)


@given(st.integers(1, 70), st.data())
def test_any_two_sizes_have_a_proof_and_none_for_another_past(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    hashes = stored(new)
    path = [root_of(span, hashes) for span in consistency(old, new)]
    older, newer = root_over(LEAVES[:old]), root_over(LEAVES[:new])

    assert is_consistent(old, older, new, newer, path)
    assert not is_consistent(old, EMPTY_ROOT, new, newer, path)
    assert not is_consistent(old, older, new, EMPTY_ROOT, path)
    assert not is_consistent(old, older, new, newer, [*path, EMPTY_ROOT])
    for place in range(len(path)):
        assert not is_consistent(old, older, new, newer, [*path[:place], EMPTY_ROOT, *path[place + 1 :]])
    assert not is_consistent(new + 1, older, new, newer, path)
    assert not is_consistent(0, EMPTY_ROOT, new, newer, path)


def test_a_shard_is_held_back_at_what_was_published_until_the_relay_stands_still_for_five_minutes() -> None:
    waiting, heads = Waiting(), {1: 10, 2: 5}

    assert waiting.bounds(heads, {1: 8, 2: 5}, 0.0) == Bounds({1: 8, 2: 5})
    assert not waiting.bounds(heads, {1: 9, 2: 5}, PATIENCE_SECONDS).beyond  # it moved
    assert not waiting.bounds({1: 99, 2: 6}, {1: 9, 2: 5}, 2 * PATIENCE_SECONDS - 1.0).beyond
    later = waiting.bounds({1: 99, 2: 6}, {1: 9, 2: 5}, 2.0 * PATIENCE_SECONDS)
    assert later.beyond == {1}
    assert [later.holds(1, 99), later.holds(2, 6), later.holds(2, 5)] == [False, True, False]
    assert not waiting.bounds({1: 99}, {1: 99}, 3.0 * PATIENCE_SECONDS).beyond
    assert not waiting.bounds({1: 100}, {1: 99}, 4.0 * PATIENCE_SECONDS).beyond  # it waits anew


def test_where_no_relay_has_ever_been_nothing_is_published() -> None:
    assert Waiting().bounds({1: 3}, {}, 0.0).holds(1, 3)


def missing(verified: Verified, *, anchors_wanted: bool = False) -> list[str]:
    return [problem.place for problem in what_is_missing(verified, NOW, MAX_UNSIGNED, anchors_wanted=anchors_wanted)]


def test_a_verdict_wants_a_key_a_note_and_an_anchor_that_are_not_too_old() -> None:
    late, early = NOW - MAX_UNSIGNED, NOW - MAX_UNSIGNED - timedelta(seconds=1)

    assert missing(Verified(facts=1), anchors_wanted=True) == ["signatures", "checkpoints", "anchors"]
    assert missing(Verified(facts=1, signatures_checked=True, signed_at=late)) == []
    assert missing(Verified(facts=1, signatures_checked=True, signed_at=early)) == ["checkpoints"]
    signed = Verified(facts=1, signatures_checked=True, signed_at=late, anchored_at=early)
    assert missing(signed, anchors_wanted=True) == ["anchors"]
    assert missing(Verified(signatures_checked=True), anchors_wanted=True) == []  # an empty log has nothing to show


def test_a_witness_that_was_asked_for_has_given_its_word_on_an_anchor_that_is_not_too_old() -> None:
    late, early = NOW - MAX_UNSIGNED, NOW - MAX_UNSIGNED - timedelta(seconds=1)
    signed = Verified(facts=1, signatures_checked=True, signed_at=late, anchored_at=late)

    assert missing(replace(signed, witnesses={"w": None})) == ["w"]
    assert missing(replace(signed, witnesses={"w": Witnessed(late, late)})) == []
    assert missing(replace(signed, witnesses={"w": Witnessed(early, late)})) == ["w"]
    assert missing(replace(signed, witnesses={"w": Witnessed(NOW, early)})) == ["w"]  # a new word on an old anchor


def test_the_verdict_says_how_much_it_rests_on() -> None:
    assert Verified().basis == "consistent with itself"
    assert Verified(signed_by="creditwell/x+1+y").basis == "signed by creditwell/x+1+y"
    seen = Verified(anchored_at=NOW, witnesses={"w": Witnessed(NOW + MAX_UNSIGNED, NOW), "v": None})
    assert seen.basis == "anchored outside, newest at 2026-11-23 10:00:00 UTC; by w, newest at 2026-11-23 10:10:00 UTC"
    assert Verified(signed_by="k", anchored_at=NOW).basis == "anchored outside, newest at 2026-11-23 10:00:00 UTC"
