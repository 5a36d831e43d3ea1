"""Usage that names a hold settles it, once: whoever else reports, captures, releases or runs out of time at the same moment."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from projections.entitlement import Limit
from schemas.credits import MICRO
from services.credits.holds.hold import CapturedPart, HoldState, capturing, extension, release
from services.credits.holds.moving import move
from services.credits.holds.settlement import expire_holds
from services.credits.limits import set_limit
from services.runtime.errors import Refused
from services.store.append import append, lock_shard
from services.store.shards import shard_of
from tests.support.facts import granted
from tests.support.heads import heads_unguarded
from tests.support.holds import held, state_of, wait_for_locks
from tests.support.usage import Message, reported, structured, used, voided
from tests.support.waiting import until
from tests.support.world import ServiceWorld

PRO = 3_000 * MICRO


def done(id: str, hold_id: str | None, *, team_id: str = "team_1", partition: int | None = None) -> Message:
    """An image of one credit, made under a hold."""
    event = reported(team_id, id)
    event["data"] |= {"hold_id": hold_id} if hold_id else {}
    return structured(event, partition=partition)


@asynccontextmanager
async def locked(world: ServiceWorld) -> AsyncIterator[None]:
    """Nobody appends for the team meanwhile, save the world's own connection: what recorders have judged waits to be written."""
    async with world.connection.transaction():
        await lock_shard(world.connection, "team_1")
        yield


async def both_own(world: ServiceWorld) -> None:
    """Two recorders have partitions."""

    async def look() -> bool:
        owners = await world.connection.fetchval("SELECT count(DISTINCT owner) FROM kafka_cursors WHERE owner <> ''")
        return bool(owners == 2)

    await until(look, what="two recorders share the topic")


@pytest.fixture
async def holding(world: ServiceWorld) -> ServiceWorld:
    """A team with 3,000 credits, of which 100 are held."""
    await world.team("team_1")
    await held(world.connection, "h", 100)
    return world


async def test_usage_settles_its_hold_and_what_it_did_not_need_is_free_again(holding: ServiceWorld) -> None:
    async with holding.recorder():
        await holding.send(done("a", "h"))
        await holding.recorded()

    team = await holding.balance()
    assert (team.total, team.holds) == (PRO - MICRO, {})
    assert await state_of(holding.connection, "h") is HoldState.SETTLED


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
async def test_a_second_usage_of_a_settled_hold_is_refused_with_its_bytes(
    holding: ServiceWorld, together: bool
) -> None:
    first, second = done("a", "h"), done("b", "h")

    async with holding.recorder():
        await holding.send(first, *([second] if together else []))
        await holding.recorded()
        if not together:
            await holding.send(second)
            await holding.recorded()

    (refused,) = await holding.refused()
    assert (refused["reason"], refused["event_id"], refused["value"]) == ("hold_settled", "b", second.value)
    assert await holding.usage_ids() == ["a"]
    assert (await holding.balance()).total == PRO - MICRO


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two batches"])
async def test_the_usage_that_settled_a_hold_is_a_duplicate_when_it_comes_again(
    holding: ServiceWorld, together: bool
) -> None:
    same = done("a", "h")

    async with holding.recorder():
        await holding.send(same, *([same] if together else []))
        await holding.recorded()
        if not together:
            await holding.send(same)
            await holding.recorded()

    assert await holding.repeats("a") == (1, 0)
    assert await holding.refused() == []


async def test_usage_after_a_release_an_expiry_or_of_a_hold_that_never_was_is_plain_usage(world: ServiceWorld) -> None:
    await world.team("team_1", "team_2")
    await held(world.connection, "theirs", 5, team_id="team_2")
    await held(world.connection, "released", 5)
    gone = await held(world.connection, "gone", 5, lasts=timedelta(milliseconds=10))
    async with world.connection.transaction():
        await move(world.connection, "team_1", "released", release)
    await until(lambda: world.connection.fetchval("SELECT clock_timestamp() > $1", gone.expires_at))

    names = [name for hold in ("released", "gone", "never", "theirs") for name in (f"{hold} 1", f"{hold} 2")]
    async with world.recorder():
        await world.send(*(done(name, name.split()[0]) for name in names))
        await world.recorded()

    assert await world.usage_ids() == names
    assert await world.refused() == []
    assert await state_of(world.connection, "theirs", "team_2") is HoldState.OPEN
    async with world.connection.transaction():
        assert await expire_holds(world.connection, "team_1", 10) == 1  # usage did not end it: the clock did
    assert (await world.balance()).holds == {}


async def test_of_two_recorders_with_usage_of_one_hold_one_settles_it_and_the_other_refuses(
    holding: ServiceWorld,
) -> None:
    async with AsyncExitStack() as both:
        for _ in range(2):
            await both.enter_async_context(holding.recorder())
        await both_own(holding)
        async with locked(holding):
            await holding.send(*(done(f"from {partition}", "h", partition=partition) for partition in range(8)))
            await wait_for_locks(holding.connection, 2)
        await holding.recorded()

    assert len(await holding.usage_ids()) == 1
    assert await holding.reasons() == ["hold_settled"] * 7
    assert (await holding.balance()).total == PRO - MICRO


async def test_a_usage_that_two_recorders_have_settles_its_hold_once_and_is_a_duplicate_for_the_other(
    holding: ServiceWorld,
) -> None:
    at = reported("team_1", "same")["time"]
    event = reported("team_1", "same", at=at)
    event["data"]["hold_id"] = "h"
    async with AsyncExitStack() as both:
        for _ in range(2):
            await both.enter_async_context(holding.recorder())
        await both_own(holding)
        async with locked(holding):
            await holding.send(*(structured(event, partition=partition) for partition in range(8)))
            await wait_for_locks(holding.connection, 2)
        await holding.recorded()

    assert await holding.usage_ids() == ["same"]
    assert await holding.repeats("same") == (7, 0)
    assert await holding.refused() == []


async def test_a_capture_that_comes_before_the_usage_wins_and_the_usage_is_refused(holding: ServiceWorld) -> None:
    async with holding.recorder():
        async with locked(holding):
            await holding.send(done("a", "h"))
            await wait_for_locks(holding.connection, 1)
            await move(holding.connection, "team_1", "h", capturing("c", [CapturedPart(7 * MICRO)], final=True))
        await holding.recorded()

    assert await holding.reasons() == ["hold_settled"]
    assert (await holding.balance()).total == PRO - 7 * MICRO


async def test_a_capture_that_comes_after_the_usage_is_refused(holding: ServiceWorld) -> None:
    async with holding.recorder():
        await holding.send(done("a", "h"))
        await holding.recorded()

    with pytest.raises(Refused, match="hold_settled"):
        async with holding.connection.transaction():
            await move(holding.connection, "team_1", "h", capturing("c", [CapturedPart(7 * MICRO)], final=True))
    assert (await holding.balance()).total == PRO - MICRO


@pytest.mark.parametrize("end", [HoldState.EXPIRED, HoldState.RELEASED])
async def test_a_hold_that_ends_while_the_recorder_waits_leaves_plain_usage_behind(
    world: ServiceWorld, end: HoldState
) -> None:
    await world.team("team_1")
    hold = await held(world.connection, "h", 5, lasts=timedelta(seconds=2 if end is HoldState.EXPIRED else 60))

    async with world.recorder():
        async with locked(world):
            await world.send(done("a", "h"), done("b", "h"))
            await wait_for_locks(world.connection, 1)
            if end is HoldState.RELEASED:
                await move(world.connection, "team_1", "h", release)
            else:
                await until(lambda: world.connection.fetchval("SELECT clock_timestamp() > $1", hold.expires_at))
                await append(
                    world.connection, [granted("team_1", "later")]
                )  # what is recorded next is recorded after this
        await world.recorded()

    assert await world.refused() == []
    assert await world.usage_ids() == ["a", "b"]
    assert await state_of(world.connection, "h") is end


async def test_a_hold_that_is_made_longer_while_the_recorder_takes_it_for_over_is_settled(world: ServiceWorld) -> None:
    await world.team("team_1")
    hold = await held(world.connection, "h", 5)
    await world.connection.execute("UPDATE holds SET expires_at = clock_timestamp()")  # whoever looks now finds it over

    async with world.recorder():
        async with locked(world):
            await world.connection.execute("UPDATE holds SET expires_at = $1", hold.expires_at)
            await move(world.connection, "team_1", "h", extension("longer", timedelta(hours=2)))
            await world.send(done("a", "h"))
            await wait_for_locks(world.connection, 1)
        await world.recorded()

    assert await state_of(world.connection, "h") is HoldState.SETTLED
    assert (await world.balance()).holds == {}


async def test_where_the_databases_clock_has_stepped_back_holds_go_by_the_time_that_their_shard_has_reached(
    world: ServiceWorld,
) -> None:
    await world.team("team_1", "team_2")
    await held(world.connection, "over", 5, lasts=timedelta(minutes=10))
    await held(world.connection, "open", 5, team_id="team_2", lasts=timedelta(minutes=10))
    async with heads_unguarded(world.connection):
        await world.connection.execute(
            "UPDATE shard_heads SET recorded_at = clock_timestamp() + interval '1 hour' WHERE shard = $1",
            shard_of("team_1"),
        )

    async with world.recorder():
        await world.send(done("a", "over"), done("b", "over"))
        await world.recorded()
        await world.send(done("c", "open", team_id="team_2"))
        await world.recorded()

    assert await world.usage_ids() == ["a", "b"]
    assert await world.refused() == []
    assert await state_of(world.connection, "open", "team_2") is HoldState.SETTLED
    async with world.connection.transaction():
        assert await expire_holds(world.connection, "team_1", 10) == 1


async def test_usage_is_recorded_whatever_plan_top_ups_limit_or_balance_its_team_has(world: ServiceWorld) -> None:
    await world.team("team_1", plan="free")
    async with world.connection.transaction():
        await set_limit(world.connection, "team_1", "mem_1", Limit(daily=0, hard=True), limited_by=None)

    async with world.recorder():
        await world.send(used("team_1", "high", tier="high", quantity="100"))
        await world.recorded()

    assert await world.refused() == []
    assert (await world.balance()).additional == -1_200 * MICRO


async def test_the_void_of_a_usage_does_not_open_its_hold_again(holding: ServiceWorld) -> None:
    async with holding.recorder():
        await holding.send(
            done("a", "h"), structured(voided("team_1", "v", of="a")), done("b", "h"), used("team_1", "c")
        )
        await holding.recorded()

    assert await holding.reasons() == ["hold_settled"]
    team = await holding.balance()
    assert (team.total, team.holds) == (PRO - MICRO, {})
