"""A round of the relay is shared out by what each shard needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.publishing.batches import shares


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ({7: 10_000}, {7: 4_000}),
        ({0: 10_000, 1: 3}, {0: 3_997, 1: 3}),
        ({0: 5_000, 1: 5_000}, {0: 2_000, 1: 2_000}),
        (dict.fromkeys(range(64), 10_000), dict.fromkeys(range(64), 62) | dict.fromkeys(range(32, 64), 63)),
        (dict.fromkeys(range(63), 1) | {63: 100_000}, dict.fromkeys(range(63), 1) | {63: 3_937}),
    ],
)
def test_whoever_needs_little_leaves_the_rest_to_the_others(behind: dict[int, int], expected: dict[int, int]) -> None:
    assert shares(behind, 4_000) == expected


@given(some.dictionaries(some.integers(0, 63), some.integers(1, 10_000), min_size=1), some.integers(64, 4_000))
def test_a_round_is_full_where_there_is_enough_and_nobody_gets_more_than_they_need(
    behind: dict[int, int], most: int
) -> None:
    given = shares(behind, most)

    assert sum(given.values()) == min(most, sum(behind.values()))
    assert all(1 <= given[shard] <= behind[shard] for shard in behind)
