"""Which lost facts can come back: all of a shard's, in whole blocks, and with the hashes that they had."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from schemas.credits import MICRO
from schemas.facts import AMENDMENTS, CreditsGranted, Stored
from services.publishing.batches import ORIGIN, Origin, cloud_event
from services.publishing.beyond import Published, read_published
from services.recovery.tail import Head, tails_of
from services.store.proofs import GENESIS, block_hash, merkle_root
from services.store.shards import shard_of

TEAM = "team_1"
SHARD = shard_of(TEAM)
AT = datetime(2026, 5, 1, 12, 0, 0, 123, tzinfo=UTC)
HEAD = Head(4, bytes(32), AT)
BODY = CreditsGranted(credits=MICRO, reason="a gift", granted_by="me").body()


class Record:
    """Of Kafka."""

    def __init__(self, stored: Stored, origin: bytes) -> None:
        self.value = cloud_event(stored)
        self.headers: list[tuple[str, bytes | None]] = [(ORIGIN, origin)]


def a_fact(
    position: int,
    *,
    at: datetime = AT,
    team: str = TEAM,
    body: bytes = BODY,
    shard: int = SHARD,
    source: str = "creditwell:test",
) -> Stored:
    return Stored(shard, position, at, at, team, source, f"g{position}", "credits.granted.v1", body)


def lost(*published: Published) -> dict[tuple[int, int], list[Published]]:
    places: dict[tuple[int, int], list[Published]] = {}
    for one in published:
        places.setdefault((one.stored.shard, one.stored.position), []).append(one)
    return places


def whole() -> list[Published]:
    """Two blocks: 5 to 6, and 7."""
    return [
        Published(a_fact(5), 1, 5, 6),
        Published(a_fact(6), 1, 5, 6),
        Published(a_fact(7, at=AT + timedelta(seconds=1)), 1, 7, 7),
    ]


def test_facts_come_back_in_the_blocks_that_they_were_part_of() -> None:
    tails, wrong = tails_of(lost(*whole()), {SHARD: HEAD})

    (tail,) = tails.values()
    assert wrong == []
    assert [(first, last) for _, first, last, _, _ in tail.blocks] == [(5, 6), (7, 7)]
    root = merkle_root(tail.leaves[:2])
    first = block_hash(SHARD, 5, 6, GENESIS, root)
    assert tail.blocks[0] == (SHARD, 5, 6, root, first)
    assert tail.head == Head(7, block_hash(SHARD, 7, 7, first, tail.leaves[2]), AT + timedelta(seconds=1))


def test_the_last_block_may_have_been_published_in_part() -> None:
    tails, wrong = tails_of(lost(Published(a_fact(5), 1, 5, 9), Published(a_fact(6), 1, 5, 9)), {SHARD: HEAD})

    assert (wrong, [block[1:3] for block in tails[SHARD].blocks]) == ([], [(5, 6)])


WRONG: dict[str, tuple[Callable[[], list[Published]], str]] = {
    "a gap behind the head": (lambda: whole()[1:], f"{SHARD}:5 is not in the topic"),
    "a gap within": (lambda: [whole()[0], whole()[2]], f"{SHARD}:6 is not in the topic"),
    "a block in the middle that is not whole": (
        lambda: [Published(a_fact(5), 1, 5, 6), Published(a_fact(6), 1, 6, 6)], "is not whole",
    ),
    "a block that begins before the head": (lambda: [Published(a_fact(5), 1, 4, 5)], "is not whole"),
    "a block of two times": (
        lambda: [Published(a_fact(5), 1, 5, 6), Published(a_fact(6, at=AT + timedelta(seconds=1)), 1, 5, 6)],
        "facts of different times",
    ),
    "two facts of one position": (
        lambda: [*whole(), Published(a_fact(5, body=BODY.replace(b"a gift", b"a loan")), 1, 5, 6)], "with different contents",
    ),
    "a time before the head's": (
        lambda: [Published(a_fact(5, at=AT - timedelta(seconds=1)), 1, 5, 5)], "was recorded before",
    ),
    "a team of another shard": (lambda: [Published(a_fact(5, team="team_2"), 1, 5, 5)], "is not of this shard"),
    "a body that is none": (lambda: [Published(a_fact(5, body=b"{}"), 1, 5, 5)], "can't be read"),
    "an end within an amendment": (
        lambda: [Published(a_fact(5), 1, 5, 7), Published(a_fact(6, source=AMENDMENTS), 1, 5, 7)], "what replaces it is not",
    ),
    "no such shard": (lambda: [Published(a_fact(5, shard=99), 1, 5, 5)], "there is no shard 99"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_in_the_way_is_named_and_nothing_of_the_shard_comes_back(name: str) -> None:
    published, sentence = WRONG[name]

    tails, wrong = tails_of(lost(*published()), {SHARD: HEAD})

    assert tails == {}
    assert any(sentence in one for one in wrong), wrong


def test_a_record_is_of_this_log_only_byte_for_byte() -> None:
    stored, origin = a_fact(6), Origin("log-a", 3, {SHARD: [(1, 4), (5, 9)]})
    record = Record(stored, dict(next(origin.headers([stored])))[ORIGIN])

    assert read_published(record, "log-a") == Published(stored, 3, 5, 9)
    assert read_published(record, "log-b") is None
    for spoiled in (record.value + b" ", record.value.replace(b'"position":6', b'"position": 6'), b"", b"[]", b"\xff"):
        record.value = spoiled
        assert read_published(record, "log-a") is None
    record = Record(stored, b"log-a 3 7 9")  # a block that it is not in
    assert read_published(record, "log-a") is None
    record = Record(stored, b"log-a three 5 9")
    assert read_published(record, "log-a") is None


@pytest.mark.parametrize(
    ("shard", "position"), [(64, 6), (40_000, 6), (-1, 6), (SHARD, 0), (SHARD, -6), (SHARD, 2**63), (10**30, 10**30)]
)
def test_what_strangers_write_beside_the_facts_is_nobodys_and_stops_nobody(shard: int, position: int) -> None:
    stored = a_fact(position, shard=shard)
    record = Record(stored, f"log-a 3 {position} {position}".encode())
    assert read_published(record, "log-a") is None
    for value in (b"[" * 100_000, b'{"a":' * 50_000 + b',"data":{}}', b"\0" * 1_000, b""):
        record.value = value
        assert read_published(record, "log-a") is None
    record.headers = [(name, None) for name, _ in record.headers]
    assert read_published(record, "log-a") is None
