"""Low, out, recovered: told once per crossing, on exact balances, and never by a replay."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    CreditsGranted,
    CreditsRefilled,
    HoldPlaced,
    TopUpConfigured,
)
from services.read_models import projector
from services.read_models.low_balance import LOW_BALANCE, judge
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.store.connect import Connection
from services.store.read import read_team
from services.store.shards import shard_of
from tests.support.heads import it_is
from tests.support.serving import as_role, connected, plan, store, used
from tests.support.waiting import until


@asynccontextmanager
async def projecting(database: str) -> AsyncIterator[None]:
    """The projector, with its low-balance reader, in this process."""
    stop = asyncio.Event()
    serve = asyncio.create_task(
        projector.serve(Settings(database=as_role(database, "projector")), stop, Health("projector"))
    )
    try:
        yield
    finally:
        stop.set()
        await serve


async def new_team(connection: Connection, credits: int, *, notice: int) -> str:
    """A team with so many included credits."""
    team = f"team_{uuid4().hex}"
    await store(
        connection, team, [plan(credits, notice=notice), CreditsGranted(credits=0, reason="opens the first cycle")]
    )
    return team


async def told(connection: Connection, team: str) -> list[tuple[str, int]]:
    """What was said about a team's balance: the kind and the available credits."""
    facts = [stored.fact() for stored in await read_team(connection, shard_of(team), team, 0, 100_000)]
    return [
        (type(fact).__name__, fact.available_credits // MICRO)
        for fact in facts
        if isinstance(fact, BalanceRanLow | BalanceRecovered | BalanceRanOut)
    ]


async def settled(connection: Connection, team: str) -> list[tuple[str, int]]:
    """What was said when everything is folded and no hand is raised any more."""

    async def at_rest() -> bool:
        shard = shard_of(team)
        behind = await connection.fetchval(
            "SELECT h.next - 1 > c.position FROM shard_heads h JOIN checkpoints c USING (shard) "
            "WHERE c.reader LIKE 'projector_of_%' AND c.shard = $1", shard,
        )  # fmt: skip
        return behind is False and not await connection.fetchval("SELECT alarm FROM balance WHERE team_id = $1", team)

    await until(at_rest)
    return await told(connection, team)


async def test_a_balance_that_falls_below_the_threshold_is_told_once_however_long_it_stays_low(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=50)
        await store(connection, team, [used(40)])
        assert await settled(connection, team) == []

        for _ in range(5):
            await store(connection, team, [used(2) for _ in range(4)])

        assert [kind for kind, _ in await settled(connection, team)] == ["BalanceRanLow"]


async def test_a_thousand_crossings_in_a_moment_are_one_low_episode(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=50)
        await store(connection, team, [used(51)])
        flickering: list[AnyFact] = [CreditsGranted(credits=MICRO, reason="back"), used(1)]
        for _ in range(10):
            await store(connection, team, flickering * 50)

        assert await settled(connection, team) == [("BalanceRanLow", 49)]


async def test_recovery_is_told_at_a_tenth_above_the_threshold_and_not_before(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=100)
        await store(connection, team, [used(1)])
        assert await settled(connection, team) == [("BalanceRanLow", 99)]

        await store(connection, team, [CreditsGranted(credits=10 * MICRO, reason="not enough to be calm")])
        assert await settled(connection, team) == [("BalanceRanLow", 99)]
        await store(connection, team, [CreditsGranted(credits=1 * MICRO, reason="enough")])

        assert await settled(connection, team) == [("BalanceRanLow", 99), ("BalanceRecovered", 110)]


async def test_a_balance_that_is_used_up_ran_low_and_ran_out(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=50)
        await store(connection, team, [used(130)])

        assert await settled(connection, team) == [("BalanceRanLow", -30), ("BalanceRanOut", -30)]


async def test_a_hold_can_cross_the_threshold(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=50)
        await store(
            connection,
            team,
            [HoldPlaced(hold_id="h", credits=60 * MICRO, expires_at=datetime.now(UTC) + timedelta(hours=1))],
        )

        assert await settled(connection, team) == [("BalanceRanLow", 40)]


async def test_switching_top_ups_on_while_low_and_raising_the_threshold_cross_it(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=0)
        assert await settled(connection, team) == []

        await store(
            connection, team,
            [TopUpConfigured(enabled=True, threshold_credits=150 * MICRO, credits=500 * MICRO, currency="usd")],
        )  # fmt: skip

        assert await settled(connection, team) == [("BalanceRanLow", 100)]


async def low_facts(connection: Connection, team: str) -> list[tuple[str, int]]:
    """The names of a team's low episodes, and where each began."""
    stored = await read_team(connection, shard_of(team), team, 0, 10_000)
    told = ((one.id, one.fact()) for one in stored if one.type == "balance.ran_low.v1")
    return [(name, fact.crossed_at_position) for name, fact in told if isinstance(fact, BalanceRanLow)]


@pytest.mark.parametrize("later", [0, 3])  # facts that came before the watch looked
async def test_a_low_episode_is_named_after_the_first_fact_at_which_the_balance_stood_below(
    later: int, database: str
) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, 100, notice=50)
        places = (await store(connection, team, [used(45), used(15), used(1), *[used(1)] * later])).places
        for _ in range(2):
            await judge(connection, team)

        ((name, crossed_at),) = await low_facts(connection, team)
        cause = next(
            f for f in await read_team(connection, shard_of(team), team, 0, 100) if f.position == places[1].position
        )
        digest = hashlib.sha256(json.dumps([cause.source, cause.id]).encode()).hexdigest()
        assert (name, crossed_at) == (f"low:{digest}", places[1].position)


async def test_a_dip_that_nobody_saw_names_no_episode_and_the_next_episode_has_a_name_of_its_own(database: str) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, 100, notice=50)
        back = CreditsGranted(credits=100 * MICRO, reason="back")
        second = (await store(connection, team, [used(60), back, used(100)])).places[2]
        await judge(connection, team)
        await store(connection, team, [back])
        await judge(connection, team)
        third = (await store(connection, team, [used(100)])).places[0]
        await judge(connection, team)

        named = await low_facts(connection, team)
        assert [position for _, position in named] == [second.position, third.position]
        assert len({name for name, _ in named}) == 2


async def test_where_time_alone_lowers_the_balance_the_newest_fact_names_the_episode(database: str) -> None:
    async with connected(database) as connection:
        team = await new_team(connection, 10, notice=50)  # low from the first
        ends_at = datetime.now(UTC) + timedelta(hours=1)
        await store(connection, team, [CreditsGranted(credits=100 * MICRO, reason="for an hour", expires_at=ends_at)])
        newest = (await store(connection, team, [used(1)])).places[0]
        await judge(connection, team)
        before = await low_facts(connection, team)

        async with it_is(connection, ends_at, team):
            await judge(connection, team)

        ((_, crossed_at),) = await low_facts(connection, team)
        assert (before, crossed_at) == ([], newest.position)


async def test_what_is_told_says_where_the_threshold_was_crossed_and_is_named_after_it(database: str) -> None:
    async with connected(database) as connection, projecting(database):
        team = await new_team(connection, 100, notice=50)
        crossing = (await store(connection, team, [used(60)])).places[0].position
        await settled(connection, team)

        (low,) = [
            f for f in await read_team(connection, shard_of(team), team, 0, 100) if f.type == "balance.ran_low.v1"
        ]
        fact = low.fact()
        assert isinstance(fact, BalanceRanLow)
        assert (low.source, low.id[:4], fact.crossed_at_position) == (LOW_BALANCE, "low:", crossing)
        assert fact.threshold_credits == 50 * MICRO
        assert not fact.top_up_enabled


async def test_a_projection_that_is_built_anew_tells_nothing_again(database: str) -> None:
    async with connected(database) as connection:
        async with projecting(database):
            team = await new_team(connection, 100, notice=50)
            await store(connection, team, [used(120), CreditsGranted(credits=200 * MICRO, reason="rescue")])
            before = await settled(connection, team)
        await connection.execute("TRUNCATE balance_v1, lots_v1, activity_rows_v1, activity_runs_v1, usage_v1")
        await connection.execute("UPDATE checkpoints SET position = 0 WHERE reader LIKE 'projector_of_%'")

        async with projecting(database):
            assert await settled(connection, team) == before


async def test_two_readers_at_once_tell_it_once(database: str) -> None:
    async with connected(database) as connection, projecting(database), projecting(database):
        teams = [await new_team(connection, 100, notice=50) for _ in range(10)]
        for team in teams:
            await store(connection, team, [used(60)])

        for team in teams:
            assert await settled(connection, team) == [("BalanceRanLow", 40)]


async def test_a_cycle_that_began_a_moment_ago_is_refilled_before_anybody_is_called_low(database: str) -> None:
    async with connected(database) as connection:
        team = f"team_{uuid4().hex}"
        await store(connection, team, [plan(100, notice=50, anchor=datetime.now(UTC) - timedelta(days=1))])

        await judge(connection, team)

        facts = [stored.fact() for stored in await read_team(connection, shard_of(team), team, 0, 100)]
        assert [type(fact) for fact in facts[1:]] == [CreditsRefilled]
