"""Each record that the relay sends names the block of its fact."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as some

from schemas.facts import Stored
from services.publishing.batches import ORIGIN, Origin

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


@given(some.lists(some.integers(1, 4), min_size=1, max_size=8), some.data())
def test_a_fact_names_its_own_block_wherever_a_round_begins_and_ends(lengths: list[int], data: some.DataObject) -> None:
    ends = [sum(lengths[:count]) for count in range(1, len(lengths) + 1)]
    blocks = [(end - length + 1, end) for length, end in zip(lengths, ends, strict=True)]
    first = data.draw(some.integers(1, ends[-1]))
    last = data.draw(some.integers(first, ends[-1]))
    read = [Stored(7, position, AT, AT, "team", "source", "id", "type", b"") for position in range(first, last + 1)]
    around = [block for block in blocks if block[1] >= first and block[0] <= last]  # as the relay reads them

    told = [dict(headers)[ORIGIN].decode() for headers in Origin("log", 3, {7: around}).headers(read)]

    expected = [next(block for block in blocks if block[0] <= stored.position <= block[1]) for stored in read]
    assert told == [f"log 3 {begin} {end}" for begin, end in expected]
