"""Usage by day for analysts: whatever part of it is counted, views say what decoding every use says."""

from random import Random

import pytest

from deploy.local.stack import Stack
from services.audit.replay import ReplayScope, replay
from services.read_models.days import BEHIND, COUNT, FACTS_OF_A_SHARD, READER, DaysDue, count_days, make_rows
from services.runtime.health import Health
from services.store.connect import Connection
from services.store.halts import AGAIN_SECONDS, Halts
from tests.support.facts import planned, store, usage
from tests.support.past import BEGIN, SHARD, TEAM, Past, lay, project
from tests.support.serving import as_role, connected, serving
from tests.support.waiting import until

DAILY = "SELECT * FROM analytics.usage_daily ORDER BY day, day_utc, team_id, member_id, feature, tier, source"
DECODED = """
    SELECT (u.occurred_at AT TIME ZONE t.zone)::date AS day, (u.occurred_at AT TIME ZONE 'UTC')::date AS day_utc,
           u.team_id, u.member_id, u.feature, u.tier, count(*) AS uses, sum(u.quantity) AS quantity,
           sum(u.credits) AS credits, coalesce(sum(u.credits) FILTER (WHERE u.taken_back_at IS NOT NULL), 0) AS taken_back,
           u.source, count(u.taken_back_at) AS uses_taken_back,
           coalesce(sum(u.quantity) FILTER (WHERE u.taken_back_at IS NOT NULL), 0) AS quantity_taken_back
    FROM analytics.usage u JOIN teams t USING (team_id)
    GROUP BY 1, 2, 3, 4, 5, 6, 11
    ORDER BY day, day_utc, team_id, member_id, feature, tier, source
"""
HOURS = "SELECT * FROM analytics.usage_by_hour_of_day ORDER BY day, hour_of_day, team_id"
HOURS_DECODED = """
    SELECT (u.occurred_at AT TIME ZONE t.zone)::date AS day,
           extract(hour FROM u.occurred_at AT TIME ZONE t.zone)::smallint AS hour_of_day, u.team_id,
           count(*) AS uses, sum(u.credits) AS credits
    FROM analytics.usage u JOIN teams t USING (team_id) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
LOTS = "SELECT day_utc, team_id, feature, lot, credits FROM analytics.lots_used ORDER BY 1, 2, 3, 4"
LOTS_BY_ENTRY = """
    SELECT (occurred_at AT TIME ZONE 'UTC')::date, team_id, feature, lot, -sum(credits) FROM analytics.entry_lots
    WHERE type IN ('usage', 'usage_voided') GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
ROWS = "SELECT * FROM usage_days ORDER BY shard, team_id, day, day_utc"
PLACES = "SELECT shard, position FROM checkpoints WHERE reader = $1 ORDER BY shard"

# What an append does beside facts, and a past that is laid into the log lacks.
ITS_ROW = """
    INSERT INTO teams (shard, team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at)
    VALUES ($1, $2, 'pro', 'plan', $3, 'Europe/Berlin', 0, 0, 'infinity')
"""


async def told(connection: Connection, random: Random, count: int) -> None:
    """A past of one team, in the log and folded."""
    await connection.execute(ITS_ROW, SHARD, TEAM, BEGIN)
    await lay(connection, Past(random).tell(count))
    await project(connection, batch=97)


async def rows(connection: Connection, sql: str) -> list[tuple[object, ...]]:
    """All of them."""
    return [tuple(row) for row in await connection.fetch(sql)]


async def check(connection: Connection) -> None:
    """The views say what decoding says."""
    assert await rows(connection, DAILY) == await rows(connection, DECODED)
    assert await rows(connection, HOURS) == await rows(connection, HOURS_DECODED)


@pytest.mark.parametrize("seed", [5101, 5102])
async def test_views_say_what_every_use_says_however_much_is_counted(connection: Connection, seed: int) -> None:
    random = Random(seed)
    await told(connection, random, 400)
    await check(connection)  # nobody has counted yet
    assert await rows(connection, LOTS) == await rows(connection, LOTS_BY_ENTRY)

    await make_rows(connection)
    while await count_days(connection, random.randint(1, 60)):
        await check(connection)

    assert await connection.fetchval("SELECT count(*) FROM usage_days") > 10
    assert sum(row["uses_taken_back"] for row in await connection.fetch(DAILY)) > 0
    await check(connection)


async def test_rows_follow_from_the_log_and_not_from_its_pieces_and_replay_compares_them(
    connection: Connection,
) -> None:
    await told(connection, Random(5103), 300)
    await make_rows(connection)
    while await count_days(connection, 7):
        pass
    by_pieces = await rows(connection, ROWS)
    assert await differing(connection) == set()
    await connection.execute("DELETE FROM usage_days")
    await connection.execute("DELETE FROM checkpoints WHERE reader = $1", READER)
    assert await differing(connection) == set()  # nothing is counted, and nothing is there
    await make_rows(connection)
    while await count_days(connection):
        pass

    assert await rows(connection, ROWS) == by_pieces
    await connection.execute(
        "UPDATE usage_days SET credits[1] = credits[1] + 1 WHERE ctid = (SELECT min(ctid) FROM usage_days)"
    )
    (changed,) = [one for one in (await replay(connection)).differences if one.table == "usage_days"]
    assert changed.team_id == TEAM
    await connection.execute(
        "UPDATE usage_days SET uses_by_hour[1] = 0 WHERE ctid = (SELECT min(ctid) FROM usage_days)"
    )
    assert await differing(connection) == {"usage_days"}

    await connection.execute(f"""
        ALTER TABLE facts DISABLE TRIGGER ALL;
        UPDATE facts SET body = 'no JSON' WHERE position = (SELECT max(position) FROM facts WHERE type = 'usage.recorded.v1' AND shard = {SHARD});
        ALTER TABLE facts ENABLE TRIGGER ALL;
    """)
    assert await differing(connection) == {"usage_days"}  # and replay goes on, which names the fact


async def differing(connection: Connection) -> set[str]:
    """Of this table alone: facts that were told by hand have no row of a hold."""
    found = (await replay(connection, ReplayScope(team_id=TEAM))).differences
    return {difference.table for difference in found} & {"usage_days"}


async def test_who_counts_beside_another_counts_nothing_twice(database: str, connection: Connection) -> None:
    await store(connection, *planned("team_a"), usage("team_a", "one", 3), usage("team_a", "two", 4))
    await make_rows(connection)
    async with connected(database) as other:
        async with other.transaction():
            (piece,) = await other.fetch(BEHIND, READER, 500)
            assert await count_days(connection) == 0  # that shard is another's
            await other.execute(COUNT, READER, *([of] for of in piece))
        assert await count_days(connection) == 0
    await check(connection)
    assert await connection.fetchval("SELECT sum(uses) FROM analytics.usage_daily") == 2


async def test_what_can_not_be_counted_halts_the_counting_and_nothing_else(connection: Connection) -> None:
    await store(connection, *planned("team_a"), usage("team_a", "one", 3))
    await connection.execute("UPDATE teams SET zone = 'Mars/Olympus_Mons'")
    health = Health("refill")
    days = DaysDue(Halts("days", health))

    await days.count_when_due(connection)

    (halted,) = await connection.fetch("SELECT name, why FROM halted WHERE work = 'days'")
    assert "Mars/Olympus_Mons" in halted["why"]
    assert await rows(connection, ROWS) == []
    await connection.execute("UPDATE teams SET zone = 'UTC'")
    now = health.now
    health.now = lambda: now() + AGAIN_SECONDS
    days.due_at = float("-inf")
    await days.count_when_due(connection)
    assert await connection.fetchval("SELECT uses FROM usage_days") == [1]
    assert await connection.fetch("SELECT FROM halted") == []


async def test_a_piece_that_takes_too_long_is_half_as_large_the_next_time(
    database: str, connection: Connection
) -> None:
    await store(connection, *planned("team_a"), usage("team_a", "one", 3))
    days = DaysDue(Halts("days", Health("refill")))
    await connection.execute("SET statement_timeout = '2s'")
    async with connected(database) as other, other.transaction():
        await other.execute("LOCK TABLE usage_days")
        await days.count_when_due(connection)
    assert days.facts_of_a_shard == FACTS_OF_A_SHARD // 2
    assert await rows(connection, ROWS) == []

    days.due_at = float("-inf")
    await days.count_when_due(connection)

    assert await connection.fetchval("SELECT uses FROM usage_days") == [1]
    assert await connection.fetch("SELECT FROM halted") == []


async def test_the_refill_worker_counts_as_the_role_that_it_has(
    stack: Stack, database: str, connection: Connection
) -> None:
    await store(connection, *planned("team_a"), usage("team_a", "one", 3))
    environment = {"CREDITWELL_KAFKA": stack.kafka, "CREDITWELL_DATABASE": as_role(database, "worker")}

    async with serving("refill", environment):
        await until(lambda: connection.fetchval("SELECT uses FROM usage_days"))

    assert await connection.fetchval("SELECT sum(facts_behind) FROM analytics.freshness WHERE reader = 'days'") == 0
    await check(connection)
