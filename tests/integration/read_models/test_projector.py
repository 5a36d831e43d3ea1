"""The projector keeps balances, activity and usage in step with the log, once, whatever happens to it."""

import asyncio
from random import Random
from time import monotonic

import pytest
from structlog.testing import capture_logs

from services.read_models.projecting import COPY_ROWS_MIN
from services.runtime import retry
from tests.support.facts import granted, planned, store, usage
from tests.support.fleet import Fleet
from tests.support.history import Histories
from tests.support.projections import every_row, folded_anew
from tests.support.serving import leases_run_out
from tests.support.waiting import until
from tests.support.world import ServiceWorld, nobody_died

TEAMS = [f"team_{n}" for n in range(8)]

END_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'creditwell-projector' AND datname = current_database()
"""


async def test_facts_become_a_balance_activity_and_usage(world: ServiceWorld) -> None:
    async with world.projector() as service:
        await store(world.connection, *planned("team_1", credits=10))
        await store(world.connection, granted("team_1", "gift", 5), usage("team_1", "a", 3), usage("team_1", "b", 9))
        await world.projected()

    balance = await world.connection.fetchrow("SELECT included, additional FROM balance WHERE team_id = 'team_1'")
    assert balance is not None
    assert tuple(balance) == (0, 3_000_000)
    rows = await world.connection.fetch(
        "SELECT kind, (included + additional) / 1000000 AS credits, balance_after / 1000000 AS after FROM activity ORDER BY position, part"
    )
    assert [tuple(row) for row in rows] == [("refill", 10, 10), ("grant", 5, 15), ("usage", -3, 12), ("usage", -9, 3)]
    used = await world.connection.fetchrow("SELECT credits, uses FROM usage")
    assert used is not None
    assert tuple(used) == (12_000_000, 2)
    flows = (("usage", "out", 12), ("grant", "in", 5), ("refill", "in", 10), ("usage", "in", None))
    for kind, direction, credits in flows:
        labels = {"kind": kind, "direction": direction}
        assert service.health.registry.get_sample_value("creditwell_credits_total", labels) == credits


async def test_a_batch_of_plain_usage_alone_is_saved_as_a_fold_of_the_whole_log_has_it(world: ServiceWorld) -> None:
    async with world.projector():
        for team_id, first in (("team_1", 1), ("team_2", 10)):  # then included credits pay, or those of the gift
            await store(world.connection, *planned(team_id, credits=10), granted(team_id, "gift", 1_000))
            await store(world.connection, usage(team_id, "a", first))
        await world.projected()
        await store(world.connection, *(usage(team, name, 2) for name in "bc" for team in ("team_1", "team_2")))
        await world.projected()

    assert await every_row(world.connection) == await folded_anew(world.connection)


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_projected_live_is_what_a_fold_of_the_whole_log_gives(world: ServiceWorld, seed: int) -> None:
    histories = Histories(Random(seed), TEAMS)
    await histories.begin(world.connection)
    async with world.projector():
        await histories.go_on(world.connection, 150)
    async with world.projector():
        await histories.go_on(world.connection, 150)
        await world.projected()

    assert await every_row(world.connection) == await folded_anew(world.connection)


async def test_two_projectors_share_the_work_and_fold_each_fact_once(world: ServiceWorld) -> None:
    histories = Histories(Random(11), [f"team_{n}" for n in range(40)])
    await histories.begin(world.connection)
    async with world.projector():
        async with world.projector():
            await until(lambda: owners(world), what="each has half of the shards")
            await histories.go_on(world.connection, 200)
        await histories.go_on(world.connection, 100)
        await world.projected()

    assert await every_row(world.connection) == await folded_anew(world.connection)


async def owners(world: ServiceWorld) -> bool:
    rows = await world.connection.fetch(
        "SELECT owner, count(*) FROM checkpoints WHERE reader LIKE 'projector_of_%' GROUP BY owner"
    )
    return sorted(row["count"] for row in rows) == [32, 32]


async def test_a_projector_that_lost_its_lease_in_the_middle_of_a_batch_changes_nothing(
    world: ServiceWorld, fleet: Fleet
) -> None:
    histories = Histories(Random(12), TEAMS)
    await histories.begin(world.connection)
    await histories.go_on(world.connection, 100)

    fleet.start("projector-1", stop_at="projector:folded:1")
    await fleet.frozen("projector-1")
    await leases_run_out(world.connection)
    async with world.projector():
        await world.projected()
        fleet.processes.resume("projector-1")
        await histories.go_on(world.connection, 100)
        await world.projected()

    async def same() -> bool:  # the one that was frozen lives on, and may have something to say about a balance
        return await every_row(world.connection) == await folded_anew(world.connection)

    await until(same, what="the tables are those of a replay")
    nobody_died(fleet.processes)


async def test_a_projector_frozen_inside_its_transaction_holds_nobody_up_for_long(
    world: ServiceWorld, fleet: Fleet
) -> None:
    histories = Histories(Random(13), TEAMS)
    await histories.begin(world.connection)
    await histories.go_on(world.connection, 2 * COPY_ROWS_MIN)  # so many that one statement does not carry them

    fleet.start("projector-1", stop_at="projector:saved:1", lease_seconds="2")
    await fleet.frozen("projector-1")  # PostgreSQL ends the session that hangs, by itself
    await leases_run_out(world.connection)
    async with world.projector():
        await world.projected()
        fleet.processes.resume("projector-1")
        await histories.go_on(world.connection, 100)
        await world.projected()

    async def same() -> bool:  # the one that was frozen lives on, and may have something to say about a balance
        return await every_row(world.connection) == await folded_anew(world.connection)

    await until(same, what="the tables are those of a replay")
    nobody_died(fleet.processes)


@pytest.mark.usefixtures("durable")
async def test_a_projector_goes_on_after_postgresql_crashed_under_it(world: ServiceWorld) -> None:
    histories = Histories(Random(14), TEAMS)
    await histories.begin(world.connection)
    async with world.projector():
        await histories.go_on(world.connection, 60)
        await asyncio.to_thread(world.stack.restart_postgres, "immediate")
        await world.reconnect()
        await histories.go_on(world.connection, 60)
        await world.projected(within=120)

    assert await every_row(world.connection) == await folded_anew(world.connection)


async def test_a_projector_whose_sessions_were_ended_goes_on_at_once(world: ServiceWorld) -> None:
    async with world.projector():
        await store(world.connection, *planned("team_1"))
        await world.projected()
        await world.connection.execute(END_SESSIONS)
        await store(world.connection, granted("team_1", "gift"))
        await world.projected()


async def test_a_projector_that_had_many_outages_in_its_life_is_as_quick_after_the_next_one(
    world: ServiceWorld,
) -> None:
    await store(world.connection, *planned("team_1"))
    minutes, first_waits = 0, []
    with capture_logs() as lines:
        async with world.projector() as service:
            service.health.now = lambda: monotonic() + 60 * minutes
            for outage in range(7):
                await store(world.connection, granted("team_1", f"gift-{outage}"))
                await world.projected()
                minutes += 1  # of good work
                before = len(lines)
                await world.connection.execute(END_SESSIONS)

                async def noticed(before: int = before) -> float | None:
                    waits = [
                        line["next_try_seconds"]
                        for line in lines[before:]
                        if "next_try_seconds" in line and line["what"] == "the database"
                    ]
                    return waits[0] if waits else None

                first_waits.append(await until(noticed, what="the projector says that the database is away"))

    assert max(first_waits) <= retry.FIRST_SECONDS
    assert len(set(first_waits)) > 1, "projectors that lost the database together come back together"


async def test_a_projector_that_waits_for_the_database_stops_when_it_is_asked_to(world: ServiceWorld) -> None:
    async with world.projector(first_wait_seconds=3_600.0) as service:
        await store(world.connection, *planned("team_1"))
        await world.projected()
        await world.connection.execute(END_SESSIONS)

        async def waits() -> bool:
            return "the database" in service.health.absent

        await until(waits, what="the projector says that the database is away")
        service.stop.set()
        ended, _ = await asyncio.wait({service.task}, timeout=60)
        service.task.cancel()

    assert ended, "it sits out its wait"


async def test_a_gap_in_the_log_stops_the_projector_and_nothing_is_read_past_it(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1"), *[granted("team_1", f"gift-{n}") for n in range(9)])
    await world.connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
    await world.connection.execute("DELETE FROM facts WHERE id = 'gift-4'")

    with pytest.raises(ExceptionGroup) as raised:
        async with world.projector() as service:
            await asyncio.wait_for(asyncio.shield(service.task), 60)

    assert raised.group_contains(Exception, match=r"has no position \d+: a fact was removed")
    assert await world.connection.fetchval("SELECT count(*) FROM activity") == 0
