"""`creditwell migrate`: all of it or nothing, and afterwards the functions are those of this build, whatever they were before."""

import asyncio
import subprocess

import asyncpg
import pytest

from deploy.local.servers.postgres import PROGRAMS, site_packages
from deploy.local.stack import Stack
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.migrate import migrate
from services.store.schema_check import functions, migrations
from tests.conftest import a_database
from tests.support.eleven import APPLIED, migrated_by_the_eleven
from tests.support.serving import connected

OF_THIS_BUILD = [*migrations(), *functions()]
IN_FILES = (
    "append_fact(smallint,bigint,bytea,timestamptz,text,text,text,text,bytea,text,text)",
    "claim_key(smallint,text,text,text,text,bytea)",
    "give_key_back(smallint,text,text,text,text)",
    "keep_answer(smallint,text,text,text,text,smallint,bytea)",
    "lock_hold(smallint,text,text)",
    "lock_team(smallint,text,bigint,integer)",
    (
        "move_hold(smallint,text,text,text,text,bytea,text,bigint,timestamptz,timestamptz,timestamptz,bigint,timestamptz,text,"
        "text,text,text,bytea,text,text,smallint,bytea,bytea)"
    ),
    (
        "place_hold(smallint,text,text,text,text,bytea,bigint,timestamptz,timestamptz,bigint,integer,text,text,bigint,"
        "timestamptz,text,text,text,bytea,text,text,smallint,bytea,bytea)"
    ),
    "take_heads(smallint[],smallint[],text[])",
)
# Its body, its comment, and with whose rights it runs.
BY_HAND = """
    DO $do$
    DECLARE
        made text := pg_get_functiondef('{function}'::regprocedure);
    BEGIN
        EXECUTE regexp_replace(made, 'AS \\$function\\$.*', 'AS $function$ BEGIN RAISE ''by hand''; END $function$');
        ALTER FUNCTION {function} SECURITY DEFINER SET search_path = pg_temp;
        COMMENT ON FUNCTION {function} IS 'by hand';
    END $do$
"""
BROKEN = "SELECT count(*) FROM pg_proc WHERE prosrc LIKE '%by hand%' AND prosecdef AND proconfig IS NOT NULL"
JOURNAL = "SELECT name, sha256, applied_at FROM migrations ORDER BY name"
OWNED = """
    SELECT p.oid::regprocedure::text AS name, p.oid, p.proowner, p.proacl::text FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace ORDER BY 1
"""


def schema(database: str) -> str:
    """Everything but the rows, as SQL."""
    pg_dump = str(site_packages() / PROGRAMS / "pg_dump")
    dumped = subprocess.run(
        [pg_dump, "--schema-only", "--restrict-key=none", database], check=True, capture_output=True, text=True
    )
    return dumped.stdout


async def test_functions_that_were_changed_by_hand_are_this_builds_again(connection: Connection, database: str) -> None:
    before, owned = await asyncio.to_thread(schema, database), await connection.fetch(OWNED)
    for function in IN_FILES:
        await connection.execute(BY_HAND.format(function=function))
    assert await connection.fetchval(BROKEN) == len(IN_FILES) == len(functions())

    assert await migrate(connection) == []

    assert await asyncio.to_thread(schema, database) == before
    assert await connection.fetch(OWNED) == owned  # the same functions of the same owner, for the same roles


async def test_migrating_twice_changes_neither_the_schema_nor_the_journal(
    connection: Connection, database: str
) -> None:
    before, journal = await asyncio.to_thread(schema, database), await connection.fetch(JOURNAL)

    assert await migrate(connection) == []

    assert await asyncio.to_thread(schema, database) == before
    assert await connection.fetch(JOURNAL) == journal


async def test_of_two_who_migrate_at_the_same_moment_one_does_it(stack: Stack) -> None:
    async with a_database(stack, "template0") as empty, connected(empty) as one, connected(empty) as other:
        applied = await asyncio.gather(migrate(one), migrate(other))

    assert sorted(applied) == [[], OF_THIS_BUILD]


@pytest.mark.parametrize(
    ("obstacle", "error"),
    [
        ("CREATE TABLE notices (x integer)", asyncpg.DuplicateTableError),
        (
            "CREATE FUNCTION take_heads(smallint[], smallint[], text[]) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            asyncpg.InvalidFunctionDefinitionError,
        ),
    ],
    ids=["a migration fails", "a function fails"],
)
async def test_a_run_that_fails_leaves_nothing(stack: Stack, obstacle: str, error: type[Exception]) -> None:
    async with a_database(stack, "template0") as empty, connected(empty) as connection:
        await connection.execute(obstacle)
        before = await asyncio.to_thread(schema, empty)

        with pytest.raises(error):
            await migrate(connection)

        assert await asyncio.to_thread(schema, empty) == before


async def test_a_database_of_the_eleven_migrations_before_the_release_is_refused_and_left_as_it_is(
    connection: Connection, database: str
) -> None:
    await migrated_by_the_eleven(connection)
    await connection.execute(BY_HAND.format(function=IN_FILES[0]))
    before = await asyncio.to_thread(schema, database)

    with pytest.raises(Refused, match=r"migrations_replaced: .* 0001_log\.sql .* begin with a new database"):
        await migrate(connection)

    assert [(name, digest) for name, digest, _ in await connection.fetch(JOURNAL)] == APPLIED
    assert await asyncio.to_thread(schema, database) == before
