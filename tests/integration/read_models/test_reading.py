"""How reads are made: one team at a time, in one statement, and of a long log only what is asked for."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from projections.balance.state import ActivityKind
from services.api.context import QuickRead, as_team, see_for_one_statement
from services.api.serving import BY_INDEX
from services.read_models.activity import NEWEST, Filter, page_statement
from services.read_models.balances import EXACT, TAIL_MAX, read_balance
from services.store.connect import Pool, connect_pool
from services.store.protocols import Reads
from services.store.shards import shard_of
from tests.support.facts import granted, now, planned, store, usage
from tests.support.world import ServiceWorld

CREDIT = 1_000_000
LONG = 3_000  # facts: enough to see who reads all of them
TEAMS_SEEN = "SELECT team_id FROM facts WHERE team_id <> $1 ORDER BY team_id, position DESC"


@pytest.fixture
async def two_teams(world: ServiceWorld) -> ServiceWorld:
    for team in ("team_1", "team_2"):
        await store(world.connection, *planned(team, credits=10))
        await store(world.connection, usage(team, "u", 3))
    return world


@pytest.fixture
async def api(two_teams: ServiceWorld) -> AsyncIterator[Pool]:
    """One session with the privileges of the API."""
    pool = await connect_pool(f"{two_teams.database}?role=creditwell_api", process="test", size=1, settings=BY_INDEX)
    yield pool
    await pool.close()


@pytest.mark.parametrize("unwanted", ["", "enable_nestloop", "enable_seqscan", "enable_indexscan", "enable_material"])
async def test_a_glance_sees_its_team_alone_however_postgresql_goes_about_it(
    two_teams: ServiceWorld, api: Pool, unwanted: str
) -> None:
    if unwanted:
        await two_teams.connection.execute(f"ALTER ROLE creditwell_api SET {unwanted} = off")
        await api.expire_connections()
    try:
        for team, seen in (("team_1", {"team_1"}), ("team_2", {"team_2"}), ("*", set()), ("", set())):
            rows = await QuickRead(api, team).fetch(TEAMS_SEEN, "creditwell")
            assert {row["team_id"] for row in rows} == seen
            assert len(rows) == 3 * len(seen)
            assert (await QuickRead(api, team).fetchrow(TEAMS_SEEN, "creditwell") is not None) == bool(seen)
    finally:
        await two_teams.connection.execute("ALTER ROLE creditwell_api RESET ALL")


async def test_whoever_uses_a_session_after_another_finds_nothing_of_him(two_teams: ServiceWorld, api: Pool) -> None:
    assert await QuickRead(api, "team_1").fetch(TEAMS_SEEN, "creditwell")
    assert await api.fetch(TEAMS_SEEN, "creditwell") == []
    async with as_team(api, "team_1") as connection:
        assert await connection.fetch(TEAMS_SEEN, "creditwell")
    assert await api.fetch(TEAMS_SEEN, "creditwell") == []
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with as_team(api, "team_1") as connection:
            await connection.fetch("SELECT 1 / 0")
    assert await api.fetch(TEAMS_SEEN, "creditwell") == []


async def test_a_glance_gives_rows_in_their_order(two_teams: ServiceWorld, api: Pool) -> None:
    await store(two_teams.connection, *[granted("team_1", f"g{n}") for n in range(50)])

    rows = await QuickRead(api, "team_1").fetch(
        "SELECT position FROM facts WHERE team_id = $1 ORDER BY position DESC", "team_1"
    )

    assert [row["position"] for row in rows] == list(range(53, 0, -1))


class Counted:
    """Reads that count themselves."""

    def __init__(self, reads: Reads) -> None:
        self.reads, self.statements = reads, 0

    def __getattr__(self, name: str) -> Any:
        self.statements += 1
        return getattr(self.reads, name)


async def test_a_balance_is_read_in_one_statement_with_refills_that_are_due_and_facts_that_nobody_has_folded(
    two_teams: ServiceWorld, api: Pool
) -> None:
    async with two_teams.projector():
        await two_teams.projected()
    await store(two_teams.connection, granted("team_1", "g", 5), usage("team_1", "later", 2))
    counted = Counted(QuickRead(api, "team_1"))

    exact = await read_balance(counted, "team_1", now())

    assert exact is not None
    assert counted.statements == 1
    assert (exact.team.included, exact.team.additional, exact.position) == (5 * CREDIT, 5 * CREDIT, 5)

    then = await read_balance(counted, "team_1", now() + timedelta(days=70))

    assert then is not None
    assert counted.statements == 2
    assert (then.team.included, then.team.additional, then.position) == (10 * CREDIT, 5 * CREDIT, 5)
    assert then.team.cycle_ends_at > now() + timedelta(days=70)


async def test_of_a_long_log_a_balance_reads_what_is_not_folded_and_a_page_what_it_shows(
    two_teams: ServiceWorld, api: Pool
) -> None:
    """Whether or not PostgreSQL has ever analysed the tables."""
    session, shard = two_teams.connection, shard_of("team_1")
    await store(session, *[usage("team_1", f"u{n}", 1) for n in range(LONG)])
    async with two_teams.projector():
        await two_teams.projected()
    await store(session, usage("team_1", "unfolded", 1))
    since = now() - timedelta(days=1)
    for analysed in (False, True):
        if analysed:
            await session.execute("ANALYZE")
        assert await rows_read(api, EXACT, shard, "team_1", TAIL_MAX + 1) < 30
        for wanted, cursor in (
            (Filter(since), NEWEST),
            (Filter(since), (LONG // 2, 0)),
            (Filter(since, frozenset({ActivityKind.USAGE})), (LONG // 2, 0)),
            (Filter(since, frozenset({ActivityKind.REFILL, ActivityKind.DISPUTE})), NEWEST),
            (Filter(since, frozenset({ActivityKind.USAGE, ActivityKind.REFUND})), NEWEST),
            (Filter(since, None, "mem_1"), (LONG // 2, 0)),
            (Filter(since, until=now() - timedelta(hours=1)), NEWEST),
            (Filter(None, until=now()), NEWEST),
            (Filter(since, frozenset({ActivityKind.USAGE}), "mem_1"), NEWEST),
        ):
            kinds = None if wanted.kinds is None else sorted(wanted.kinds)
            asked = (shard, "team_1", 0, *cursor, kinds, wanted.member_id, 26, wanted.since, wanted.until)
            assert await rows_read(api, page_statement(wanted), *asked) < 200, wanted


async def rows_read(api: Pool, statement: str, *arguments: object) -> int:
    """How many rows PostgreSQL looks at for a statement of the API, those included that it throws away."""
    seeing = see_for_one_statement(statement, len(arguments) + 1)
    literals = ", ".join("NULL" if one is None else f"'{text(one)}'" for one in arguments)
    async with api.acquire() as session:
        await session.execute(f"PREPARE asked AS {seeing}")
        plans = []
        for mode in ("force_generic_plan", "force_custom_plan"):
            await session.execute(f"SET plan_cache_mode = {mode}")
            plans.append(await session.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({literals}, 'team_1')"))
        await session.execute("DEALLOCATE asked")
        await session.execute("RESET plan_cache_mode")
    return max(
        sum(
            int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            for node in nodes(json.loads(plan)[0]["Plan"])
            if "Relation Name" in node
        )
        for plan in plans
    )


def text(argument: object) -> str:
    if isinstance(argument, list):
        return f"{{{','.join(argument)}}}"
    return argument.isoformat() if isinstance(argument, datetime) else str(argument)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)
