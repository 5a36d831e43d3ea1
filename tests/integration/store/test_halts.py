"""What goes wrong for one team halts that team, by name.

Everybody else's work goes on, and theirs when it is mended.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
from typer.testing import CliRunner

from schemas.credits import MICRO
from schemas.facts import BalanceRanLow, CreditsGranted, CreditsToppedUp
from services.cli import app
from services.credits.refill import refill_due, seal_due
from services.money.inbox import work_on_inbox
from services.money.top_ups.due import teams_due
from services.money.topup import sweep
from services.read_models import projector
from services.read_models.balances import PROJECTOR
from services.read_models.low_balance import judge
from services.runtime.health import STUCK_SECONDS, Health
from services.runtime.settings import Settings
from services.store.connect import Connection, connect_pool
from services.store.halts import AGAIN_SECONDS, Halts
from services.store.shards import shard_of
from tests.faults.rush import a_worker
from tests.integration.credits.test_refill import kinds, new_team, recorder_passed
from tests.integration.read_models.test_low_balance import told
from tests.support import desk as stand_in
from tests.support.desk import Desk
from tests.support.serving import as_role, plan, store, used
from tests.support.usage import used as reported
from tests.support.waiting import until
from tests.support.world import ServiceWorld

NOWHERE = "Mars/Olympus_Mons"
HALTED = "SELECT work, name, why FROM halted ORDER BY work, name"


def two_teams() -> tuple[str, str]:
    """Of different shards."""
    one = f"team_{uuid4().hex}"
    while shard_of(other := f"team_{uuid4().hex}") == shard_of(one):
        pass
    return one, other


@asynccontextmanager
async def projecting(database: str) -> AsyncIterator[Health]:
    """The projector with its low-balance watch, and what it says of itself."""
    stop, health = asyncio.Event(), Health("projector")
    serve = asyncio.create_task(projector.serve(Settings(database=as_role(database, "projector")), stop, health))
    try:
        yield health
    finally:
        stop.set()
        await serve


def a_minute_later(health: Health) -> None:
    """The next try is due."""
    now = health.now
    health.now = lambda: now() + AGAIN_SECONDS


async def included(connection: Connection, team: str) -> int | None:
    """What the projection says of a team's included credits."""
    credits: int | None = await connection.fetchval("SELECT included FROM balance WHERE team_id = $1", team)
    return credits


async def nobody_halted(health: Health) -> bool:
    """It says so just after the table does."""
    return health.halted == {}


async def until_included(connection: Connection, team: str, credits: int) -> None:
    async def look() -> bool:
        return await included(connection, team) == credits * MICRO

    await until(look, what=f"{team} has {credits} credits")


async def until_halted(connection: Connection, *names: tuple[str, str]) -> list[asyncpg.Record]:
    """These works are halted for these teams, and nothing for any other: the rows of `names`, by work and name.

    Another work may stumble over the same row of the same team, sooner or later: who comes first is chance.
    """
    rows: list[asyncpg.Record] = []

    async def look() -> bool:
        rows[:] = await connection.fetch(HALTED)
        halted = {(row["work"], row["name"]) for row in rows}
        return halted >= set(names) and {name for _, name in halted} == {name for _, name in names}

    try:
        await until(look, what=f"halted: {names}")
    except AssertionError as error:
        error.add_note(f"halted were {rows}")
        raise
    return [row for row in rows if (row["work"], row["name"]) in names]


async def test_a_fact_that_can_not_be_folded_halts_its_team_and_no_other_shard_until_it_is_mended(
    connection: Connection, database: str
) -> None:
    bad, good = two_teams()
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
    for team in (bad, good):
        await store(connection, team, [plan(100), CreditsGranted(credits=0, reason="opens the first cycle")])
    (broken,) = (await store(connection, bad, [used(10)])).places
    body = await connection.fetchval(
        "UPDATE facts SET body = 'no JSON' WHERE shard = $1 AND position = $2 RETURNING (SELECT f.body FROM facts f "
        "WHERE f.shard = $1 AND f.position = $2)", broken.shard, broken.position,
    )  # fmt: skip
    await store(connection, bad, [used(20)])

    async with projecting(database) as health:
        await until_included(connection, good, 100)
        (row,) = await until_halted(connection, (PROJECTOR, bad))
        await store(connection, good, [used(30)])
        await until_included(connection, good, 70)

        assert await included(connection, bad) == 100 * MICRO  # what came before stands
        assert "JSON" in row["why"]
        assert {name for _, name in health.halted} == {bad}
        later = health.now() + STUCK_SECONDS - 1
        health.now = lambda: later
        assert health.stuck() == []

        await connection.execute(
            "UPDATE facts SET body = $3 WHERE shard = $1 AND position = $2", broken.shard, broken.position, body
        )
        a_minute_later(health)
        await until_included(connection, bad, 70)
        await until_halted(connection)
        await until(lambda: nobody_halted(health), what="the process names nobody")


async def test_a_state_that_can_not_be_read_halts_its_team_also_for_the_next_process_and_mends_by_itself(
    connection: Connection, database: str
) -> None:
    bad, good = two_teams()
    for team in (bad, good):
        await store(connection, team, [plan(100, notice=50 * MICRO), CreditsGranted(credits=0, reason="opens a cycle")])
    async with projecting(database):
        await until_included(connection, bad, 100)
        await until_included(connection, good, 100)
    holds = "UPDATE balance SET holds = $2::jsonb WHERE team_id = $1"
    await connection.execute(holds, bad, '{"h": "no hold"}')
    for team in (bad, good):
        await store(connection, team, [used(60)])

    async with projecting(database):
        await until_included(connection, good, 40)
        await until_halted(connection, (PROJECTOR, bad))
        await until(lambda: _said_low(connection, good), what="the other is told to be low")
    await connection.execute(holds, bad, "{}")
    async with projecting(database):
        await until_included(connection, bad, 40)
        await until_halted(connection)


async def _said_low(connection: Connection, team: str) -> bool:
    return [kind for kind, _ in await told(connection, team)] == [BalanceRanLow.__name__]


async def test_a_raised_hand_that_can_not_be_judged_keeps_no_other_waiting(
    connection: Connection, database: str
) -> None:
    bad, good = two_teams()
    for team in (bad, good):
        await store(connection, team, [plan(100, notice=50 * MICRO), CreditsGranted(credits=0, reason="opens a cycle")])
    async with projecting(database):
        await until_included(connection, bad, 100)
        await until_included(connection, good, 100)
    await connection.execute("UPDATE balance SET alarm = true, holds = '{\"h\": 1}' WHERE team_id = $1", bad)
    await store(connection, good, [used(60)])

    async with projecting(database) as health:
        await until(lambda: _said_low(connection, good), what="the other is told to be low")
        await until_halted(connection, ("low balances", bad))
        assert {name for _, name in health.halted} == {bad}


async def move_to(connection: Connection, team: str, zone: str) -> None:
    """The team's plan says another zone, as a build with a newer tzdata may have written it."""
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
    await connection.execute(
        "UPDATE facts SET body = convert_to(regexp_replace(convert_from(body, 'UTF8'), '\"zone\":\"[^\"]*\"', $2), 'UTF8') "
        "WHERE team_id = $1 AND type = 'plan.assigned.v1'", team, f'"zone":"{zone}"',
    )  # fmt: skip
    await connection.execute("ALTER TABLE facts ENABLE TRIGGER ALL")
    await connection.execute("UPDATE teams SET zone = $2 WHERE team_id = $1", team, zone)


async def test_a_zone_that_this_build_does_not_know_holds_up_that_teams_refill_and_seal_alone(
    connection: Connection,
) -> None:
    bad, good = [await new_team(connection, ago=timedelta(days=32)) for _ in range(2)]
    await move_to(connection, bad, NOWHERE)
    await recorder_passed(connection, datetime.now(UTC))
    health = Health("refill")
    refills, seals = Halts("refill", health), Halts("sealing", health)

    await refill_due(connection, refills)
    await connection.execute("UPDATE teams SET cycle = 1, sealed_cycle = -1 WHERE team_id = $1", bad)
    await seal_due(connection, timedelta(0), seals)

    assert "CreditsRefilled" in await kinds(connection, good)
    assert "PeriodSealed" in await kinds(connection, good)
    assert await kinds(connection, bad) == []
    rows = await until_halted(connection, ("refill", bad), ("sealing", bad))
    assert all(NOWHERE in row["why"] for row in rows)
    await store(connection, bad, [used(1)])  # what it used is recorded all the same
    assert await kinds(connection, bad) == ["UsageRecorded"]

    await move_to(connection, bad, "UTC")
    await connection.execute("UPDATE teams SET cycle = -1 WHERE team_id = $1", bad)
    assert await refill_due(connection, refills) == 0  # not before the next try
    a_minute_later(health)
    await refill_due(connection, refills)
    assert "CreditsRefilled" in await kinds(connection, bad)
    await until_halted(connection, ("sealing", bad))


async def test_the_recorder_records_what_a_team_without_a_known_zone_uses(world: ServiceWorld) -> None:
    await world.team("team_1", "team_2")
    await world.connection.execute("UPDATE teams SET cycle_ends_at = clock_timestamp()")
    await move_to(world.connection, "team_1", NOWHERE)

    async with world.recorder():
        await world.send(reported("team_1", "a"), reported("team_2", "b"))
        await world.recorded()

    assert await world.usage_ids("team_1") == ["a"]
    assert await world.usage_ids("team_2") == ["b"]


async def test_a_usage_whose_first_record_can_not_be_read_is_refused_and_keeps_no_other_waiting(
    world: ServiceWorld,
) -> None:
    await world.team("team_1", "team_2")
    again = reported("team_1", "a")
    async with world.recorder():
        await world.send(again)
        await world.recorded()
        await world.connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
        await world.connection.execute("UPDATE facts SET body = 'no JSON' WHERE id = 'a'")
        await world.send(again, again, reported("team_2", "b"))
        await world.recorded()

    assert set(await world.reasons()) == {"unreadable_fact"}
    assert await world.usage_ids("team_2") == ["b"]


async def test_a_team_whose_top_ups_can_not_be_read_is_halted_and_the_others_are_charged(
    database: str, connection: Connection, desk: Desk
) -> None:
    bad, good = [await stand_in.new_team(connection, desk) for _ in range(2)]
    for team in (bad, good):
        await store(connection, team, [used(300)])
        await judge(connection, team)
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
    await connection.execute(
        "UPDATE facts SET body = 'no JSON' WHERE team_id = $1 AND type = 'top_up.configured.v1'", bad
    )

    async with await connect_pool(as_role(database, "worker"), process="test", size=4) as pool:
        worker = a_worker(pool, desk)
        for team in (bad, good):
            await worker.look_at_guarded(team)

    assert await stand_in.has(connection, good, CreditsToppedUp)
    await until_halted(connection, ("top-ups", bad))
    topped_up = "SELECT count(*) FROM facts WHERE team_id = $1 AND type = 'credits.topped_up.v1'"
    assert await connection.fetchval(topped_up, bad) == 0


async def test_a_team_whose_top_ups_are_halted_is_named_no_more_once_nothing_is_due(
    database: str, connection: Connection, desk: Desk
) -> None:
    team = await stand_in.new_team(connection, desk)
    bodies = "SELECT body FROM facts WHERE team_id = $1 AND type = 'top_up.configured.v1'"
    right = await connection.fetchval(bodies, team)
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
    spoil = "UPDATE facts SET body = $2 WHERE team_id = $1 AND type = 'top_up.configured.v1'"

    async with projecting(database), await connect_pool(as_role(database, "worker"), process="test", size=4) as pool:
        await until_included(
            connection, team, 1_200
        )  # or the projector may stumble, too, and waits a minute of its own
        await connection.execute(spoil, team, b"no JSON")
        worker, stop = a_worker(pool, desk), asyncio.Event()
        await worker.look_at_guarded(team)
        await until_halted(connection, ("top-ups", team))
        await connection.execute(spoil, team, right)
        assert team not in await teams_due(connection, 500)
        a_minute_later(worker.health)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sweep(worker, stop))
            tasks.create_task(worker.work())
            await until_halted(connection)
            stop.set()
            worker.finish(1)
    assert worker.health.halted == {}


async def test_news_of_stripes_that_is_halted_is_named_no_more_once_somebody_else_is_done_with_it(
    database: str, connection: Connection, desk: Desk
) -> None:
    await connection.execute(
        "INSERT INTO stripe_inbox (event_id, type, object_kind, object_id, created_at, look_at, done_at) VALUES "
        "('evt_done', 'x', 'x', 'x', now(), 'infinity', now()), ('evt_open', 'x', 'x', 'x', now(), 'infinity', NULL)"
    )
    before = Halts("inbox", Health("topup"))
    for name in ("evt_done", "evt_open", f"page {uuid4()}"):
        await before.halt(connection, name, ValueError("no such thing"))
    stop, health = asyncio.Event(), Health("topup")

    async with await connect_pool(as_role(database, "worker"), process="test", size=2) as pool:
        working = asyncio.create_task(work_on_inbox(pool, desk.charges, stop, health))
        await until_halted(connection, ("inbox", "evt_open"))
        stop.set()
        await working
    assert [name for _, name in health.halted] == ["evt_open"]


async def test_an_operator_reads_who_is_halted_and_why(connection: Connection, database: str) -> None:
    environment = {"CREDITWELL_DATABASE": database, "CREDITWELL_LOG_FORMAT": "json"}

    async def run(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["halted", "list", *arguments], env=environment)
        return result.exit_code, result.stdout

    assert (await run("--json"))[0] == 0
    await Halts("refill", Health("refill")).halt(connection, "team_1", ValueError("no such zone"), shard=7, position=9)

    code, answer = await run("--json")
    assert code == 1
    (item,) = json.loads(answer)["items"]
    assert {name: item[name] for name in ("work", "name", "shard", "position", "why")} == {
        "work": "refill", "name": "team_1", "shard": 7, "position": 9, "why": "ValueError: no such zone",
    }  # fmt: skip
    assert "team_1" in (await run())[1]
