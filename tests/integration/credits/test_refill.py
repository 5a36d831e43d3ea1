"""What the calendar brings, once each: refills, the end of lots and holds, sealed cycles."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.cycles import cycle, cycle_at
from schemas.facts import (
    BalanceRanLow,
    CreditsExpired,
    CreditsGranted,
    HoldExpired,
    NewFact,
    PeriodSealed,
    Stored,
)
from services.credits.refill import DUE, TEAMS_MAX, expire_due, expire_holds_due, refill_due, seal_due
from services.read_models.balances import read_balance
from services.store.append import append
from services.store.connect import Connection
from services.store.read import read_team
from services.store.shards import shard_of
from tests.integration.read_models.test_low_balance import projecting
from tests.support.holds import held
from tests.support.serving import as_role, connected, plan, serving, store, used
from tests.support.waiting import until

HOUR = timedelta(hours=1)


async def new_team(connection: Connection, *, ago: timedelta, credits: int = 100, notice: int = 0) -> str:
    """A team that exists since then; nobody has touched it since."""
    team, began = f"team_{uuid4().hex}", datetime.now(UTC) - ago
    async with connection.transaction():
        await append(connection, [NewFact(team, "test", "plan", began, plan(credits, notice=notice, anchor=began))])
    return team


async def facts_of(connection: Connection, team: str) -> list[Stored]:
    """A team's log."""
    return await read_team(connection, shard_of(team), team, 0, 10_000)


async def kinds(connection: Connection, team: str) -> list[str]:
    """What happened to a team, in order, after its plan."""
    return [type(stored.fact()).__name__ for stored in await facts_of(connection, team)][1:]


async def recorder_passed(connection: Connection, moment: datetime) -> None:
    """Everything that Kafka received up to a moment is in the log."""
    await connection.execute(
        "INSERT INTO kafka_cursors (topic, partition, epoch, owner, next_offset, passed_at) "
        "SELECT 'usage', n, 1, '', 0, $1 FROM generate_series(0, 7) n "
        "ON CONFLICT (topic, partition) DO UPDATE SET passed_at = excluded.passed_at", moment,
    )  # fmt: skip


async def test_a_team_that_nobody_touches_gets_every_refill_since_it_was_last_seen_oldest_first(database: str) -> None:
    async with connected(database) as connection, connected(as_role(database, "worker")) as worker:
        team = await new_team(connection, ago=timedelta(days=70))

        await refill_due(worker)

        refills = [stored for stored in await facts_of(connection, team) if stored.type == "credits.refilled.v1"]
        now = datetime.now(UTC)
        began = datetime.now(UTC) - timedelta(days=70)
        assert [stored.id for stored in refills] == [f"cycle:plan:{k}" for k in range(cycle_at(began, "UTC", now) + 1)]
        exact = await read_balance(connection, team, now)
        assert exact is not None
        assert exact.team.total == 100 * MICRO  # what was left of earlier cycles has ended with them


async def test_refilling_twice_or_at_once_refills_once(database: str) -> None:
    async with connected(database) as one, connected(as_role(database, "worker")) as other:
        teams = [await new_team(one, ago=timedelta(days=1)) for _ in range(30)]

        await asyncio.gather(refill_due(one), refill_due(other))
        await refill_due(one)

        for team in teams:
            assert await kinds(one, team) == ["CreditsRefilled"]


async def test_a_gift_that_ends_without_usage_is_written_down_once_and_noticed(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, ago=HOUR, credits=10, notice=50)
        soon = datetime.now(UTC) + timedelta(seconds=1)
        await store(connection, team, [CreditsGranted(credits=90 * MICRO, reason="trial", expires_at=soon)])
        await passed(connection, soon)

        for _ in range(3):
            await until(lambda: projected(connection, team))
            await expire_due(connection)

        await until(lambda: told_low(connection, team))
        (ended,) = [s for s in await facts_of(connection, team) if isinstance(s.fact(), CreditsExpired)]
        assert ended.occurred_at == soon
        exact = await read_balance(connection, team, datetime.now(UTC))
        assert exact is not None
        assert exact.team.total == 10 * MICRO


async def test_a_hold_that_nobody_settles_ends_by_itself_once(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, ago=HOUR)
        hold = await held(connection, "render", 60, team_id=team, lasts=timedelta(seconds=1))
        await passed(connection, hold.expires_at)

        for _ in range(3):
            await until(lambda: projected(connection, team))
            await expire_holds_due(connection)

        ended = [stored.fact() for stored in await facts_of(connection, team) if stored.type == "hold.expired.v1"]
        assert ended == [HoldExpired(hold_id="render")]


async def test_a_cycle_is_sealed_a_grace_period_after_its_end_and_once(database: str) -> None:
    async with connected(database) as one, connected(database) as other:
        team = await new_team(one, ago=timedelta(days=70))
        await refill_due(one)
        await recorder_passed(one, datetime.now(UTC))

        await asyncio.gather(seal_due(one, HOUR), seal_due(other, HOUR))
        await seal_due(one, HOUR)

        seals = [
            (stored.id, stored.fact()) for stored in await facts_of(one, team) if stored.type == "period.sealed.v1"
        ]
        began = (await facts_of(one, team))[0].occurred_at
        over = [cycle(began, "UTC", k) for k in range(cycle_at(began, "UTC", datetime.now(UTC)))]
        assert seals == [
            (
                f"seal:plan:{c.k}",
                PeriodSealed(plan_assigned_id="plan", cycle=c.k, starts_at=c.starts_at, ends_at=c.ends_at),
            )
            for c in over
        ]
        assert await one.fetchval("SELECT sealed_cycle FROM teams WHERE team_id = $1", team) == over[-1].k


async def test_no_cycle_is_sealed_within_the_grace_period(database: str) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, ago=timedelta(days=70))
        await refill_due(connection)
        await recorder_passed(connection, datetime.now(UTC))

        await seal_due(connection, timedelta(days=60))

        assert "PeriodSealed" not in await kinds(connection, team)


async def test_a_recorder_that_is_behind_holds_sealing_up(database: str) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, ago=timedelta(days=35))
        await refill_due(connection)
        assert await seal_due(connection, HOUR) == 0  # nobody has ever read a thing

        ended = cycle((await facts_of(connection, team))[0].occurred_at, "UTC", 0).ends_at
        await recorder_passed(connection, ended + HOUR - timedelta(seconds=1))
        assert await seal_due(connection, HOUR) == 0
        await recorder_passed(connection, ended + HOUR)

        assert await seal_due(connection, HOUR) == 1


async def test_years_of_refills_and_seals_are_written_by_a_worker_that_may_not_copy(database: str) -> None:
    async with connected(database) as connection, connected(as_role(database, "worker")) as worker:
        team = await new_team(connection, ago=timedelta(days=2_500))
        await recorder_passed(connection, datetime.now(UTC))

        await refill_due(worker)
        await seal_due(worker, HOUR)

        happened = await kinds(connection, team)
        assert happened.count("CreditsRefilled") - 1 == happened.count("PeriodSealed") > 64


async def test_a_team_that_came_in_the_middle_of_its_anchors_years_has_no_earlier_cycles_to_seal(database: str) -> None:
    async with connected(database) as connection:
        team, now = f"team_{uuid4().hex}", datetime.now(UTC)
        first = NewFact(team, "test", "plan", now - timedelta(days=40), plan(anchor=now - timedelta(days=400)))
        async with connection.transaction():
            await append(connection, [first])
        await refill_due(connection)
        await recorder_passed(connection, now)

        await seal_due(connection, HOUR)

        seals = [stored.fact() for stored in await facts_of(connection, team) if stored.type == "period.sealed.v1"]
        oldest = min(seal.cycle for seal in seals if isinstance(seal, PeriodSealed))
        assert oldest == cycle_at(now - timedelta(days=400), "UTC", first.occurred_at)


async def test_cycles_before_an_anchor_that_is_ahead_are_sealed_like_any_other(database: str) -> None:
    async with connected(database) as connection:
        team, now = f"team_{uuid4().hex}", datetime.now(UTC)
        anchor, began = now + timedelta(days=400), now - timedelta(days=70)
        async with connection.transaction():
            await append(connection, [NewFact(team, "test", "plan", began, plan(anchor=anchor))])
        await refill_due(connection)
        await recorder_passed(connection, now)

        await seal_due(connection, HOUR)

        seals = [stored.fact() for stored in await facts_of(connection, team) if stored.type == "period.sealed.v1"]
        over = range(cycle_at(anchor, "UTC", began), cycle_at(anchor, "UTC", now))
        assert [seal.cycle for seal in seals if isinstance(seal, PeriodSealed)] == list(over)
        assert len(over) >= 2


async def test_usage_for_a_sealed_cycle_counts_in_the_open_one(database: str) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, ago=timedelta(days=35))
        await refill_due(connection)
        await recorder_passed(connection, datetime.now(UTC))
        await seal_due(connection, HOUR)

        async with connection.transaction():
            await append(connection, [NewFact(team, "test", "late", datetime.now(UTC) - timedelta(days=20), used(30))])

        exact = await read_balance(connection, team, datetime.now(UTC))
        assert exact is not None
        assert exact.team.included == 70 * MICRO


@pytest.mark.parametrize("step", ["refill:refilled", "refill:expired", "refill:holds_expired", "refill:sealed"])
async def test_a_refill_worker_that_is_killed_and_started_again_does_nothing_twice(
    step: str, stack: Stack, database: str
) -> None:
    environment = {"CREDITWELL_KAFKA": stack.kafka, "CREDITWELL_DATABASE": as_role(database, "worker")}
    async with connected(database) as connection:
        team = await new_team(connection, ago=timedelta(days=35))
        soon = datetime.now(UTC) + timedelta(seconds=1)
        await recorder_passed(connection, datetime.now(UTC))
        await store(connection, team, [CreditsGranted(credits=MICRO, reason="trial", expires_at=soon)])
        hold = await held(connection, "render", 1, team_id=team, lasts=timedelta(seconds=1))
        async with projecting(database):
            await until(lambda: projected(connection, team))
        untouched = await new_team(connection, ago=timedelta(days=1))
        await passed(connection, hold.expires_at)

        async with serving("refill", environment, crash_at=f"{step}:1") as killed:
            assert await killed.ended() == -9
        async with serving("refill", environment), serving("refill", environment):
            await until(lambda: done(connection, team, untouched))
            await asyncio.sleep(1.5)

        assert sorted(await kinds(connection, team)) == [
            "CreditsExpired", "CreditsGranted", "CreditsRefilled", "CreditsRefilled", "HoldExpired", "HoldPlaced", "PeriodSealed",
        ]  # fmt: skip
        assert await kinds(connection, untouched) == ["CreditsRefilled"]


async def done(connection: Connection, team: str, untouched: str) -> bool:
    """Everything that was due is in the log."""
    found = await kinds(connection, team)
    return {"CreditsExpired", "HoldExpired", "PeriodSealed"} <= set(found) and await kinds(connection, untouched) == [
        "CreditsRefilled"
    ]


async def passed(connection: Connection, moment: datetime) -> None:
    """Wait until the database's clock is past it."""
    await until(lambda: connection.fetchval("SELECT clock_timestamp() > $1", moment), what=f"it is past {moment}")


async def projected(connection: Connection, team: str) -> bool:
    """The projection has every fact of a team."""
    return bool(
        await connection.fetchval(
            "SELECT position = (SELECT max(position) FROM facts WHERE team_id = $1) FROM balance WHERE team_id = $1",
            team,
        )
    )


async def told_low(connection: Connection, team: str) -> bool:
    """The log says that the balance ran low."""
    return any(isinstance(stored.fact(), BalanceRanLow) for stored in await facts_of(connection, team))


async def test_rows_of_teams_that_the_log_does_not_know_keep_no_team_from_its_refill(connection: Connection) -> None:
    team = await new_team(connection, ago=timedelta(days=1))
    await connection.execute(
        "INSERT INTO teams (shard, team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at) "
        "SELECT n % 64, 'nobody_' || n, 'pro', 'plan', now(), 'UTC', 1, 0, '2020-01-01' FROM generate_series(1, $1) AS n",
        TEAMS_MAX + 1,
    )

    for _ in range(2):
        await refill_due(connection)

    assert await kinds(connection, team) == ["CreditsRefilled"]
    assert await connection.fetchval("SELECT count(*) FROM facts") == 2
    assert await connection.fetch(DUE, TEAMS_MAX, []) == []
