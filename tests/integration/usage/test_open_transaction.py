"""A Kafka transaction that was left open hides what lies behind it.

That is said, nothing is sealed meanwhile, and nobody is started anew.
"""

from datetime import UTC, datetime

from schemas.topics import USAGE
from services.runtime.health import STUCK_SECONDS
from services.store.connect import Connection
from tests.support.usage import used
from tests.support.waiting import until
from tests.support.world import Service, ServiceWorld, a_transaction

PASSED = "SELECT partition, passed_at FROM kafka_cursors WHERE topic = 'usage'"


async def test_usage_behind_an_open_transaction_is_lag_and_holds_sealing_up_and_fails_no_liveness(
    world: ServiceWorld,
) -> None:
    await world.team("team_1")
    async with a_transaction(world.stack.kafka, world.database) as producer, world.recorder() as service:
        ((partition, _),) = await world.send(used("team_1", "before"))
        await world.recorded()
        work = f"usage-{partition}"
        inside = used("team_1", "inside")
        await producer.send_and_wait(USAGE, inside.value, key=inside.key, partition=partition)
        await world.send(used("team_1", "behind"))
        began = datetime.now(UTC)  # who passes this has looked at both

        await until_held(service, work)
        await until_passed(world.connection, began, but=partition)

        assert service.health.work[work].lag == 2
        assert "transaction is open" in service.health.held_up[work].why
        assert await world.usage_ids() == ["before"]
        assert (await passed(world.connection))[partition] < began
        later = service.health.now() + 2 * STUCK_SECONDS
        service.health.now = lambda: later
        assert service.health.stuck() == []

        await producer.commit_transaction()
        await world.recorded()
        await until_passed(world.connection, began)

        async def goes_on() -> bool:
            return service.health.work[work].lag == 0 and not service.health.held_up

        await until(goes_on, what="nothing waits any more")
        assert await world.usage_ids() == ["before", "inside", "behind"]


async def until_held(service: Service, work: str) -> None:
    async def held() -> bool:
        return work in service.health.held_up

    await until(held, what=f"{work} is said to be held up")


async def passed(connection: Connection) -> dict[int, datetime]:
    """By partition, the moment up to which everything that Kafka received is in the log; at first, none."""
    return {row["partition"]: row["passed_at"].replace(tzinfo=UTC) for row in await connection.fetch(PASSED)}


async def until_passed(connection: Connection, moment: datetime, *, but: int | None = None) -> None:
    """All partitions but one have passed this moment."""

    async def look() -> bool:
        return all(at > moment for partition, at in (await passed(connection)).items() if partition != but)

    await until(look, what=f"the partitions have passed {moment}")
