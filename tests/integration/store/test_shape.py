"""A database that another build made is refused when a process starts, in a sentence that says what to do."""

import asyncio

import pytest

from projections.balance.fold import FOLD
from projections.versions import shape_of
from services.credits import refill
from services.read_models.rebuild import TABLES, begin, ensure_projections, switch
from services.runtime.errors import Refused
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.store.connect import Connection, connect_pool
from services.store.schema_check import check_shape, migrations
from tests.support.eleven import migrated_by_the_eleven
from tests.support.serving import as_role

NEWEST = max(migrations())
FORGET_NEWEST = f"UPDATE migrations SET name = '9999_next.sql' WHERE name = '{NEWEST}'"
OTHER_MIGRATION = f"UPDATE migrations SET sha256 = 'of another build' WHERE name = '{NEWEST}'"
OTHER_FUNCTION = "DELETE FROM migrations WHERE name LIKE 'functions/lock_team.sql@%'"
OTHER_BALANCE = "UPDATE projections SET sha256 = 'of another build' WHERE name = 'balance'"
# Tables of this build, filled by the fold before this one.
OTHER_FOLD = "UPDATE projections SET sha256 = CASE name " + " ".join(
    f"WHEN '{name}' THEN '{shape_of(name, FOLD - 1)}'" for name in TABLES
) + " END"  # fmt: skip
OLD_TABLES = "UPDATE projections SET sha256 = NULL"
WRONG = {
    FORGET_NEWEST: f"migrations_missing: the database lacks {NEWEST}: run `creditwell migrate`",
    "DROP TABLE migrations CASCADE": "migrations_missing: the database was never migrated: run `creditwell migrate`",
    OTHER_MIGRATION: f"migration_changed: {NEWEST} was applied with other contents, by another build",
    OTHER_FUNCTION: "migrations_missing: the database lacks functions/lock_team.sql@[0-9a-f]+: run `creditwell migrate`",
    OTHER_BALANCE: "projection_changed: another build made the tables of balance, .*: run `creditwell rebuild balance`",
    OLD_TABLES: "projection_changed: .* activity, balance, usage, .*: run `creditwell rebuild all`",
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
    await connection.execute(OLD_TABLES)

    pool = await connect_pool(as_role(database, "recorder"), process="test", size=1, projections=False)

    await pool.close()


async def test_a_database_that_a_newer_build_has_migrated_is_not_refused(connection: Connection) -> None:
    await connection.executemany(
        "INSERT INTO migrations (name, sha256) VALUES ($1, 'of the next build')",
        [["9999_next.sql"], ["functions/lock_team.sql@of_the_next"]],
    )

    await check_shape(connection)


@pytest.mark.parametrize("happened", [OLD_TABLES, OTHER_FOLD], ids=["another build's", "another fold's"])
async def test_a_rebuild_makes_the_tables_this_builds_again(connection: Connection, happened: str) -> None:
    await connection.execute(happened)
    await ensure_projections(connection)  # leaves what is there as it is
    with pytest.raises(Refused, match="or filled them by another fold: run `creditwell rebuild all`"):
        await check_shape(connection)

    await switch(connection, await begin(connection), list(TABLES), "test")

    await check_shape(connection)
