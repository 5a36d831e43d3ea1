"""How much of what a recorder has in hand goes into one transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime

from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from services.usage.batches import BATCH_MAX, ParsedRecord, ParsedRun, next_runs, parse, steps
from services.usage.partitions import Owned
from services.usage.refusals import RefusedRecord
from tests.support.usage import structured, used, voided

FIRST, SECOND = Owned(0, 1, 0, 0), Owned(1, 7, 0, 0)


def run(owned: Owned, count: int) -> ParsedRun:
    """Records of a partition that are all refused."""
    records = (ConsumerRecord("usage", owned.partition, n, 0, 0, None, b"", None, 0, 0, ()) for n in range(count))
    return ParsedRun(owned, [RefusedRecord(record, "not_json", "") for record in records], has_voids=False)


def records(runs: Sequence[ParsedRun]) -> list[ParsedRecord]:
    return [parsed for one in runs for parsed in one.parsed]


def test_where_nobody_waits_everything_in_hand_is_stored_at_once() -> None:
    in_hand = [run(FIRST, 3), run(SECOND, 3)]

    assert next_runs(in_hand, BATCH_MAX) == (in_hand, [])


def test_where_somebody_has_waited_one_partition_is_stored_after_the_other_so_that_few_shards_are_locked() -> None:
    in_hand = [run(FIRST, 3), run(SECOND, 3)]

    assert next_runs(in_hand, 200) == (in_hand[:1], in_hand[1:])
    assert next_runs(in_hand[1:], 200) == (in_hand[1:], [])


def test_no_more_is_stored_at_once_than_fits_the_time_that_others_wait() -> None:
    first, rest = next_runs([run(FIRST, 500), run(SECOND, 1)], 200)

    assert [len(one.parsed) for one in first] == [200]
    assert [len(one.parsed) for one in rest] == [300, 1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 20) | st.just(BATCH_MAX))
def test_nothing_is_lost_or_moved_between_transactions(counts: list[int], most: int) -> None:
    in_hand = rest = [run(Owned(partition, 1, 0, 0), count) for partition, count in enumerate(counts)]
    stored: list[ParsedRecord] = []
    while rest:
        taken, rest = next_runs(rest, most)
        assert 0 < len(records(taken)) <= most
        stored += records(taken)

    assert stored == records(in_hand)


async def test_a_void_waits_for_the_transaction_after_the_usage_that_it_takes_back() -> None:
    messages = [used("t", "a"), used("t", "b"), structured(voided("t", "v", of="a")), used("t", "c")]
    in_kafka = [
        ConsumerRecord("usage", 1, offset, 0, 0, message.key, message.value, None, 0, 0, ())
        for offset, message in enumerate(messages)
    ]
    (in_hand,) = await parse([(SECOND, in_kafka)])

    first, rest = next_runs([run(FIRST, 2), in_hand], BATCH_MAX)

    assert [len(one.parsed) for one in first] == [2, 2]
    assert next_runs(rest, BATCH_MAX) == (rest, [])


def test_a_cursor_moves_behind_the_last_record_of_its_partition() -> None:
    moved = steps([run(SECOND, 2), run(FIRST, 5)], datetime.now(UTC))

    assert [(step.partition, step.epoch, step.from_offset, step.to_offset) for step in moved] == [
        (0, 1, 0, 5),
        (1, 7, 0, 2),
    ]
