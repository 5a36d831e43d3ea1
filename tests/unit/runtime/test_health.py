"""Who is stuck is told by the work that waits and does not move."""

import asyncio

from aiokafka import TopicPartition
from prometheus_client import generate_latest

from services import VERSION
from services.runtime.health import STUCK_SECONDS, Health
from services.runtime.health_pages import health_app
from services.runtime.settings import Settings
from services.store.sessions.pool import Silent
from services.usage.partitions import Owned, Partitions

RELAY = {"process": "relay", "work": "relay"}
USAGE = {"process": "recorder", "work": "usage"}


def behind(health: Health) -> Partitions:
    """A recorder's partition 3, of which much is yet to be recorded."""
    partitions = Partitions("usage", Settings(), None, "me", health)  # type: ignore[arg-type]  # nothing here asks the store
    partitions.owned = {3: Owned(3, 1, 0, 0)}
    health.lag("usage-3", 5_000)
    return partitions


def test_a_partition_that_waits_and_does_not_move_is_stuck() -> None:
    seconds = [0.0]
    health = Health("recorder", lambda: seconds[0])
    behind(health)

    seconds[0] = STUCK_SECONDS + 1

    assert health.stuck() == ["usage-3"]


def test_a_process_that_has_nothing_to_do_stands_not_still_however_long() -> None:
    seconds = [0.0]
    health = Health("relay", lambda: seconds[0])
    health_app(health)
    health.lag("relay", 3)
    health.beat("relay")
    seconds[0] = 5
    assert health.registry.get_sample_value("creditwell_progress_age_seconds", RELAY) == 5

    health.lag("relay", 0)
    seconds[0] = 3_600

    assert health.registry.get_sample_value("creditwell_progress_age_seconds", RELAY) == 0

    health.lag("relay", 1)
    seconds[0] = 3_607

    assert health.registry.get_sample_value("creditwell_progress_age_seconds", RELAY) == 7


def test_what_is_away_is_counted_by_the_kind_of_its_error() -> None:
    health = Health("relay")

    health.away("Kafka", ConnectionResetError("gone"))
    health.away("Kafka", ConnectionResetError("gone"))
    health.away("the database's server", Silent("the server has not answered for 3 s"))
    health.away("database", TimeoutError())

    value = health.registry.get_sample_value
    assert value("creditwell_away_total", {"what": "Kafka", "error": "ConnectionResetError"}) == 2
    assert value("creditwell_away_total", {"what": "the database's server", "error": "Silent"}) == 1
    assert value("creditwell_away_total", {"what": "database", "error": "TimeoutError"}) == 1
    assert health.absent["the database's server"] == "the server has not answered for 3 s"
    assert health.absent["database"] == "TimeoutError()", "it has no words of its own"


def test_every_process_says_which_build_it_is() -> None:
    health = Health("relay")
    health_app(health)

    (line,) = [line for line in generate_latest(health.registry).decode().splitlines() if "build_info{" in line]
    assert f'version="{VERSION}"' in line


def test_a_partition_that_was_given_away_while_it_was_behind_is_nobodys_standstill_here() -> None:
    seconds = [0.0]
    health = Health("recorder", lambda: seconds[0])
    health_app(health)
    partitions = behind(health)

    partitions.disown()
    seconds[0] = STUCK_SECONDS + 1

    assert health.stuck() == []
    assert lag_of_usage(health) is None


def test_sixty_four_partitions_are_one_series_which_says_how_the_worst_one_does() -> None:
    seconds = [0.0]
    health = Health("recorder", lambda: seconds[0])
    health_app(health)
    for partition in range(64):
        health.lag(f"usage-{partition}", 100 + partition % 60)
    seconds[0] = 10
    health.beat("usage")
    health.beat("usage-59")

    assert lag_of_usage(health) == 159
    assert health.worst()["usage"][0] == "usage-59"
    assert health.registry.get_sample_value("creditwell_progress_age_seconds", USAGE) == 0
    assert (
        sum(line.startswith("creditwell_lag{") for line in generate_latest(health.registry).decode().splitlines()) == 1
    )

    seconds[0] = STUCK_SECONDS + 5

    assert sorted(health.stuck()) == sorted(f"usage-{partition}" for partition in range(64) if partition != 59)


def lag_of_usage(health: Health) -> float | None:
    return health.registry.get_sample_value("creditwell_lag", USAGE)


async def test_a_partition_that_is_lost_while_it_is_looked_at_says_no_more_how_much_of_it_waits() -> None:
    health = Health("recorder")
    partitions = behind(health)
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Consumer:
        """Kafka's answer takes a while."""

        async def position(self, _: TopicPartition) -> int:
            return await answer

    partitions.consumer_of = Consumer
    looking = asyncio.ensure_future(partitions._is_through(partitions.owned[3], 5_000, 5_000, lambda: False))
    await asyncio.sleep(0)
    partitions.disown()
    answer.set_result(0)
    await looking

    assert health.work == {}
