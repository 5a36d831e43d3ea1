"""Who is stuck is told by the work that waits and does not move."""

import asyncio
from datetime import UTC, datetime

from aiokafka import TopicPartition

from services.runtime.health import STUCK_SECONDS, Health, health_app
from services.runtime.settings import Settings
from services.usage.partitions import Owned, Partitions


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


def test_a_partition_that_was_given_away_while_it_was_behind_is_nobodys_standstill_here() -> None:
    seconds = [0.0]
    health = Health("recorder", lambda: seconds[0])
    health_app(health)
    partitions = behind(health)

    partitions.disown()
    seconds[0] = STUCK_SECONDS + 1

    assert health.stuck() == []
    lag = {"process": "recorder", "work": "usage-3"}
    assert health.registry.get_sample_value("creditwell_lag", lag) is None


async def test_a_partition_that_is_lost_while_it_is_looked_at_says_no_more_how_much_of_it_waits() -> None:
    health = Health("recorder")
    partitions = behind(health)
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Consumer:
        """Kafka's answer takes a while."""

        async def position(self, _: TopicPartition) -> int:
            return await answer

    partitions.consumer_of = Consumer
    looking = asyncio.ensure_future(
        partitions._note_progress(partitions.owned[3], 5_000, 5_000, lambda: False, datetime.now(UTC))
    )
    await asyncio.sleep(0)
    partitions.disown()
    answer.set_result(0)
    await looking

    assert health.work == {}
