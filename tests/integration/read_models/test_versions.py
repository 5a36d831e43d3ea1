"""Two builds side by side: each fills and reads versions of its own, and neither can write into the other's."""

import asyncio
from pathlib import Path
from random import Random
from typing import cast

import asyncpg
import pytest

from deploy.local.folders import ROOT
from deploy.local.processes import Processes
from deploy.local.stack import Stack
from projections.versions import SHAPE, TABLES, live
from schemas.facts import AnyFact, UnknownFact
from schemas.facts.admin import AdminFact
from services.read_models.balances import PROJECTOR, TAIL_MAX
from services.read_models.projecting import Projecting
from services.read_models.rebuild import rebuild
from services.read_models.versions import (
    drop_previous,
    ensure_projections,
    go_live_when_filled,
    live_versions,
    made_versions,
)
from services.runtime.errors import Fenced
from services.runtime.health import Health
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.halts import Halts
from services.store.read import heads, read_raw_after
from services.store.shards import SHARDS, shard_of
from tests.conftest import url_of
from tests.support.facts import granted, new, planned, store, usage
from tests.support.fleet import Fleet
from tests.support.history import Histories
from tests.support.next_build import MIGRATION, NEW_FACT, creditwell, next_build
from tests.support.projections import every_row, folded_anew
from tests.support.waiting import PATIENCE_SECONDS, until
from tests.support.world import ServiceWorld

TEAMS = [f"team_{n}" for n in range(10)]
OTHER = "0ddba115" + SHAPE[8:]
# What stands in the database, as if another build had made and filled it.
RENAMED = (
    f"UPDATE projections SET sha256 = '{OTHER}'",
    f"UPDATE checkpoints SET reader = 'projector_of_{OTHER[:8]}' WHERE reader = '{PROJECTOR}'",
    f"UPDATE halted SET work = 'projector_of_{OTHER[:8]}' WHERE work = '{PROJECTOR}'",
    *(
        f"ALTER VIEW {live(f'{table}_v0')} RENAME TO {table}_of_{OTHER[:8]}"
        for name, tables in TABLES.items()
        for table in {name, *tables}
    ),
)
SAME = "SELECT team_id, position, included, additional, debt, holds::text FROM {} ORDER BY team_id"
RELATIONS = "SELECT relname FROM pg_class WHERE relkind = ANY('{r,v}') AND (relname ~ '_v[0-9]+$' OR relname ~ '_of_[0-9a-f]{8}$')"


class MemberNoted(AdminFact, type=NEW_FACT):
    """What this build can't read."""

    member_id: str


async def another_build_was_here(connection: Connection) -> None:
    """Everything that is there of this build is another's from now on."""
    for statement in RENAMED:
        await connection.execute(statement)


async def filled_by_the_next(connection: Connection) -> bool:
    """The projector of the other build is at the head."""
    rows = await connection.fetch(
        "SELECT shard, position FROM checkpoints WHERE reader LIKE 'projector_of_%' AND reader <> $1", PROJECTOR
    )
    reached = {row["shard"]: row["position"] for row in rows}
    return all(reached.get(shard, 0) >= end for shard, end in (await heads(connection)).items())


async def test_a_build_and_the_next_work_side_by_side_and_the_first_goes_on_when_the_next_is_gone(
    world: ServiceWorld, stack: Stack, tmp_path: Path
) -> None:
    after = await asyncio.to_thread(next_build, tmp_path / "after")
    histories = Histories(Random(41), TEAMS)
    await histories.begin(world.connection)
    async with world.projector():
        await histories.go_on(world.connection, 60)
        await world.projected()
        code, said = await creditwell(after, world.database, "migrate")
        assert (code, MIGRATION in said) == (0, True), said
        assert "the projections of this build are made by its projector, beside those that are live" in said

        with Processes(stack, say=print) as processes:
            fleet = Fleet(processes, stack, world.database, root=after)
            fleet.start("projector-next")
            await histories.go_on(world.connection, 60)
            await fleet.ready("projector-next")
            await histories.go_on(world.connection, 60)
            await world.projected()
            await until(lambda: filled_by_the_next(world.connection))

            await until(lambda: both_say_the_same(world.connection), what="both builds and a replay say the same")
            assert await world.connection.fetchval("SELECT bool_and(of_next_build) FROM balance")

            await store(world.connection, new("team_3", "noted", cast("AnyFact", MemberNoted(member_id="mem_1"))))
            work, why = await until(lambda: halted(world.connection, "team_3"))
            assert work == PROJECTOR, "the next build goes on and takes no row of the other's away"
            assert f"unknown fact type '{NEW_FACT}': it was written by a newer version; upgrade this one" in why
            await until(lambda: filled_by_the_next(world.connection))
            with pytest.raises(UnknownFact):
                await world.balance("team_3")
            other = next(team for team in TEAMS if shard_of(team) != shard_of("team_3"))
            before = await world.balance(other)
            await store(world.connection, granted(other, "afterwards"))
            assert (await world.balance(other)).position > before.position
            assert await processes.stop("projector-next", timeout_seconds=PATIENCE_SECONDS) == 0

        code, said = await creditwell(ROOT, world.database, "migrate")
        assert (code, said) == (0, "nothing to apply\n")
        with pytest.raises(asyncpg.UndefinedColumnError):
            await world.connection.fetchval("SELECT of_next_build FROM balance")
        comment = await world.connection.fetchval("SELECT obj_description('lock_team'::regproc)")
        assert comment.startswith("Next: "), "what a newer build made stays"


async def both_say_the_same(connection: Connection) -> bool:
    """And a replay; while they run, either may have something to say about a balance."""
    shown, ours = [await connection.fetch(SAME.format(of)) for of in ("balance", live("balance_v0"))]
    return shown == ours != [] and await every_row(connection) == await folded_anew(connection)


async def halted(connection: Connection, team_id: str) -> tuple[str, str] | None:
    """Whose projector has halted a team, and why."""
    row = await connection.fetchrow("SELECT work, why FROM halted WHERE name = $1", team_id)
    return None if row is None else (row["work"], row["why"])


async def test_the_tables_of_a_build_that_comes_later_are_read_once_they_are_filled(world: ServiceWorld) -> None:
    await store(world.connection, *planned("team_1"), *(usage("team_1", f"use_{n}") for n in range(TAIL_MAX + 1)))
    await another_build_was_here(world.connection)

    assert await ensure_projections(world.connection) == {}
    assert await made_versions(world.connection) == dict.fromkeys(TABLES, 2)
    assert not await go_live_when_filled(world.connection)
    shown = await world.connection.fetchval("SELECT pg_get_viewdef('balance'::regclass)")
    assert "balance_v1" in shown

    async with world.projector() as service:

        async def ready() -> bool:
            return service.health.is_ready

        await until(ready)

    assert await live_versions(world.connection) == dict.fromkeys(TABLES, 2)
    assert "balance_v2" in await world.connection.fetchval("SELECT pg_get_viewdef('balance'::regclass)")
    assert await every_row(world.connection) == await folded_anew(world.connection)


async def test_a_rebuild_fills_the_tables_of_a_build_that_nothing_is_live_of(world: ServiceWorld) -> None:
    histories = Histories(Random(42), TEAMS)
    await histories.begin(world.connection)
    await histories.go_on(world.connection, 80)
    await another_build_was_here(world.connection)
    server, _, name = world.database.rpartition("/")

    assert await rebuild(url_of(server, name, role="projector"), ["balance"]) == []

    assert await live_versions(world.connection) == dict.fromkeys(TABLES, 2)
    assert await every_row(world.connection) == await folded_anew(world.connection)
    assert await world.connection.fetchval("SELECT count(*) FROM checkpoints WHERE owner <> ''") == 0


async def test_what_another_build_left_is_dropped_a_day_after_its_last_sign_and_who_wakes_up_then_is_fenced(
    world: ServiceWorld,
) -> None:
    await store(world.connection, *planned("team_1"))
    asleep = Projecting(Claims(PROJECTOR, "asleep"), await made_versions(world.connection))
    await asleep.claims.make_rows(world.connection)
    await asleep.claims.take(world.connection, list(range(SHARDS)))
    shard = shard_of("team_1")
    await asleep.project(world.connection, await read_raw_after(world.connection, {shard: 0}, 10))
    await store(world.connection, usage("team_1", "later"))
    await Halts(PROJECTOR, Health("projector")).halt(
        world.connection, "team_1", ValueError("it is of that build alone")
    )
    await another_build_was_here(world.connection)
    await ensure_projections(world.connection)
    assert await go_live_when_filled(world.connection)
    server, _, name = world.database.rpartition("/")
    as_projector = await asyncpg.connect(url_of(server, name, role="projector"))
    try:
        for age, seen, kept in (("23:59", "24:01", True), ("24:01", "23:59", True), ("24:01", "24:01", False)):
            await world.connection.execute(
                "UPDATE projections SET made_at = made_at - $1::text::interval, switched_at = clock_timestamp() - $1::text::interval "
                "- CASE WHEN sha256 = $2 THEN interval '1 day' ELSE '0' END", age, OTHER,
            )  # fmt: skip
            await world.connection.execute(
                "UPDATE checkpoints SET seen_at = clock_timestamp() - $1::text::interval WHERE reader <> $2", seen, PROJECTOR
            )  # fmt: skip
            await drop_previous(as_projector)
            there = {row["relname"] for row in await world.connection.fetch(RELATIONS)}
            assert (f"balance_of_{OTHER[:8]}" in there, "balance_v1" in there) == (kept, kept), (age, seen)
            assert bool(await halted(world.connection, "team_1")) == kept
    finally:
        await as_projector.close()

    assert {live("usage_v0"), "usage_v2", "balance_v2"} <= there
    assert await world.connection.fetchval("SELECT count(*) FROM projections WHERE sha256 = $1", OTHER) == 0
    asleep.claims.reader = f"projector_of_{OTHER[:8]}"  # as it called itself when it fell asleep
    later = await read_raw_after(world.connection, {shard: asleep.claims.positions[shard]}, 10)
    with pytest.raises(Fenced):
        await asleep.project(world.connection, later)
