"""A recorder is killed, frozen, cut off, taken over; Kafka and PostgreSQL restart: nothing is lost and nothing counts twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from deploy.local.servers.topics import create_topics
from schemas.topics import USAGE
from services.runtime.errors import LogChanged
from tests.conftest import PARTITIONS
from tests.integration.usage.test_open_transaction import until_passed
from tests.support.fleet import Fleet
from tests.support.load import Load, Pressure
from tests.support.oracle import Oracle
from tests.support.proxy import Cut, a_proxy
from tests.support.usage import raw, used
from tests.support.waiting import until
from tests.support.world import ServiceWorld, a_consumer, ends_of, nobody_died

TEAMS = [f"team_{n}" for n in range(16)]
# How much of a partition one answer brings (aiokafka's default). The broker answers a fetch that waits with what is
# there at that moment, one record or all that were sent since.
FETCHED_MAX = 2**20


@asynccontextmanager
async def under_pressure(world: ServiceWorld, *, per_second: int = 400, seed: int = 1) -> AsyncIterator[Pressure]:
    """Usage of sixteen teams keeps coming; afterwards everything has been recorded, and the oracle finds nothing."""
    begin = await world.cursors()
    await world.team(*TEAMS)
    oracle = Oracle(world.stack.kafka, begin, set(TEAMS))
    pressure = Pressure(world.producer, Load(Random(seed), TEAMS), per_second, world.ends)
    sending = asyncio.create_task(pressure.run())
    try:
        yield pressure
        pressure.stop()
        await sending
        world.ends.update(await oracle.ends())  # with what Kafka took and had no time to acknowledge
        await world.recorded(within=120)
        assert await oracle.problems(world.connection) == []
    except BaseException as error:
        error.add_note(f"Kafka did not acknowledge {dict(pressure.unanswered) or 'nothing'}")
        raise
    finally:
        pressure.stop()
        await sending
        oracle.close()


async def recorded_some(world: ServiceWorld, more: int = 50) -> None:
    """Wait until the log has grown."""
    before = await world.connection.fetchval("SELECT sum(next) FROM shard_heads")

    async def look() -> bool:
        world.raise_if_dead()
        return bool(await world.connection.fetchval("SELECT sum(next) >= $1 FROM shard_heads", before + more))

    await until(look, within=120, what=f"{more} more facts")


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("away_seconds", [0, 1], ids=["at once", "for a second"])
async def test_a_commit_whose_answer_is_lost_counts_once(world: ServiceWorld, cut: Cut, away_seconds: float) -> None:
    async with a_proxy(world.database) as proxy, world.recorder(database=proxy.url(world.database)):
        async with under_pressure(world):
            await recorded_some(world)
            for _ in range(2):
                proxy.cut_next(b"COMMIT;", cut, away_seconds=away_seconds)
                await asyncio.wait_for(proxy.happened.wait(), 60)
                await recorded_some(world)


async def test_recorders_that_come_and_go_lose_nothing_double_nothing_and_keep_the_order(world: ServiceWorld) -> None:
    async with world.recorder(), under_pressure(world, per_second=1_000):
        await recorded_some(world)
        for _ in range(3):
            async with world.recorder():
                await recorded_some(world, 100)
                async with world.recorder():
                    await recorded_some(world, 100)
            await recorded_some(world, 100)


async def test_a_recorder_that_lost_its_partitions_to_a_stranger_takes_them_back(world: ServiceWorld) -> None:
    async with world.recorder(), under_pressure(world):
        await recorded_some(world)
        await world.connection.execute("UPDATE kafka_cursors SET epoch = epoch + 1, owner = 'a stranger that died'")


async def test_a_frozen_recorder_is_taken_over_and_is_fenced_when_it_wakes_up(
    world: ServiceWorld, fleet: Fleet
) -> None:
    fleet.start("recorder-1")
    await fleet.ready("recorder-1")
    async with under_pressure(world):
        await recorded_some(world)
        fleet.processes.pause("recorder-1")
        fleet.start("recorder-2")
        await recorded_some(world, 300)
        fleet.processes.resume("recorder-1")
        await recorded_some(world, 300)
    nobody_died(fleet.processes)


@pytest.mark.parametrize("point", ["recorder:cursor_moved", "append:heads_taken", "recorder:before_commit"])
async def test_a_recorder_frozen_inside_its_transaction_holds_nobody_up_for_long(
    world: ServiceWorld, fleet: Fleet, point: str
) -> None:
    fleet.start("recorder-1", stop_at=f"{point}:2", lease_seconds="2")
    async with under_pressure(world):
        await fleet.frozen("recorder-1")
        fleet.start("recorder-2")
        await recorded_some(world, 300)
        fleet.processes.resume("recorder-1")
        await recorded_some(world, 300)
    nobody_died(fleet.processes)


@pytest.mark.usefixtures("durable")
async def test_kafka_and_postgresql_restart_under_load_and_the_recorder_goes_on(
    world: ServiceWorld, fleet: Fleet
) -> None:
    fleet.start("recorder-1")
    fleet.start("recorder-2")
    await fleet.ready("recorder-1", "recorder-2")
    async with under_pressure(world):
        await recorded_some(world)
        await asyncio.to_thread(world.stack.restart_postgres, "immediate")
        await world.reconnect()
        await recorded_some(world)
        await asyncio.to_thread(world.stack.kill_postgres)
        await world.reconnect()
        await recorded_some(world)
        await asyncio.to_thread(world.stack.restart_kafka)
        await recorded_some(world)
        await asyncio.to_thread(world.stack.kill_kafka)
        await recorded_some(world)
    nobody_died(fleet.processes)


async def test_what_kafka_itself_has_noted_is_never_read_back(world: ServiceWorld) -> None:
    await world.team("team_1")
    places = await world.send(*[used("team_1", f"id-{n}") for n in range(20)])
    async with a_consumer(world.stack.kafka, USAGE, group_id="creditwell-recorder") as consumer:
        await until_assigned_all(consumer)
        await consumer.commit({TopicPartition(USAGE, partition): offset + 1 for partition, offset in places[10:]})

    async with world.recorder():
        await world.recorded()

    assert await world.usage_ids() == [f"id-{n}" for n in range(20)]


async def until_assigned_all(consumer: object) -> None:
    async def look() -> bool:
        return len(consumer.assignment()) == 8  # type: ignore[attr-defined]

    await until(look, what="the group is formed")


async def test_a_topic_that_was_cut_before_the_cursor_stops_the_recorder_and_skips_nothing(world: ServiceWorld) -> None:
    await world.team("team_1")
    async with world.recorder():
        ((partition, _),) = await world.send(used("team_1", "recorded"))
        await world.recorded()
    reached = await world.cursors()
    await world.send(*[used("team_1", f"lost-{n}") for n in range(5)])
    await cut_topic(world, partition, world.ends[partition] - 1)

    await stops_with(
        world, rf"usage-{partition}: offsets {reached[partition]} to {world.ends[partition] - 2} were never recorded"
    )

    assert await world.cursors() == reached
    assert await world.usage_ids() == ["recorded"]


async def test_retention_that_passes_the_marker_of_a_transaction_has_overtaken_nobody(world: ServiceWorld) -> None:
    await world.team("team_1")
    async with AIOKafkaProducer(bootstrap_servers=world.stack.kafka, transactional_id=world.database) as producer:
        async with world.recorder():
            async with producer.transaction():
                usage = used("team_1", "the last one")
                done = await producer.send_and_wait(USAGE, usage.value, key=usage.key)
            partition, marker = done.partition, done.offset + 1
            world.ends[partition] = marker
            await world.recorded()
            await until_through(world, partition, marker + 1)
            await cut_topic(world, partition, marker + 1)
            began = datetime.now(UTC)
            await until_passed(world.connection, began)  # under the running recorder
        assert (await world.cursors())[partition] == marker

    async with world.recorder():  # and at a new claim
        await world.send(raw(used("team_1", "later").value, partition=partition))
        await world.recorded()
    assert await world.usage_ids() == ["the last one", "later"]

    await world.send(*[raw(used("team_1", f"lost-{n}").value, partition=partition) for n in range(3)])
    await cut_topic(world, partition, world.ends[partition] - 1)
    await stops_with(world, "were never recorded")


async def until_through(world: ServiceWorld, partition: int, offset: int) -> None:
    async def look() -> bool:
        through: int = await world.connection.fetchval(
            "SELECT through FROM kafka_cursors WHERE topic = $1 AND partition = $2", USAGE, partition
        )
        return through == offset

    await until(look, what=f"nothing before {offset} is left to record")


async def test_a_topic_that_is_cut_under_a_running_recorder_stops_it_and_skips_nothing(
    world: ServiceWorld, fleet: Fleet
) -> None:
    await world.team("team_1")
    fleet.start("recorder")
    ((partition, _),) = await world.send(used("team_1", "recorded"))
    await world.recorded()
    reached = await world.cursors()

    fleet.processes.pause("recorder")
    await world.send(used("team_1", "the first"))
    lost = [raw(Random(n).randbytes(FETCHED_MAX * 2 // 5), partition=partition) for n in range(4)]
    await world.send(*lost, used("team_1", "the last"))
    kept = world.ends[partition] - 1
    await cut_topic(world, partition, kept)
    fleet.processes.resume("recorder")

    assert await fleet.ended("recorder") == 1
    assert any("were never recorded" in str(line) for line in fleet.said("recorder", level="error"))
    assert reached[partition] <= (await world.cursors())[partition] < kept
    assert "the last" not in await world.usage_ids()


@pytest.mark.parametrize("sent_since", [0, 3], ids=["shorter than before", "longer than before"])
async def test_a_topic_made_anew_stops_the_recorder_and_skips_nothing(world: ServiceWorld, sent_since: int) -> None:
    await world.team("team_1")
    await make_topic_anew(world)
    async with world.recorder():
        await world.send(used("team_1", "a"), used("team_1", "b"))
        await world.recorded()
    reached = await world.cursors()

    await make_topic_anew(world)
    await world.send(*[used("team_1", f"new-{n}") for n in range(sent_since)])

    await stops_with(world, "recreated or truncated")
    assert await world.cursors() == reached
    assert await world.usage_ids() == ["a", "b"]


async def test_a_topic_made_anew_under_a_running_recorder_stops_it_and_skips_nothing(
    world: ServiceWorld, fleet: Fleet
) -> None:
    await world.team("team_1")
    await make_topic_anew(world)
    fleet.start("recorder")
    before = [f"id-{n}" for n in range(6)]
    await world.send(*[used("team_1", id) for id in before])
    await world.recorded()
    reached = await world.cursors()

    await make_topic_anew(world)
    # Fewer than before: a recorder that sleeps meanwhile would take the seventh for the next one, as Kafka does.
    await world.send(*[used("team_1", f"new-{n}") for n in range(5)])

    assert await fleet.ended("recorder") == 1
    assert await world.cursors() == reached
    assert await world.usage_ids() == before


async def stops_with(world: ServiceWorld, reason: str) -> None:
    """A recorder that is started now ends by itself, and says why."""
    with pytest.raises(LogChanged, match=reason):
        async with world.recorder() as service:
            await asyncio.wait_for(asyncio.shield(service.task), 60)


async def cut_topic(world: ServiceWorld, partition: int, before: int) -> None:
    """As retention does: what lies before an offset is gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.stack.kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(USAGE, partition): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def make_topic_anew(world: ServiceWorld) -> None:
    """Somebody deletes the topic, and somebody makes it again. The cursors of the world begin there if nothing is recorded yet."""
    admin = AIOKafkaAdminClient(bootstrap_servers=world.stack.kafka)
    await admin.start()
    try:
        await admin.delete_topics([USAGE])

        async def gone() -> bool:
            return USAGE not in await admin.list_topics()

        await until(gone, what="the topic is deleted")
        await create_topics(world.stack.kafka, partitions=PARTITIONS)
    finally:
        await admin.close()
    world.ends.clear()
    if not await world.usage_ids():
        await world.connection.execute("UPDATE kafka_cursors SET next_offset = 0")
    assert set((await ends_of(world.stack.kafka)).values()) == {0}
