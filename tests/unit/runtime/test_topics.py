"""What differs of a topic, and who mends it, follows from what the brokers tell."""

from collections.abc import Mapping

import pytest

from schemas.topics import EVENTS, REFUSED, TOPICS, USAGE
from services.runtime.kafka.topics import Difference, Mend, Topic, configs_of, differences, is_usual, more_copies
from services.store.shards import SHARDS


def topic(
    name: str = USAGE,
    *,
    brokers: tuple[int, ...] = (1, 2, 3),
    in_sync: int | None = None,
    partitions: int = 64,
    **configs: str,
) -> Topic:
    """A topic whose partitions all lie on these brokers, as it must be but for the settings given."""
    chosen = configs_of(name, len(brokers)) | {config.replace("_", "."): value for config, value in configs.items()}
    there = range(1 if name == REFUSED else partitions)
    synced = len(brokers) if in_sync is None else in_sync
    return Topic(dict.fromkeys(there, brokers), dict.fromkeys(there, synced), chosen)


def all_topics(usage: Topic) -> Mapping[str, Topic]:
    return {USAGE: usage, EVENTS: topic(EVENTS), REFUSED: topic(REFUSED)}


def found(usage: Topic, *, brokers: int = 3, copies: int = 3) -> list[Difference]:
    return list(differences(all_topics(usage), brokers, copies))


def test_topics_as_they_must_be_differ_in_nothing() -> None:
    assert found(topic()) == []


def test_everything_goes_by_time_alone_and_stays_for_thirty_days() -> None:
    for name in TOPICS:
        configs = configs_of(name, 3)
        assert configs["retention.ms"] == str(30 * 24 * 60 * 60 * 1000)
        assert (configs["retention.bytes"], configs["cleanup.policy"]) == ("-1", "delete")
        assert configs["compression.type"] == "producer"


@pytest.mark.parametrize(("copies", "in_sync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_where_there_are_three_copies_two_of_them_have_what_is_acknowledged(copies: int, in_sync: str) -> None:
    assert configs_of(USAGE, copies)["min.insync.replicas"] == in_sync


def test_copies_are_made_where_there_are_brokers_for_them_and_waited_for_where_not() -> None:
    too_few = topic(brokers=(1, 2), min_insync_replicas="2")

    (now,) = found(too_few)
    (later,) = found(too_few, brokers=2)

    assert (now.what, now.stands, now.right, now.mend) == ("copies", "2", "3", Mend.FIX)
    assert later.mend is Mend.LATER
    assert later.advice == "2 of 3 brokers are there: start the others, or say --copies 2"


def test_acknowledgements_wait_for_two_copies_only_when_two_are_there() -> None:
    ready, copying = topic(min_insync_replicas="1"), topic(min_insync_replicas="1", in_sync=1)

    assert [(one.what, one.mend) for one in found(ready)] == [("min.insync.replicas", Mend.FIX)]
    assert [(one.what, one.mend) for one in found(copying)] == [("min.insync.replicas", Mend.LATER)]


@pytest.mark.parametrize(
    ("partitions", "mend"), [(1, Mend.NONE), (8, Mend.NONE), (32, Mend.NONE), (12, Mend.BY_HAND), (128, Mend.BY_HAND)]
)
def test_a_topic_that_is_there_is_never_enlarged(partitions: int, mend: Mend) -> None:
    (difference,) = found(topic(partitions=partitions))

    assert (difference.what, difference.stands, difference.mend) == ("partitions", str(partitions), mend)
    assert difference.advice.startswith("stop the producers, wait until the recorders' lag is 0, enlarge")


def test_a_shard_lies_in_one_partition_exactly_where_their_number_is_a_power_of_two() -> None:
    for partitions in range(1, 200):
        one_each = all(
            len({murmur % partitions for murmur in range(shard, 6_400, SHARDS)}) == 1 for shard in range(SHARDS)
        )
        assert one_each == is_usual(partitions)


def test_what_is_missing_is_made() -> None:
    topics = {USAGE: topic(), REFUSED: topic(REFUSED)}

    assert [(one.topic, one.what, one.mend) for one in differences(topics, 3, 3)] == [(EVENTS, "topic", Mend.FIX)]


@pytest.mark.parametrize(
    ("copies", "in_sync", "sure"), [((1, 2, 3), "2", 2), ((1, 2, 3), "1", 1), ((1,), "1", 1), ((1,), "2", 1)]
)
def test_a_record_is_sure_on_as_many_brokers_as_must_have_it_and_have_it(
    copies: tuple[int, ...], in_sync: str, sure: int
) -> None:
    assert topic(brokers=copies, min_insync_replicas=in_sync).sure_copies == sure


def test_new_copies_go_to_whoever_has_the_fewest_and_those_that_are_there_stay_in_order() -> None:
    usage = Topic({0: (2, 1), 1: (1,), 2: (1, 2, 3)}, {0: 2, 1: 1, 2: 3}, {})

    moves = more_copies({USAGE: usage}, [1, 2, 3, 4], 3)

    assert moves == {USAGE: {0: (2, 1, 4), 1: (1, 3, 4)}}


def test_copies_are_shared_out_evenly() -> None:
    usage = Topic(dict.fromkeys(range(64), (1,)), dict.fromkeys(range(64), 1), {})

    moves = more_copies({USAGE: usage}, [1, 2, 3], 2)

    new = [brokers[-1] for brokers in moves[USAGE].values()]
    assert (new.count(2), new.count(3)) == (32, 32)
