"""A database that another build made is refused when a process starts, in a sentence that says what to do."""

import asyncio

import pytest

from services.credits import refill
from services.read_models.versions import ensure_projections, go_live_when_filled
from services.runtime.errors import Refused
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.store.connect import Connection, connect_pool
from services.store.schema_check import check_shape, migrations
from tests.support.eleven import migrated_by_the_eleven
from tests.support.serving import as_role
from tests.support.waiting import until

NEWEST = max(migrations())
FORGET_NEWEST = f"UPDATE migrations SET name = '9999_next.sql' WHERE name = '{NEWEST}'"
OTHER_MIGRATION = f"UPDATE migrations SET sha256 = 'of another build' WHERE name = '{NEWEST}'"
OTHER_FUNCTION = "DELETE FROM migrations WHERE name LIKE 'functions/lock_team.sql@%'"
OTHER_BUILD = "UPDATE projections SET sha256 = 'of another build'"
WRONG = {
    FORGET_NEWEST: f"migrations_missing: the database lacks {NEWEST}: run `creditwell migrate`",
    "DROP TABLE migrations CASCADE": "migrations_missing: the database was never migrated: run `creditwell migrate`",
    OTHER_MIGRATION: f"migration_changed: {NEWEST} was applied with other contents, by another build",
    OTHER_FUNCTION: "migrations_missing: the database lacks functions/lock_team.sql@[0-9a-f]+: run `creditwell migrate`",
}


@pytest.mark.parametrize(
    ("happened", "sentence"), WRONG.items(), ids=[said.partition(":")[0] for said in WRONG.values()]
)
async def test_a_process_that_starts_says_what_is_wrong_with_the_database_and_what_to_do(
    connection: Connection, database: str, happened: str, sentence: str
) -> None:
    await connection.execute(happened)

    with pytest.raises(Refused, match=sentence):
        await refill.serve(Settings(database=as_role(database, "worker")), asyncio.Event(), Health("refill"))


@pytest.mark.parametrize("role", ["recorder", "projector", "worker", "api", "reader", "signer"])
async def test_a_database_of_the_eleven_migrations_before_the_release_is_refused_to_every_role(
    connection: Connection, database: str, role: str
) -> None:
    await migrated_by_the_eleven(connection)

    with pytest.raises(Refused) as refused:
        await connect_pool(as_role(database, role), process="test", size=1, projections=False)

    assert str(refused.value) == (
        "migrations_replaced: an earlier build made the database, with 0001_log.sql where this one has "
        f"{NEWEST}: go on with that build, or begin with a new database"
    )


@pytest.mark.parametrize("role", ["recorder", "projector", "worker", "api", "reader", "signer"])
async def test_whatever_role_a_process_has_it_may_ask(connection: Connection, database: str, role: str) -> None:
    pool = await connect_pool(as_role(database, role), process="test", size=1)
    await pool.close()

    await connection.execute(FORGET_NEWEST)

    with pytest.raises(Refused, match="migrations_missing"):
        await connect_pool(as_role(database, role), process="test", size=1)


async def test_who_reads_no_projection_goes_on_until_they_are_rebuilt(connection: Connection, database: str) -> None:
    await connection.execute(OTHER_BUILD)

    pool = await connect_pool(as_role(database, "recorder"), process="test", size=1, projections=False)

    await pool.close()


async def test_a_database_that_a_newer_build_has_migrated_is_not_refused(connection: Connection) -> None:
    await connection.executemany(
        "INSERT INTO migrations (name, sha256) VALUES ($1, 'of the next build')",
        [["9999_next.sql"], ["functions/lock_team.sql@of_the_next"]],
    )

    await check_shape(connection)


async def test_who_reads_projections_waits_until_those_of_its_build_are_there(
    connection: Connection, database: str
) -> None:
    await connection.execute(OTHER_BUILD)
    health, stop = Health("refill"), asyncio.Event()
    serving = asyncio.create_task(refill.serve(Settings(database=as_role(database, "worker")), stop, health))

    async def waits() -> bool:
        return "the database" in health.absent

    async def works() -> bool:
        return health.is_ready

    await until(waits)
    assert "the projections of this build are not there yet: its projector makes them" in health.absent["the database"]

    assert not await ensure_projections(connection)
    assert await go_live_when_filled(connection)

    await until(works)
    stop.set()
    await serving
