"""Replay folds the log anew, finds the live projections equal, and names the place where they are not (invariant 9)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import asyncpg
import pytest

from projections.balance.state import ActivityKind
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    CreditsAdjusted,
    CreditsGranted,
    CreditsPurchased,
    HoldPlaced,
    NewFact,
    PeriodSealed,
    Stored,
    UsageRecorded,
    UsageVoided,
)
from services.audit.replay import ReplayScope, replay
from services.audit.replays.outcome import ReplayDifference
from services.credits.holds.placing import PLACE
from services.credits.plans import assign_plan
from services.credits.rate_cards import seed_catalog
from services.read_models.activity import Filter, read_activity
from services.read_models.balances import read_balance
from services.read_models.rebuild import live_positions
from services.store.append import Beside, append, take_head
from services.store.connect import Connection
from services.store.read import follow, heads
from services.store.shards import shard_of
from services.usage.voids import note_voids
from tests.support.honest import project

TEAMS = ("team_a", "team_b", "team_c")
SOURCE = "/features/video"


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    """A superuser's connection to a log with all kinds of facts, of which the live projections have folded everything."""
    connection = await asyncpg.connect(database)
    catalog = load_catalog()
    async with connection.transaction():
        await seed_catalog(connection, catalog)
    for team in TEAMS:
        async with connection.transaction():
            await assign_plan(connection, catalog, team, "pro")
        await live(connection, Random(team), team)
    await project(connection)
    yield connection
    await connection.close()


async def live(connection: Connection, random: Random, team: str) -> None:
    """A few dozen things happen to a team."""
    now = datetime.now(UTC)
    for number in range(30):
        occurred_at = now - timedelta(minutes=random.randrange(0, 60 * 24))
        facts: list[AnyFact] = [
            UsageRecorded(
                feature=random.choice(["ai_video.generate", "ai_audio.music"]), quantity="1", member_id="mem_7", rate_card=1,
                credits=random.randrange(1, 400 * MICRO),
            ),
            CreditsPurchased(
                credits=500 * MICRO, pack="mini", payment_intent_id=f"pi_{team}_{number}", charge_cents=1, currency="usd"
            ),
            CreditsGranted(credits=50 * MICRO, reason="welcome", expires_at=now + timedelta(days=1)),
            CreditsAdjusted(credits=-MICRO, reason="mistake"),
            HoldPlaced(hold_id=f"hold_{number}", credits=MICRO, expires_at=now + timedelta(hours=1)),
        ]  # fmt: skip
        await add(connection, NewFact(team, SOURCE, f"fact-{number}", occurred_at, random.choice(facts)))
    usages = [stored for stored in await facts_of(connection, team) if stored.type == UsageRecorded.type]
    for usage in usages[:3]:
        await void(connection, usage)
    sealed = PeriodSealed(
        plan_assigned_id="x", cycle=-1, starts_at=now - timedelta(days=40), ends_at=now - timedelta(hours=12)
    )
    await add(connection, NewFact(team, "creditwell:sealing", "sealed", now, sealed))
    await add(connection, used(team, "late", now - timedelta(hours=13)))


def used(team: str, name: str, occurred_at: datetime) -> NewFact:
    fact = UsageRecorded(feature="ai_video.generate", quantity="1", credits=MICRO, rate_card=1)
    return NewFact(team, SOURCE, name, occurred_at, fact)


async def void(connection: Connection, usage: Stored) -> None:
    fact = usage.fact()
    assert isinstance(fact, UsageRecorded)
    voided = UsageVoided(
        usage_source=usage.source, usage_id=usage.id, usage_position=usage.position, usage_occurred_at=usage.occurred_at,
        credits=fact.credits, feature=fact.feature, reason="the job failed",
    )  # fmt: skip
    await add(connection, NewFact(usage.team_id, SOURCE, f"void-{usage.id}", usage.occurred_at, voided))


async def add(connection: Connection, new: NewFact) -> None:
    async with connection.transaction():
        head, rows = await take_head(connection, new.team_id), list[Beside]()
        if isinstance(new.fact, HoldPlaced):
            hold, shard = new.fact, shard_of(new.team_id)
            row = (shard, new.team_id, hold.hold_id, None, hold.credits, head.recorded_at, hold.expires_at)
            rows.append(Beside(PLACE, row))
        appended = await append(connection, [new], head, lambda _: rows)
        await note_voids(connection, [(new, appended.places[0])])


async def facts_of(connection: Connection, team: str) -> list[Stored]:
    return [stored async for page in follow(connection, shard_of(team)) for stored in page if stored.team_id == team]


async def test_what_is_folded_anew_is_what_the_live_projections_say(connection: Connection) -> None:
    replayed = await replay(connection)

    assert list(map(str, replayed.differences)) == []
    assert replayed.facts == sum((await live_positions(connection)).values()) == sum((await heads(connection)).values())
    assert replayed.teams == len(TEAMS)
    rows = await connection.fetch("SELECT kind, count(*) FROM activity GROUP BY kind")
    assert {kind.value: total.entries for kind, total in replayed.totals.items()} == {
        row["kind"]: row["count"] for row in rows
    }
    assert replayed.totals[ActivityKind.USAGE_VOIDED].entries == 3 * len(TEAMS)


async def test_facts_that_are_not_folded_yet_are_no_difference(connection: Connection) -> None:
    before = sum((await live_positions(connection)).values())
    await add(connection, used("team_a", "new", datetime.now(UTC)))

    replayed = await replay(connection)

    assert (replayed.differences, replayed.facts) == ([], before)


async def test_projections_built_in_many_small_steps_are_the_same_as_in_one(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await seed_catalog(connection, load_catalog())
            await assign_plan(connection, load_catalog(), "team_a", "pro")
        for number in range(20):
            await add(connection, used("team_a", f"use-{number}", datetime.now(UTC)))
            await project(connection)
            if number % 5 == 4:
                await void(connection, (await facts_of(connection, "team_a"))[-3])
                await project(connection)
        assert list(map(str, (await replay(connection)).differences)) == []
    finally:
        await connection.close()


async def test_a_void_finds_whoever_has_paid_debt_however_long_ago_they_settled(connection: Connection) -> None:
    team, position = "team_d", dict[str, int]()
    async with connection.transaction():
        await assign_plan(connection, load_catalog(), team, "pro")

    async def tell(name: str, fact: AnyFact) -> None:
        await add(connection, NewFact(team, SOURCE, name, datetime.now(UTC), fact))
        position[name] = (await facts_of(connection, team))[-1].position

    async def use(name: str, credits: int) -> None:
        await tell(name, UsageRecorded(feature="ai_audio.music", quantity="1", credits=credits * MICRO, rate_card=1))

    async def buy(name: str, credits: int) -> None:
        money = {"payment_intent_id": name, "charge_cents": 1, "currency": "usd"}
        await tell(name, CreditsPurchased(credits=credits * MICRO, pack="mini", **money))

    async def paid_of_voids() -> list[list[tuple[int, int]]]:
        rows = await read_activity(connection, team, Filter(kinds=frozenset({ActivityKind.USAGE_VOIDED})), limit=9)
        return [[(part.lot, part.credits // MICRO) for part in row.entry.paid] for row in rows]

    await use("all that is included", 3_000)
    await use("old", 30)
    await buy("long ago", 30)
    await project(connection)
    await use("new", 10)
    await buy("now", 10)
    for name in ("old", "new"):
        await void(connection, next(one for one in await facts_of(connection, team) if one.position == position[name]))

    expected = [[(position["long ago"], 10)], [(position["now"], 10), (position["long ago"], 20)]]
    assert await paid_of_voids() == expected  # by a read, which has the state of before and only open lots
    exact = await read_balance(connection, team, datetime.now(UTC))
    assert exact is not None
    assert {lot.lot: lot.remaining // MICRO for lot in exact.team.lots if lot.is_never_ending} == {
        position["long ago"]: 30, position["now"]: 10,
    }  # fmt: skip
    await project(connection)

    assert await paid_of_voids() == expected
    assert list(map(str, (await replay(connection)).differences)) == []


@pytest.mark.parametrize(
    ("change", "table", "column"),
    [
        ("UPDATE balance_v1 SET included = included + 1 WHERE team_id = 'team_b'", "balance", "included"),
        ("UPDATE balance_v1 SET holds = '{}' WHERE team_id = 'team_b'", "balance", "holds"),
        ("UPDATE balance_v1 SET debt_payers = '[[1, 5]]' WHERE team_id = 'team_b'", "balance", "debt_payers"),
        ("DELETE FROM balance_v1 WHERE team_id = 'team_b'", "balance", "the row"),
        (
            "UPDATE lots_v1 SET remaining = remaining + 1 WHERE team_id = 'team_b' AND kind = 'included'",
            "lots",
            "remaining",
        ),
        ("DELETE FROM lots_v1 WHERE team_id = 'team_b' AND kind = 'included'", "lots", "the row"),
        (
            "UPDATE activity_rows_v1 SET balance_after = 7 WHERE team_id = 'team_b' AND position = 9",
            "activity",
            "balance_after",
        ),
        ("DELETE FROM activity_rows_v1 WHERE team_id = 'team_b' AND kind = 'refill'", "activity", "the row"),
        (
            "UPDATE activity_rows_v1 SET position = 99999 WHERE team_id = 'team_b' AND kind = 'refill'",
            "activity",
            "the row",
        ),
        (
            "UPDATE usage_v1 SET features = replace(features::text, ', 1]', ', 2]')::jsonb WHERE team_id = 'team_b'",
            "usage",
            "uses",
        ),
        ("UPDATE usage_v1 SET team_id = 'team_b2' WHERE team_id = 'team_b'", "usage", "the row"),
    ],
)
async def test_whatever_is_changed_in_a_projection_is_named(
    connection: Connection, change: str, table: str, column: str
) -> None:
    if "position = 9" in change:
        change = change.replace("= 9", f"= {(await facts_of(connection, 'team_b'))[1].position}")
    await connection.execute(change)

    first, *_ = (await replay(connection)).differences

    assert (first.team_id.startswith("team_b"), first.table, first.column) == (True, table, column)
    assert (await replay(connection, ReplayScope("team_a"))).differences == []


async def test_rows_of_a_team_that_nobody_knows_are_named(connection: Connection) -> None:
    await connection.execute(
        "INSERT INTO activity_rows_v1 SELECT shard, 'team_x', position, part, kind, recorded_at, occurred_at, member_id, feature, "
        "included, additional, balance_after, paid, late FROM activity_rows_v1 WHERE team_id = 'team_a' LIMIT 1"
    )

    assert (await replay(connection)).differences == [ReplayDifference("team_x", "activity", "", "rows", 0, 1)]


async def test_one_team_and_one_stretch_of_time_can_be_replayed_alone(connection: Connection) -> None:
    facts = await facts_of(connection, "team_a")
    since, until = facts[5].recorded_at, facts[12].recorded_at

    replayed = await replay(connection, ReplayScope("team_a", since, until))

    assert (replayed.differences, replayed.facts, replayed.teams) == ([], 12, 1)
    in_stretch = await connection.fetchval(
        "SELECT count(*) FROM activity WHERE team_id = 'team_a' AND recorded_at >= $1 AND recorded_at < $2",
        since,
        until,
    )
    assert sum(total.entries for total in replayed.totals.values()) == in_stretch
