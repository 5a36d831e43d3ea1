"""An amendment is two facts, and goes out in one batch: whatever dies, Kafka never has one half alone."""

from datetime import UTC, datetime
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as some

from schemas.facts import AMENDMENTS, Stored
from services.publishing.batches import BATCH_BYTES, Batches, Origin, fill

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Producer:
    """What makes batches, and sends none."""

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(BATCH_BYTES, 0)


def log(amends: list[bool], body: bytes) -> list[Stored]:
    """A shard's facts: single usages, and amendments of two."""
    sources = [source for amend in amends for source in ([AMENDMENTS, "/f"] if amend else ["/f"])]
    return [
        Stored(7, position, AT, AT, "team", source, str(position), "usage.recorded.v1", body)
        for position, source in enumerate(sources, 1)
    ]


def rounds(facts: list[Stored], most: int) -> list[int]:
    """Where each round of at most so many facts ends."""
    reached, ends = 0, []
    while reached < len(facts):
        read = facts[reached : reached + most]
        batches = Batches(cast("AIOKafkaProducer", cast("Any", Producer())), "events", 1)
        reached = fill(batches, {7: read}, Origin("log", 1, {7: [(1, len(facts))]}))[7]
        ends.append(reached)
    return ends


@given(some.lists(some.booleans(), min_size=1, max_size=30), some.integers(2, 7))
def test_no_round_ends_within_an_amendment(amends: list[bool], most: int) -> None:
    facts = log(amends, b"{}")

    assert not any(facts[end - 1].source == AMENDMENTS for end in rounds(facts, most))


def test_no_batch_that_is_full_ends_within_an_amendment() -> None:
    facts = log([False, *[True] * 99], b'{"reason":"%s"}' % (b"x" * 20_000))

    ends = rounds(facts, len(facts))

    assert len(ends) > 1
    assert not any(facts[end - 1].source == AMENDMENTS for end in ends)
