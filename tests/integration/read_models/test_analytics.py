"""What analysts read: commented views, right to the micro-credit, that a rebuild's switch makes anew."""

from random import Random

import asyncpg
import pytest

from projections.analytics import views
from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.state import LotPayment, TeamBalance
from schemas.credits import MICRO
from schemas.facts import HoldCaptured, Stored, UsageRecorded, UsageVoided
from services.read_models.versions import show_to_people
from services.store.connect import Connection
from tests.integration.read_models.test_rebuild import a_busy_world, rebuild_all
from tests.support.past import TEAM, Past, lay, project
from tests.support.serving import as_role, connected
from tests.support.world import ServiceWorld

COLUMNS = """
    SELECT c.relname, a.attname, col_description(c.oid, a.attnum), format_type(a.atttypid, NULL)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    WHERE c.relnamespace = 'analytics'::regnamespace AND c.relkind IN ('v', 'm', 'r')
    ORDER BY c.relname COLLATE "C", a.attnum
"""
PLAIN = {"text", "integer", "smallint", "bigint", "numeric", "boolean", "date", "timestamp with time zone", "jsonb"}
BALANCE = """
    SELECT coalesce(sum(credits), 0), coalesce(sum(included), 0), coalesce(sum(additional), 0)
    FROM analytics.entries WHERE recorded_at <= $1
"""
USED = """
    SELECT coalesce(sum(credits), 0) FROM analytics.usage
    WHERE recorded_at <= $1 AND (taken_back_at IS NULL OR taken_back_at > $1)
"""

# What is left of lots, less debt, is what teams have; of that, lots have ended of which the log has yet to say so.
OUTSTANDING = """
    SELECT (SELECT sum(remaining) FROM analytics.lots) - (SELECT sum(debt) FROM analytics.balances)
         + (SELECT coalesce(sum(remaining), 0) * 0.000001 FROM lots WHERE NOT ended AND ends_at <= now())
         - (SELECT sum(total) FROM analytics.balances)
"""


async def test_every_column_of_every_view_has_its_comment_and_a_type_that_needs_no_decoding(
    connection: Connection,
) -> None:
    found = [tuple(row) for row in await connection.fetch(COLUMNS)]

    assert [row[:3] for row in found] == sorted(
        ((view.name, name, meaning) for view in views() for name, meaning in view.columns), key=lambda row: row[0]
    )
    assert {row[3] for row in found} <= PLAIN
    assert [row for row in found if row[1].endswith("_at") and row[3] != "timestamp with time zone"] == []


@pytest.mark.parametrize("seed", [1801, 1802])
async def test_what_was_known_then_is_the_fold_of_what_was_recorded_by_then(connection: Connection, seed: int) -> None:
    random = Random(seed)
    log = Past(random).tell(400)
    await lay(connection, log)
    await project(connection, batch=97)

    for known_at in random.sample(sorted({stored.recorded_at for stored in log}), 25):
        prefix = [stored for stored in log if stored.recorded_at <= known_at]
        team, used = folded(prefix)
        expected = (team.total, team.included, team.additional)
        (balance,) = await connection.fetch(BALANCE, known_at)
        assert tuple(int(of * MICRO) for of in balance) == expected
        assert await connection.fetchval(USED, known_at) * MICRO == used


def folded(prefix: list[Stored]) -> tuple[TeamBalance, int]:
    """A team after these facts, and what it used in micro-credits, without what was taken back."""
    team, used = TeamBalance(TEAM), 0
    paid: dict[int, tuple[LotPayment, ...]] = {}
    for stored in prefix:
        fact = stored.fact()
        earlier = earlier_usage(fact)
        returned = () if earlier is None else paid.get(earlier, ())
        entries = evolve(team, stored, fact, returned, team.changed)
        paid[stored.position] = next((entry.paid for entry in entries if entry.kind == "usage"), ())
        match fact:
            case UsageRecorded(credits=credits) | HoldCaptured(credits=credits):
                used += credits
            case UsageVoided(credits=credits):
                used -= credits
            case _:
                pass
    return team, used


async def test_a_rebuild_switches_with_the_views_in_place_and_they_say_the_same_afterwards(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=1803)
    before = await every_view(world.database)

    version = await rebuild_all(world.connection)

    assert await every_view(world.database) == before
    assert len(before["usage"]) > 50
    stands_on = await world.connection.fetchval("SELECT pg_get_viewdef('analytics.entries'::regclass)")
    assert f"_v{version}" in stands_on
    assert "_v1" not in stands_on


async def every_view(database: str) -> dict[str, list[str]]:
    """What an analyst reads: all rows of each view, as text, without those that go by the clock."""
    async with connected(as_role(database, "analyst")) as analyst:
        return {
            view.name: sorted(row[0] for row in await analyst.fetch(f"SELECT t::text FROM analytics.{view.name} t"))
            for view in views()
            if view.name not in {"freshness", "balances", "holds", "lots"}
        }


async def test_the_views_of_an_older_build_are_replaced_by_the_migration(connection: Connection) -> None:
    await connection.execute(
        "SET ROLE creditwell_projector; CREATE OR REPLACE VIEW analytics.old AS SELECT * FROM analytics.usage; RESET ROLE"
    )

    await show_to_people(connection)

    with pytest.raises(asyncpg.UndefinedTableError):
        await connection.fetch("SELECT * FROM analytics.old")
    assert await connection.fetch("SELECT * FROM analytics.usage") == []


async def test_the_parts_of_a_lot_are_what_it_brought_and_what_is_left_is_what_teams_have(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=1804)

    wrong = "SELECT * FROM analytics.lots WHERE gained <> used + expired + went_back + remaining"
    assert await world.connection.fetch(wrong) == []
    assert await world.connection.fetchval(OUTSTANDING) == 0
