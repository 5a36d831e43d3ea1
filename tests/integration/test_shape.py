"""A database that another build made is refused when a process starts, in a sentence that says what to do."""

import asyncio

import pytest

from services import refill
from services.errors import Refused
from services.health import Health
from services.settings import Settings
from services.store.connect import Connection, connect_pool
from services.store.rebuild import TABLES, begin, ensure_projections, switch
from services.store.shape import check_shape, migrations
from tests.integration.serving import as_role

NEWEST = max(migrations())
FORGET_NEWEST = f"DELETE FROM migrations WHERE name = '{NEWEST}'"
OTHER_MIGRATION = "UPDATE migrations SET sha256 = 'of another build' WHERE name = '0001_log.sql'"
OTHER_BALANCE = "UPDATE projections SET sha256 = 'of another build' WHERE name = 'balance'"
OLD_TABLES = "UPDATE projections SET sha256 = NULL"
WRONG = {
    FORGET_NEWEST: f"migrations_missing: the database lacks {NEWEST}: run `creditwell migrate`",
    "DROP TABLE migrations CASCADE": "migrations_missing: the database was never migrated: run `creditwell migrate`",
    OTHER_MIGRATION: "migration_changed: 0001_log.sql was applied with other contents, by another build",
    OTHER_BALANCE: "projection_changed: another build made the tables of balance: run `creditwell rebuild balance`",
    OLD_TABLES: "projection_changed: .* activity, balance, usage: run `creditwell rebuild all`",
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
    await connection.execute("INSERT INTO migrations (name, sha256) VALUES ('9999_next.sql', 'of the next build')")

    await check_shape(connection)


async def test_a_rebuild_makes_the_tables_this_builds_again(connection: Connection) -> None:
    await connection.execute(OLD_TABLES)
    await ensure_projections(connection)  # leaves what is there as it is
    with pytest.raises(Refused, match="projection_changed"):
        await check_shape(connection)

    await switch(connection, await begin(connection), list(TABLES), "test")

    await check_shape(connection)
