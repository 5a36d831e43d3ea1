"""What is looked for every moment is found by an index, however many teams there are."""

import pytest

from services import refill
from services.api import once
from services.store import attempts, checkouts, inbox, notices
from services.store.connect import Connection

LOOKS = {
    "refills": refill.DUE,
    "lots that end": refill.ENDED,
    "holds that end": refill.HOLDS_ENDED,
    "attempts": attempts.ATTEMPTS_DUE,
    "what Stripe said": inbox.TAKE,
    "checkouts": checkouts.DUE,
    "notices": notices.DUE,
    "notices to forget": notices.FORGET,
    "answers to forget": once.CLAIM,
}

# Two indexes would do for an empty table.
SOME_ANSWERS = """
    INSERT INTO command_answers (shard, team_id, sub, route, key, body_sha256)
    SELECT 0, 'team', 'sub', 'route', number::text, '' FROM generate_series(1, 1000) AS number
"""


@pytest.mark.parametrize("statement", LOOKS.values(), ids=LOOKS.keys())
async def test_what_is_due_is_found_by_the_time_in_an_index(connection: Connection, statement: str) -> None:
    async with connection.transaction():
        await connection.execute(SOME_ANSWERS)
        await connection.execute("ANALYZE command_answers")
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
