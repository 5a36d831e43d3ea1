"""What the topics of the contract must be, and where those that are there differ: values, and no questions.

A topic's partitions are never changed here. With another number of them a team's records begin in another partition
while its earlier ones are still waiting in the old one, and are recorded out of order.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas.topics import PARTITIONS, REFUSED, TOPICS

SAFE_COPIES = 3  # with so many one broker may be away while two have every acknowledged record
MIN_IN_SYNC = "min.insync.replicas"

ENLARGE = "stop the producers, wait until the recorders' lag is 0, enlarge the topic with `kafka-topics.sh --alter`, start them"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers tell of it.

    Attributes:
        replicas: of each partition, the brokers that have a copy or are making one, its leader's choice first.
        in_sync: of each partition, how many of them have every record.
        configs: its settings as they count, whoever chose them.
    """

    replicas: Mapping[int, tuple[int, ...]]
    in_sync: Mapping[int, int]
    configs: Mapping[str, str]

    @property
    def copies(self) -> int:
        """Of the partition that has the fewest."""
        return min(map(len, self.replicas.values()))

    @property
    def sure_copies(self) -> int:
        """On how many brokers a record is for sure when it is acknowledged."""
        return min(self.copies, int(self.configs.get(MIN_IN_SYNC, "1")))


class Mend(StrEnum):
    """How a difference ends."""

    FIX = "fix"  # `creditwell topics fix` does it
    LATER = "later"  # `fix` does it once brokers or copies are there
    BY_HAND = "by hand"
    NONE = "none"  # it may stay


@dataclass(frozen=True, slots=True)
class Difference:
    """Something of a topic that is not as it must be; `advice` says what to do where `fix` can't."""

    topic: str
    what: str
    stands: str
    right: str
    mend: Mend = Mend.FIX
    advice: str = ""


def configs_of(name: str, copies: int) -> dict[str, str]:
    """The settings of a topic that has so many copies."""
    return {**TOPICS[name], MIN_IN_SYNC: "2" if copies >= SAFE_COPIES else "1"}


def partitions_of(name: str, partitions: int = PARTITIONS) -> int:
    """How many partitions a new topic gets."""
    return 1 if name == REFUSED else partitions


def is_usual(partitions: int) -> bool:
    """A power of two up to the number of shards: each shard lies in one partition."""
    return 0 < partitions <= PARTITIONS and partitions & (partitions - 1) == 0


def differences(topics: Mapping[str, Topic], brokers: int, copies: int) -> Iterator[Difference]:
    """Where the topics of the contract are not as they must be with so many copies."""
    for name in TOPICS:
        topic = topics.get(name)
        if topic is None:
            yield _missing(name, brokers, copies)
            continue
        yield from _of_partitions(name, len(topic.replicas))
        if topic.copies < copies:
            yield Difference(name, "copies", str(topic.copies), str(copies), *_brokers_there(brokers, copies))
        for config, right in configs_of(name, copies).items():
            stands = topic.configs.get(config, "")
            if stands != right:
                yield Difference(name, config, stands, right, *_of_config(topic, config, right))


def _missing(name: str, brokers: int, copies: int) -> Difference:
    mend, advice = _brokers_there(brokers, copies)
    return Difference(name, "topic", "missing", "there", mend, advice or "or the login may not see it (DESCRIBE)")


def _brokers_there(brokers: int, copies: int) -> tuple[Mend, str]:
    if brokers >= copies:
        return Mend.FIX, ""
    return Mend.LATER, f"{brokers} of {copies} brokers are there: start the others, or say --copies {brokers}"


def _of_partitions(name: str, partitions: int) -> Iterator[Difference]:
    if name == REFUSED or partitions == PARTITIONS:
        return
    mend = Mend.NONE if is_usual(partitions) else Mend.BY_HAND
    yield Difference(name, "partitions", str(partitions), str(PARTITIONS), mend, ENLARGE)


def _of_config(topic: Topic, config: str, right: str) -> tuple[Mend, str]:
    """More is asked of acknowledgements only when the copies are there: before that nobody could write."""
    if config == MIN_IN_SYNC and min(topic.in_sync.values()) < int(right):
        return Mend.LATER, "Kafka is still copying, or brokers are away: run `creditwell topics fix` again"
    return Mend.FIX, ""


def more_copies(
    topics: Mapping[str, Topic], brokers: Sequence[int], copies: int
) -> dict[str, dict[int, tuple[int, ...]]]:
    """For each partition that has too few copies, its brokers and those that get one, whoever has the fewest first.

    The order of those that are there stays: it says who leads.
    """
    load = Counter(dict.fromkeys(brokers, 0))
    load.update(broker for topic in topics.values() for replicas in topic.replicas.values() for broker in replicas)
    moves: dict[str, dict[int, tuple[int, ...]]] = {}
    for name, topic in topics.items():
        for partition, replicas in sorted(topic.replicas.items()):
            missing = copies - len(replicas)
            if missing <= 0:
                continue
            free = sorted((broker for broker in brokers if broker not in replicas), key=lambda one: (load[one], one))
            load.update(free[:missing])
            moves.setdefault(name, {})[partition] = (*replicas, *free[:missing])
    return moves
