"""How much of what a recorder has in hand goes into one transaction."""

from aiokafka import ConsumerRecord

from services.usage.batches import BATCH_MAX, ParsedRecord, next_items
from services.usage.partitions import Owned
from services.usage.refusals import RefusedRecord

FIRST, SECOND = Owned(0, 1, 0, 0), Owned(1, 1, 0, 0)


def items(owned: Owned, count: int) -> list[ParsedRecord]:
    """Records of a partition that are all refused."""
    return [
        ParsedRecord(
            owned,
            RefusedRecord(ConsumerRecord("usage", owned.partition, n, 0, 0, None, b"", None, 0, 0, ()), "not_json", ""),
        )
        for n in range(count)
    ]


def test_where_nobody_waits_everything_in_hand_is_stored_at_once() -> None:
    in_hand = items(FIRST, 3) + items(SECOND, 3)

    assert next_items(in_hand, BATCH_MAX) == in_hand


def test_where_somebody_has_waited_one_partition_is_stored_after_the_other_so_that_few_shards_are_locked() -> None:
    in_hand = items(FIRST, 3) + items(SECOND, 3)

    assert next_items(in_hand, 200) == in_hand[:3]
    assert next_items(in_hand[3:], 200) == in_hand[3:]


def test_no_more_is_stored_at_once_than_fits_the_time_that_others_wait() -> None:
    in_hand = items(FIRST, 500)

    assert next_items(in_hand, 200) == in_hand[:200]
