"""The catalog gives other credits for a plan: every team on it gets them from its next cycle, as a fact."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.catalog import Catalog, load_catalog
from schemas.credits import MICRO
from schemas.facts import CreditsRefilled, PlanAssigned
from services.audit.replay import ReplayScope, replay
from services.cli import app
from services.credits.plan_versions import PlansApplied, apply_plans
from services.credits.plans import PlanAssignment, assign_plan
from services.credits.rate_cards import seed_catalog
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.cycles import refills_due
from tests.integration.credits.test_refill import facts_of
from tests.integration.store.test_halts import NOWHERE, move_to
from tests.support.facts import now
from tests.support.serving import as_role, connected

GIVEN = "allowance_credits = 3_000"
MONTH = timedelta(days=32)


def catalog_with(folder: Path, allowance: int, *, version: int = 1) -> Path:
    """The catalog with another allowance for the plan pro."""
    text = Path("schemas/catalog.toml").read_text("utf-8")
    assert text.count(GIVEN) == 1
    file = folder / f"catalog-{allowance}-{version}.toml"
    file.write_text(text.replace(GIVEN, f"allowance_credits = {allowance}\nversion = {version}"), "utf-8")
    return file


async def assign(connection: Connection, catalog: Catalog, *teams: str, plan: str = "pro") -> PlanAssignment:
    async with connection.transaction():
        assigned = [await assign_plan(connection, catalog, team, plan) for team in teams]
    return assigned[-1]


async def plans_of(connection: Connection, team: str) -> list[tuple[int, int | None]]:
    """Credits and version of each plan that was assigned."""
    facts = [stored.fact() for stored in await facts_of(connection, team)]
    return [(fact.allowance_credits // MICRO, fact.version) for fact in facts if isinstance(fact, PlanAssigned)]


async def refilled(connection: Connection, team: str) -> list[int]:
    """Credits of each refill in the log, and of the one of the next cycle."""
    async with connection.transaction():
        due = await refills_due(connection, [team], now() + MONTH)
    facts = [*(stored.fact() for stored in await facts_of(connection, team)), *(new.fact for new in due)]
    return [fact.credits // MICRO for fact in facts if isinstance(fact, CreditsRefilled)]


async def test_every_team_on_the_plan_gets_its_new_credits_with_its_next_cycle_and_once(
    database: str, connection: Connection, tmp_path: Path
) -> None:
    old, new = load_catalog(), load_catalog(catalog_with(tmp_path, 4_000, version=2))
    async with connection.transaction():
        await seed_catalog(connection, old)
    await assign(connection, old, "team_1", "team_2")
    await assign(connection, old, "team_3", plan="free")

    async with connected(as_role(database, "reader")) as reader:
        would = await apply_plans(reader, new, dry_run=True)
    before = await refilled(connection, "team_1")
    did, again = [await apply_plans(connection, new) for _ in range(2)]

    assert before == [3_000, 3_000]
    assert would == did == PlansApplied(moved={"pro": 2}, unchanged=1)
    assert again == PlansApplied(unchanged=3)
    for team in ("team_1", "team_2"):
        assert await plans_of(connection, team) == [(3_000, 1), (4_000, 2)]
        assert await refilled(connection, team) == [3_000, 4_000]  # nothing more for the open cycle
    audited = await replay(connection, ReplayScope(audit=True))
    assert (audited.findings, [one for one in audited.differences if one.table == "teams"]) == ([], [])


async def test_an_older_catalog_moves_nobody_back_and_fewer_credits_count_from_the_next_cycle_too(
    connection: Connection, tmp_path: Path
) -> None:
    catalogs = [load_catalog(catalog_with(tmp_path, *about)) for about in ((3_000,), (4_000,), (2_500,))]
    newer = load_catalog(catalog_with(tmp_path, 4_000, version=2))
    await assign(connection, newer, "team_1")
    await assign(connection, catalogs[1], "team_2")

    applied = await apply_plans(connection, catalogs[0])
    unchanged = await assign(connection, catalogs[0], "team_1")
    lowered = await assign(connection, catalogs[2], "team_2")  # the operator's route
    gone = await apply_plans(connection, newer.model_copy(update={"plans": {"free": newer.plans["free"]}}))

    assert applied == PlansApplied(moved={"pro": 1}, newer=1)
    assert (unchanged.changed, lowered.changed) == (False, True)
    assert gone == PlansApplied(not_sold=2)
    assert await plans_of(connection, "team_1") == [(4_000, 2)]
    assert await refilled(connection, "team_2") == [4_000, 2_500]


async def test_a_plan_that_changes_with_a_cycle_behind_refills_that_cycle_by_the_old_plan(
    connection: Connection, tmp_path: Path
) -> None:
    old, new = load_catalog(), load_catalog(catalog_with(tmp_path, 4_000))
    async with connection.transaction():
        await assign_plan(connection, old, "team_1", "pro", anchor=now() - MONTH)
        await connection.execute(
            "UPDATE teams SET cycle = cycle - 1, cycle_ends_at = clock_timestamp() - interval '1 hour'"
        )

    await apply_plans(connection, new)

    assert await refilled(connection, "team_1") == [3_000, 4_000]


def break_plan(connection: Connection, team: str) -> Any:
    return connection.execute(
        "ALTER TABLE facts DISABLE TRIGGER ALL;"
        f"UPDATE facts SET body = 'no JSON' WHERE team_id = '{team}' AND type = 'plan.assigned.v1'"
    )


def lose_zone(connection: Connection, team: str) -> Any:
    return move_to(connection, team, NOWHERE)


@pytest.mark.parametrize(("spoil", "why"), [(lose_zone, NOWHERE), (break_plan, "ValidationError")])
async def test_a_team_that_can_not_be_moved_is_named_and_stops_no_other(
    connection: Connection, database: str, tmp_path: Path, spoil: Callable[[Connection, str], Any], why: str
) -> None:
    await assign(connection, load_catalog(), "team_1", "team_2", "team_3")
    await spoil(connection, "team_2")
    environment = {
        "CREDITWELL_DATABASE": database, "CREDITWELL_CATALOG": str(catalog_with(tmp_path, 4_000)),
        "CREDITWELL_LOG_FORMAT": "json",
    }  # fmt: skip

    async def run(*arguments: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["plans", "apply", *arguments], env=environment)
        return result.exit_code, result.stdout

    for arguments in (["--json", "--dry-run"], ["--json"]):
        code, answer = await run(*arguments)
        applied = json.loads(answer)
        (failed,) = applied["failed"]
        assert (code, applied["ok"], applied["moved"], failed["team_id"]) == (1, False, 2, "team_2")
        assert why in failed["why"]
    assert [await plans_of(connection, team) for team in ("team_1", "team_3")] == [[(3_000, 1), (4_000, 1)]] * 2
    code, words = await run()
    assert (code, "team_2" in words, "0 teams were moved" in words) == (1, True, True)


@pytest.mark.parametrize("refills", [True, False])
async def test_a_plan_of_a_team_whose_zone_is_unknown_is_refused_with_a_reason(
    connection: Connection, tmp_path: Path, *, refills: bool
) -> None:
    await assign(connection, load_catalog(), "team_1")
    await move_to(connection, "team_1", NOWHERE)
    if not refills:
        await connection.execute("ALTER TABLE facts DISABLE TRIGGER ALL; DELETE FROM facts WHERE type LIKE 'credits.%'")

    for plan in ("free", "pro"):
        with pytest.raises(Refused, match=f"unknown_zone.*{NOWHERE}"):
            await assign(connection, load_catalog(catalog_with(tmp_path, 4_000)), "team_1", plan=plan)
