"""What is looked for every moment is found by an index, however many teams there are."""

import json
from datetime import timedelta

import pytest

from services.api.idempotency import CLAIM
from services.api.serving import BY_INDEX
from services.credits import refill
from services.money import inbox_rows
from services.money.checkout import rows as checkouts
from services.money.top_ups import due
from services.publishing import notice_rows
from services.publishing import refused as refused_bytes
from services.store.append import TAKE_HEADS, append
from services.store.beside import traces
from services.store.connect import Connection
from services.store.cycles import ENDED, STANDINGS
from services.store.shards import shard_of
from tests.support.facts import now, planned, store, usage

LOOKS = {
    "refills": refill.DUE,
    "lots that end": refill.ENDED,
    "holds that end": refill.HOLDS_ENDED,
    "attempts": due.ATTEMPTS_DUE,
    "what Stripe said": inbox_rows.TAKE,
    "checkouts": checkouts.DUE,
    "notices": notice_rows.DUE,
    "notices to forget": notice_rows.FORGET,
    "traces to forget": traces.FORGET,
}

MANY_ANSWERS = """
    INSERT INTO command_answers (shard, team_id, sub, route, key, body_sha256, answered_at)
    SELECT 0, 'team', 'sub', 'route', number::text, '',
           clock_timestamp() - CASE WHEN number = 1 THEN interval '31 days' ELSE interval '1 day' END
    FROM generate_series(1, 10000) AS number
"""

MANY_REFUSED = """
    INSERT INTO refused_bytes (topic, partition, "offset", refused_at)
    SELECT 'usage', 0, number, clock_timestamp() - interval '1 hour' FROM generate_series(1, 10000) AS number
"""

# Right after midnight: the cycles of thirty thousand teams have ended, and the refill worker has come to none of them.
OTHERS = """
    INSERT INTO teams (shard, team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at)
    SELECT number % 64, 'other_' || number, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle,
           clock_timestamp() - interval '1 second'
    FROM generate_series(1, 30000) AS number CROSS JOIN teams WHERE team_id = 'team_0'
"""
REFILLED = "SELECT array_agg(team_id ORDER BY team_id) FROM facts WHERE id LIKE 'cycle:%:1'"


@pytest.mark.parametrize("statement", LOOKS.values(), ids=LOOKS.keys())
async def test_what_is_due_is_found_by_the_time_in_an_index(connection: Connection, statement: str) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL enable_bitmapscan = off")
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        prepared = await connection.prepare(statement)
        names = [parameter.name for parameter in prepared.get_parameters()]
        await connection.execute(f"PREPARE look AS {statement}")
        plan = await connection.fetch(f"EXPLAIN EXECUTE look ({', '.join(f'NULL::{name}' for name in names)})")
        await connection.execute("DEALLOCATE look")
    conditions = [line for (line,) in plan if "Index Cond" in line]
    assert any("statement_timestamp()" in condition for condition in conditions), "\n".join(line for (line,) in plan)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_whoever_claims_a_key_looks_at_no_answer_that_is_to_stay(connection: Connection, mode: str) -> None:
    async with connection.transaction():
        await connection.execute(MANY_ANSWERS)
        await connection.execute("ANALYZE command_answers")
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        for setting, value in BY_INDEX.items():
            await connection.execute(f"SET LOCAL {setting} = {value}")

        pages = await pages_read(connection, CLAIM, 0, "team", "sub", "route", "new", b"")

        left = await connection.fetchval("SELECT count(*) FROM command_answers")
    assert (left, pages < 60) == (10_000, True), pages


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_whoever_appends_looks_for_its_own_teams_however_many_cycles_have_ended(
    connection: Connection, mode: str
) -> None:
    mine = [f"team_{number}" for number in range(10)]
    for number, team_id in enumerate(mine):
        await store(connection, *planned(team_id, anchor=now() - timedelta(days=35 if number < 2 else 1)))
    async with connection.transaction():
        await connection.execute(OTHERS)
        await connection.execute("ANALYZE teams")
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        shards = [shard_of(team_id) for team_id in mine]
        looks = [
            await pages_read(connection, TAKE_HEADS, sorted(set(shards)), shards, mine),
            await pages_read(connection, ENDED, now(), shards, mine),
            await pages_read(connection, STANDINGS, shards, mine) // 2,  # two facts of each
        ]

        await append(connection, [usage(team_id, "usage") for team_id in mine])

    assert await connection.fetchval(REFILLED) == mine[:2]
    assert max(looks) < 6 * len(mine), looks


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
async def test_whoever_lets_bytes_of_refused_records_go_looks_at_none_that_are_to_stay(
    connection: Connection, mode: str
) -> None:
    async with connection.transaction():
        await connection.execute(MANY_REFUSED)
        await connection.execute("ANALYZE refused_bytes")
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")

        pages = await pages_read(connection, refused_bytes.FORGET, timedelta(days=30), 500)

    assert pages < 60, pages


async def pages_read(connection: Connection, statement: str, *arguments: object) -> int:
    """How many pages PostgreSQL looks at for a statement that it has planned before."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    await connection.fetchval(explain, *arguments)
    plan = json.loads(await connection.fetchval(explain, *arguments))[0]["Plan"]
    pages: int = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return pages
