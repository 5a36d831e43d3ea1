"""A decision rests on what stands in the log when its shard is locked, also on what came after the balance was read."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from projections.entitlement import Limit
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from services.credits.deciding import LOCK, DecisionState, lock_to_decide
from services.credits.holds.hold import CapturedPart, capturing
from services.credits.holds.moving import move
from services.credits.holds.placing import NotPermitted, place
from services.credits.limits import set_limit
from services.credits.plans import assign_plan
from services.read_models.balances import TAIL_MAX
from services.runtime.errors import Unavailable
from services.store.append import Beside, append
from services.store.connect import Connection
from tests.support.connections import connections
from tests.support.facts import granted, now, planned, store, usage, void, zone_at_midday
from tests.support.holds import held, request_for, wait_for_locks
from tests.support.world import ServiceWorld

CREDIT = MICRO


class Overtaken:
    """A connection that is overtaken: just before it locks a shard, somebody else does something."""

    def __init__(self, connection: Connection, meanwhile: Any) -> None:
        self.connection, self.meanwhile = connection, meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        if query == LOCK:
            await self.meanwhile()
        return await self.connection.fetchrow(query, *arguments)


async def decide_while(world: ServiceWorld, somebody_else: Any, *members: str) -> DecisionState:
    """The ground of a decision about team_1, between whose read and whose lock somebody else did something."""
    async with connections(world.database, 1) as (other,), world.connection.transaction():
        overtaken = cast(Connection, Overtaken(world.connection, lambda: somebody_else(other)))
        ground = await lock_to_decide(overtaken, "team_1", set(members))
    assert ground is not None
    return ground


async def test_what_was_used_given_and_taken_back_after_the_read_counts(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10))
    first = (await store(world.connection, usage("team_1", "u1", 4, at=(at := now())))).places[0]
    async with world.projector():
        await world.projected()

    async def somebody_else(other: Connection) -> None:
        await store(other, usage("team_1", "u2", 3), granted("team_1", "g", 5))
        await store(other, void("team_1", "v", of="u1", position=first.position, at=at, credits=4))

    ground = await decide_while(world, somebody_else)

    assert ground.balance.available == (10 - 3 + 5) * CREDIT
    assert ground.balance.position == ground.head.next - 1
    assert (await world.balance()).total == ground.balance.team.total


async def test_usage_that_nobody_has_folded_may_be_taken_back_after_the_read(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10))
    first = (await store(world.connection, usage("team_1", "u1", 4, at=(at := now())))).places[0]

    async def somebody_else(other: Connection) -> None:
        await store(other, void("team_1", "v", of="u1", position=first.position, at=at, credits=4))

    ground = await decide_while(world, somebody_else)

    assert ground.balance.available == 10 * CREDIT


async def test_a_hold_that_was_placed_after_the_read_leaves_no_room_for_another(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10))
    async with connections(world.database, 1) as (other,):

        async def somebody_else() -> None:
            await held(other, "theirs", 6)

        with pytest.raises(NotPermitted) as no:
            await held(cast(Connection, Overtaken(world.connection, somebody_else)), "ours", 5)

    assert (no.value.reason, no.value.detail) == ("exhausted", "4 credits are available")


async def test_a_limit_that_was_set_and_reached_after_the_read_holds(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10, zone=zone_at_midday()))

    async def somebody_else(other: Connection) -> None:
        async with other.transaction():
            await set_limit(other, "team_1", "mem_1", Limit(daily=5 * CREDIT), limited_by=None)
        await store(other, usage("team_1", "u", 3))

    ground = await decide_while(world, somebody_else, "mem_1", "mem_2")

    assert list(ground.spending) == ["mem_1"]
    assert ground.spending["mem_1"].limit.daily == 5 * CREDIT
    assert ground.spending["mem_1"].today == 3 * CREDIT


async def test_a_plan_that_was_assigned_after_the_read_counts_with_its_credits(world: ServiceWorld) -> None:
    async with connections(world.database, 1) as (other,):
        async with other.transaction():
            await assign_plan(other, load_catalog(), "team_1", "free")

    async def somebody_else(other: Connection) -> None:
        async with other.transaction():
            await assign_plan(other, load_catalog(), "team_1", "pro")

    ground = await decide_while(world, somebody_else)

    assert ground.balance.team.plan == "pro"
    assert ground.balance.team.total == load_catalog().plans["pro"].allowance_credits


async def test_the_refill_of_a_cycle_that_nobody_has_noticed_counts_and_comes_before_what_is_decided(
    world: ServiceWorld,
) -> None:
    await store(world.connection, *planned("team_1", credits=10, anchor=now() - timedelta(days=40)))

    async with world.connection.transaction():
        ground = await lock_to_decide(world.connection, "team_1", ())
        assert ground is not None
        assert (ground.balance.available, ground.head.refills_due) == (10 * CREDIT, True)
        appended = await append(world.connection, [usage("team_1", "u", 4)], ground.head)

    assert appended.places[0].position == ground.head.next + 1
    assert (await world.balance()).total == 6 * CREDIT


async def test_while_one_decides_nobody_else_appends_to_the_shard(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10))
    async with connections(world.database, 2) as (ours, theirs):
        async with ours.transaction():
            ground = await lock_to_decide(ours, "team_1", ())
            assert ground is not None
            writing = asyncio.create_task(store(theirs, usage("team_1", "u", 1)))
            await wait_for_locks(world.connection, 1)
            appended = await append(ours, [granted("team_1", "g")], ground.head)
            assert appended.places[0].position == ground.head.next
        assert (await writing).places[0].position == ground.head.next + 1


async def test_a_team_that_is_not_there_gives_no_ground(world: ServiceWorld) -> None:
    async with world.connection.transaction():
        assert await lock_to_decide(world.connection, "team_nowhere", ()) is None


async def test_rather_no_decision_than_a_guess(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10))

    async def somebody_else(other: Connection) -> None:
        await store(other, *[granted("team_1", f"g{n}") for n in range(TAIL_MAX + 1)])

    with pytest.raises(Unavailable, match="wait to be folded"):
        await decide_while(world, somebody_else)


async def test_whoever_wants_the_shard_waits_for_one_answer_of_a_hold_before_its_commit(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1", credits=10))
    asked: list[str] = []
    world.connection.add_query_logger(lambda query: asked.append(query.query))

    await held(world.connection, "work", 4)
    await asyncio.sleep(0)  # the last of them is told in the next turn of the loop

    under_the_lock = asked[asked.index(LOCK) + 1 :]
    assert under_the_lock.pop() == "COMMIT;"
    assert len(under_the_lock) == 1


async def test_a_command_about_a_hold_is_two_statements_from_the_lock_on_its_answer_among_them(
    world: ServiceWorld,
) -> None:
    await store(world.connection, *planned("team_1", credits=10))
    statements: list[str] = []
    with world.connection.query_logger(lambda logged: statements.append(logged.query)):
        async with world.connection.transaction():
            await place(world.connection, "team_1", "h", request_for(1), keep=lambda *_: remembered("placed"))
            await move(
                world.connection, "team_1", "h", capturing("c", [CapturedPart(CREDIT)], final=True),
                keep=lambda *_: remembered("captured"),
            )  # fmt: skip

    between = [sql for sql in statements if sql.strip(";") not in ("BEGIN", "COMMIT")]
    assert [LOCK in sql or "lock_hold" in sql for sql in between] == [False, True, False, True, False]
    assert await world.connection.fetchval("SELECT count(*) FROM repeats WHERE id IN ('placed', 'captured')") == 2


def remembered(what: str) -> Beside:
    """What a caller writes with a fact: here into a table that has nothing to do with it."""
    sql = "INSERT INTO repeats (shard, team_id, source, id) SELECT 0, 'team_1', 'test', $1::text FROM appended"
    return Beside(sql, (what,))
