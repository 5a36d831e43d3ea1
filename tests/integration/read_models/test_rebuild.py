"""A projection is built anew beside the live one, compared, switched: readers never see a gap, and nothing is said twice."""

import asyncio
from random import Random

import asyncpg
import pytest

from projections.balance.snapshots import CADENCE, Cadence
from projections.versions import TABLES
from schemas.credits import MICRO
from services.read_models.rebuild import begin, build, compare_shard, discard, live_positions, reader_of, switch
from services.read_models.versions import ONE_AT_A_TIME, drop_previous, live_versions
from services.runtime.errors import Fenced
from services.store.connect import Connection
from services.store.read import heads
from services.store.shards import SHARDS, shard_of
from tests.conftest import url_of
from tests.support.connections import connections
from tests.support.facts import granted, planned, store, usage, void
from tests.support.history import Histories
from tests.support.holds import wait_for_locks
from tests.support.past import project
from tests.support.projections import every_row, folded_anew
from tests.support.world import ServiceWorld

ALL = list(range(SHARDS))
TEAMS = [f"team_{n}" for n in range(10)]


async def a_busy_world(world: ServiceWorld, *, seed: int, facts: int = 200) -> Histories:
    """Teams with a past, projected."""
    histories = Histories(Random(seed), TEAMS)
    await histories.begin(world.connection)
    async with world.projector():
        await histories.go_on(world.connection, facts)
        await world.projected()
    return histories


async def rebuild_all(connection: Connection, *, names: list[str] | None = None, cadence: Cadence = CADENCE) -> int:
    """What `creditwell rebuild` does; the version that is live afterwards."""
    version = await begin(connection)
    await build(connection, version, ALL, "test", cadence)
    for shard in ALL:
        assert await compare_shard(connection, version, shard, "test", cadence) == []
    await switch(connection, version, names or list(TABLES), "test", cadence)
    return version


@pytest.mark.parametrize("seed", [21, 22])
async def test_invariant_09_a_rebuild_from_the_beginning_gives_the_same_rows_bit_for_bit(
    world: ServiceWorld, seed: int
) -> None:
    cadence = Cadence(every=7)
    histories = Histories(Random(seed), TEAMS)
    await histories.begin(world.connection)
    await histories.go_on(world.connection, 200)
    await project(world.connection, batch=10, cadence=cadence, shards=ALL)
    before = await every_row(world.connection)
    assert len(before["balance_snapshots"]) > 20

    version = await rebuild_all(world.connection, cadence=cadence)

    assert version == 2
    assert set((await live_versions(world.connection)).values()) == {2}
    assert await every_row(world.connection) == before


async def test_a_rebuild_appends_nothing_and_wakes_nobody(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=23)
    before = await heads(world.connection)

    await rebuild_all(world.connection)

    assert await heads(world.connection) == before


async def test_an_idle_projector_goes_on_with_the_new_tables_after_a_switch(world: ServiceWorld) -> None:
    histories = await a_busy_world(world, seed=24)
    async with world.projector():
        await world.projected()
        await rebuild_all(world.connection)
        await asyncio.sleep(
            3
        )  # longer than a projector waits before it renews its claims: nothing else wakes an idle one
        await histories.go_on(world.connection, 50)
        await world.projected()
    assert await every_row(world.connection) == await folded_anew(world.connection)


async def test_readers_see_no_gap_and_never_go_back_while_versions_switch_under_load(world: ServiceWorld) -> None:
    histories = await a_busy_world(world, seed=25)
    reading = True
    reads = 0

    async def read(connection: Connection) -> None:
        nonlocal reads
        seen: dict[str, int] = {}
        while reading:
            rows = await connection.fetch("SELECT team_id, position FROM balance")
            assert {row["team_id"] for row in rows} == set(TEAMS)
            for row in rows:
                assert row["position"] >= seen.get(row["team_id"], 0)
                seen[row["team_id"]] = row["position"]
            lots = await connection.fetchval("SELECT count(*) FROM activity WHERE kind = 'refill'")
            assert lots >= len(TEAMS)
            reads += 1

    reader: Connection = await asyncpg.connect(world.database)
    other: Connection = await asyncpg.connect(world.database, server_settings={"timezone": "UTC"})
    async with world.projector():
        task = asyncio.create_task(read(reader))
        for _ in range(3):
            telling = asyncio.create_task(histories.go_on(world.connection, 60))
            await rebuild_all(other)
            await telling
        await world.projected()
        reading = False
        await task
    await reader.close()
    await other.close()

    assert reads > 20
    assert set((await live_versions(world.connection)).values()) == {4}
    assert await every_row(world.connection) == await folded_anew(world.connection)


async def test_one_projection_can_be_switched_alone_and_another_one_later(world: ServiceWorld) -> None:
    histories = await a_busy_world(world, seed=26)
    await rebuild_all(world.connection, names=["usage"])
    assert await live_versions(world.connection) == {"balance": 1, "activity": 1, "usage": 2}
    async with world.projector():
        await histories.go_on(world.connection, 60)
        await world.projected()
    await rebuild_all(world.connection, names=["balance", "activity"])
    async with world.projector():
        await histories.go_on(world.connection, 60)
        await world.projected()

    assert await every_row(world.connection) == await folded_anew(world.connection)


@pytest.mark.parametrize("name", list(TABLES))
async def test_usage_is_taken_back_whichever_projection_was_switched_alone(world: ServiceWorld, name: str) -> None:
    await store(world.connection, *planned("team_1", credits=0))
    async with world.projector():
        await world.projected()
    await discard(world.connection, await rebuild_all(world.connection, names=[name]))
    async with world.projector():
        gift, used = granted("team_1", "gift", credits=5), usage("team_1", "work", credits=5)
        stored = await store(world.connection, gift, used)
        await world.projected()  # the lot is empty, and known to its row alone
        back = void("team_1", "back", of="work", position=stored.places[1].position, at=used.occurred_at, credits=5)
        await store(world.connection, back)
        await world.projected()

    assert await world.connection.fetchval("SELECT additional FROM balance WHERE team_id = 'team_1'") == 5 * MICRO
    assert await every_row(world.connection) == await folded_anew(world.connection)


async def test_a_version_that_was_switched_away_is_kept_for_a_day_and_dropped_after_it(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=28)
    await discard(world.connection, await rebuild_all(world.connection, names=["usage", "balance"]))
    before = await every_row(world.connection)
    server, _, name = world.database.rpartition("/")
    as_projector = await asyncpg.connect(url_of(server, name, role="projector"))
    try:
        await switched_ago(world.connection, "23 hours 59 minutes")
        await drop_previous(as_projector)
        assert await tables_there(world.connection) == {
            *LIVE_TABLES,
            "balance_v1",
            "balance_snapshots_v1",
            "lots_v1",
            "usage_v1",
            "usage_attributes_v1",
            "usage_counted_v1",
        }

        await switched_ago(world.connection, "24 hours 1 minute")
        await drop_previous(as_projector)
        await drop_previous(as_projector)
    finally:
        await as_projector.close()

    assert await tables_there(world.connection) == LIVE_TABLES
    assert await every_row(world.connection) == before == await folded_anew(world.connection)


LIVE_TABLES = {
    "balance_v2", "balance_snapshots_v2", "lots_v2", "usage_v2", "usage_attributes_v2", "usage_counted_v2",
    "activity_rows_v1", "activity_runs_v1",
}  # fmt: skip


async def switched_ago(connection: Connection, ago: str) -> None:
    """Let the clock run: as if the last switch had been so long ago."""
    await connection.execute("UPDATE projections SET switched_at = clock_timestamp() - $1::text::interval", ago)


async def tables_there(connection: Connection) -> set[str]:
    """The tables of every version of the projections."""
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '_v[0-9]+$'")
    return {row["relname"] for row in rows}


STAND_STILL = """
    CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END
    $$;
    CREATE TRIGGER stand_still BEFORE INSERT ON balance_v{version} FOR EACH ROW WHEN (NEW.shard = {shard})
        EXECUTE FUNCTION stand_still();
    SELECT pg_advisory_lock(1);
"""


async def test_a_rebuild_that_was_killed_goes_on_where_it_was(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=27)
    before = await every_row(world.connection)
    killed: Connection = await asyncpg.connect(world.database, server_settings={"timezone": "UTC"})
    version = await begin(killed)
    await world.connection.execute(STAND_STILL.format(version=version, shard=max(map(shard_of, TEAMS))))
    building = asyncio.create_task(build(killed, version, ALL, "killed"))
    await wait_for_locks(world.connection, 1)
    await world.connection.execute("SELECT pg_terminate_backend($1)", killed.get_server_pid())
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await building
    await world.connection.execute("SELECT pg_advisory_unlock(1)")
    already = await world.connection.fetchval(
        "SELECT sum(position) FROM checkpoints WHERE reader = $1", reader_of(version)
    )
    assert already > 0

    assert await begin(world.connection) == version
    folded = await build(world.connection, version, ALL, "another")
    assert folded + already == sum((await live_positions(world.connection)).values())
    for shard in ALL:
        assert await compare_shard(world.connection, version, shard, "another") == []
    await switch(world.connection, version, list(TABLES), "another")
    assert await every_row(world.connection) == before


async def test_what_another_fold_was_killed_at_is_begun_anew(connection: Connection) -> None:
    version = await begin(connection)
    await connection.execute(
        f"INSERT INTO usage_v{version} (shard, team_id, day, member_id, features) VALUES (0, 't', '2026-11-30', '', '{{}}')"
    )
    assert await begin(connection) == version
    assert await connection.fetchval(f"SELECT count(*) FROM usage_v{version}") == 1

    await connection.execute(
        "UPDATE checkpoints SET reader = $2 WHERE reader = $1", reader_of(version), f"rebuild-{version}-another"
    )

    assert await begin(connection) == version
    assert await connection.fetchval(f"SELECT count(*) FROM usage_v{version}") == 0
    readers = await connection.fetch("SELECT DISTINCT reader FROM checkpoints WHERE reader LIKE 'rebuild-%'")
    assert [row["reader"] for row in readers] == [reader_of(version)]


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE balance_v1 SET additional = additional + 1 WHERE team_id = 'team_3'", "balance_v1"),
        ("UPDATE lots_v1 SET remaining = remaining - 1 WHERE team_id = 'team_3'", "lots_v1"),
        ("DELETE FROM activity_rows_v1 WHERE team_id = 'team_3' AND kind = 'usage'", "activity_v1"),
        ("UPDATE usage_v1 SET features = '{}' WHERE team_id = 'team_3'", "usage_v1"),
    ],
)  # fmt: skip
async def test_a_comparison_names_the_row_that_differs(world: ServiceWorld, change: str, table: str) -> None:
    await a_busy_world(world, seed=28)
    await store(world.connection, usage("team_3", "one more"))
    async with world.projector():
        await world.projected()
    await world.connection.execute(change)
    version = await begin(world.connection)
    await build(world.connection, version, ALL, "test")

    found = [
        difference for shard in ALL for difference in await compare_shard(world.connection, version, shard, "test")
    ]

    assert {difference.table for difference in found} == {table}
    assert all("team_3" in difference.row for difference in found)
    assert await compare_shard(world.connection, version, shard_of("team_3"), "test") == found


async def test_a_discarded_rebuild_leaves_nothing_behind(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=29, facts=50)
    tables = await world.connection.fetch("SELECT relname FROM pg_class WHERE relkind IN ('r', 'i', 'v') ORDER BY 1")
    version = await begin(world.connection)
    await build(world.connection, version, ALL, "test")

    await discard(world.connection, version)

    assert (
        await world.connection.fetch("SELECT relname FROM pg_class WHERE relkind IN ('r', 'i', 'v') ORDER BY 1")
        == tables
    )
    assert await world.connection.fetchval("SELECT count(*) FROM checkpoints WHERE reader LIKE 'rebuild%'") == 0


async def test_two_rebuilds_at_once_end_in_one_right_version(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=30)
    before = await every_row(world.connection)
    other: Connection = await asyncpg.connect(world.database, server_settings={"timezone": "UTC"})

    done = await asyncio.gather(rebuild_all(world.connection), rebuild_all(other), return_exceptions=True)
    await other.close()

    switched = {result for result in done if isinstance(result, int)}
    fenced = [result for result in done if isinstance(result, Fenced)]
    assert len(switched) + len(fenced) == 2, done
    assert switched, done
    assert set((await live_versions(world.connection)).values()) == {max(switched)}
    assert await every_row(world.connection) == before


async def test_a_rebuild_whose_version_another_one_has_switched_to_changes_nothing_any_more(
    world: ServiceWorld,
) -> None:
    await a_busy_world(world, seed=32)
    before = await every_row(world.connection)
    version = await begin(world.connection)
    assert await rebuild_all(world.connection) == version

    for late in (
        build(world.connection, version, ALL, "late"),
        compare_shard(world.connection, version, shard_of("team_3"), "late"),
        switch(world.connection, version, list(TABLES), "late"),
    ):
        with pytest.raises(Fenced):
            await late

    assert await every_row(world.connection) == before


async def test_of_two_that_switch_to_one_version_at_once_one_does_and_the_way_back_stays(world: ServiceWorld) -> None:
    await a_busy_world(world, seed=33)
    version = await begin(world.connection)
    await build(world.connection, version, ALL, "test")
    async with connections(world.database, 2) as sessions:
        async with world.connection.transaction():
            await world.connection.execute(ONE_AT_A_TIME)
            switching = [asyncio.create_task(switch(one, version, list(TABLES), "test")) for one in sessions]
            await wait_for_locks(world.connection, 2)
        done = await asyncio.gather(*switching, return_exceptions=True)

    assert sorted(type(result).__name__ for result in done) == ["Fenced", "NoneType"]
    rows = await world.connection.fetch("SELECT version, previous_version FROM projections")
    assert {tuple(row) for row in rows} == {(version, version - 1)}  # or the live tables would be dropped a day later


async def test_a_rebuild_that_is_quicker_than_the_live_projector_folds_nothing_twice(world: ServiceWorld) -> None:
    histories = await a_busy_world(world, seed=31)
    await histories.go_on(world.connection, 100)  # nobody projects these

    await rebuild_all(world.connection)
    async with world.projector():
        await world.projected()

    assert await every_row(world.connection) == await folded_anew(world.connection)
