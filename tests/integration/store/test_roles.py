"""Each process may do what it must, and nobody may change what happened (invariant 1)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from deploy.local.stack import Stack
from projections.versions import SHAPE
from schemas.catalog import load_catalog
from schemas.facts import NewFact, UsageRecorded
from services.credits.rate_cards import seed_catalog
from services.read_models.versions import ensure_projections
from services.store.append import append
from services.store.connect import Connection
from services.store.migrate import migrate
from tests.support.production import a_production

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
GOLDEN = Path(__file__).with_name("privileges.txt")
GOLDEN_SETTINGS = Path(__file__).with_name("role_settings.txt")
ROLES = (
    "owner",
    "recorder",
    "projector",
    "worker",
    "api",
    "reader",
    "signer",
)  # which see the tables; the analyst sees none
APPENDING = ("recorder", "projector", "worker", "api")
APPEND_ONLY = {
    "facts": "shard", "blocks": "shard", "signed_checkpoints": "number", "signed_shards": "shard", "refused": "size",
}  # fmt: skip
CHANGES = ("UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}")

PRIVILEGES = """
    WITH granted AS (
        SELECT c.oid, c.oid::regclass::text AS relname, a.grantee, a.privilege_type, NULL AS column_name
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace IN ('public'::regnamespace, 'analytics'::regnamespace) AND c.relkind IN ('r', 'v', 'S')
        UNION ALL
        SELECT c.oid, c.oid::regclass::text, a.grantee, a.privilege_type, t.attname
        FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
        WHERE c.relnamespace IN ('public'::regnamespace, 'analytics'::regnamespace)
    )
    SELECT grantee::regrole::text AS role, relname, string_agg(DISTINCT privilege_type || coalesce(columns, ''), ', ') AS privileges
    FROM (
        SELECT grantee, relname, privilege_type,
               '(' || string_agg(column_name, ', ' ORDER BY column_name) || ')' AS columns
        FROM granted WHERE grantee <> 0 AND grantee::regrole::text LIKE 'creditwell%' AND grantee <> (
            SELECT relowner FROM pg_class WHERE oid = granted.oid
        )
        GROUP BY grantee, relname, privilege_type
    ) AS g
    GROUP BY grantee, relname ORDER BY grantee::regrole::text COLLATE "C", relname COLLATE "C"
"""
OWNED = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace IN ('public'::regnamespace, 'analytics'::regnamespace) AND relkind IN ('r', 'v')
    AND relowner = to_regrole('creditwell_projector') ORDER BY oid::regclass::text COLLATE "C"
"""
POLICIES = """
    SELECT p.tablename, p.policyname, p.cmd, array_to_string(p.roles, ' ') AS roles, p.qual, p.with_check
    FROM pg_policies p JOIN pg_class c ON c.relname = p.tablename AND c.relrowsecurity
    WHERE p.schemaname = 'public' ORDER BY p.tablename COLLATE "C", p.policyname COLLATE "C"
"""
SETTING = "( SELECT current_setting('creditwell.team'::text, true) AS current_setting)"
ONE_TEAM = f"(team_id = {SETTING})"
WITHOUT_ROW_SECURITY = """
    SELECT DISTINCT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'team_id'
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relrowsecurity
"""
SETTINGS_OF_ROLES = """
    SELECT line FROM (
        SELECT rolname || ' has ' || rolconnlimit || ' sessions at most' FROM pg_roles WHERE rolconnlimit >= 0
        UNION ALL
        SELECT rolname || ' sets ' || setting FROM pg_roles, unnest(rolconfig) AS setting
    ) AS lines (line)
    WHERE line LIKE 'creditwell%' ORDER BY line COLLATE "C"
"""
# Another libc or ICU may order text anew: a unique index of the old order no longer finds what it has.
BY_LOCALE = """
    SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'i') AND attnum > 0
    AND attcollation NOT IN (0, (SELECT oid FROM pg_collation WHERE collname = 'C'))
"""
SEEN_ELSEWHERE = """
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('analytics', 'pg_catalog', 'information_schema') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND has_schema_privilege(n.oid, 'USAGE')
"""
WITHOUT_INVOKER = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'
    AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)
"""


def used(team: str, number: int) -> NewFact:
    fact = UsageRecorded(feature="ai_video.generate", quantity="1", credits=1_000_000, rate_card=1)
    return NewFact(team, "/features/video", f"use-{number}", NOW, fact)


@asynccontextmanager
async def connected(url: str, role: str | None = None) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(f"{url}?role=creditwell_{role}" if role else url)
    try:
        yield connection
    finally:
        await connection.close()


async def as_team(connection: Connection, team: str) -> None:
    await connection.execute("SELECT set_config('creditwell.team', $1, true)", team)


@pytest.fixture
async def two_teams(database: str) -> str:
    """A database with a rate card, and one usage each of two teams."""
    async with connected(database) as connection, connection.transaction():
        await seed_catalog(connection, load_catalog())
        await append(connection, [used("team_a", 1), used("team_b", 1)])
    return database


async def test_privileges_are_those_of_the_golden_file(database: str, tmp_path: Path) -> None:
    async with connected(database) as connection:
        lines = [f"{role}: {table}: {what}" for role, table, what in await connection.fetch(PRIVILEGES)]
        lines += [f"creditwell_projector owns {row[0]}" for row in await connection.fetch(OWNED)]
        lines += [
            f"{table}: {name} for {cmd} to {roles}: {qual.replace(ONE_TEAM, 'the team of the setting, or *')}, writes {check or ('alike' if cmd == 'ALL' else 'nothing')}"
            for table, name, cmd, roles, qual, check in await connection.fetch(POLICIES)
        ]
    lines = [line.replace(SHAPE[:8], "BUILD") for line in lines]
    found = tmp_path / GOLDEN.name
    found.write_text("\n".join(lines) + "\n")

    assert lines == GOLDEN.read_text().splitlines(), f"if this is meant: mv {found} {GOLDEN}"


async def test_every_table_with_rows_of_teams_is_under_row_level_security(database: str) -> None:
    async with connected(database) as connection:
        assert [row[0] for row in await connection.fetch(WITHOUT_ROW_SECURITY)] == []
        assert [row[0] for row in await connection.fetch(WITHOUT_INVOKER)] == []


async def test_no_role_of_ours_logs_in_is_a_superuser_or_bypasses_row_level_security_save_the_recorder(
    database: str,
) -> None:
    async with connected(database) as connection:
        rows = await connection.fetch(
            "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication AS mighty, rolbypassrls "
            "FROM pg_roles WHERE rolname LIKE 'creditwell%'"
        )
    assert {row["rolname"].removeprefix("creditwell_") for row in rows} >= {*ROLES, "analyst"}
    assert not any(row["mighty"] for row in rows)
    assert [row["rolname"] for row in rows if row["rolbypassrls"]] == ["creditwell_recorder"]


@pytest.mark.parametrize("session_replication_role", ["origin", "replica"])
async def test_not_even_a_superuser_changes_what_happened(two_teams: str, session_replication_role: str) -> None:
    async with connected(two_teams) as connection:
        await connection.execute(f"SET session_replication_role = {session_replication_role}")
        for table in APPEND_ONLY:
            column = await connection.fetchval(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 1", table
            )
            for change in CHANGES:
                with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
                    await connection.execute(change.format(table, column, column))
        with pytest.raises(asyncpg.RestrictViolationError, match="never change"):
            await connection.execute("UPDATE store_constants SET value = '128' WHERE name = 'shards'")


@pytest.mark.parametrize("role", ROLES)
async def test_no_role_may_change_what_happened_nor_the_way_to_it(two_teams: str, role: str) -> None:
    async with connected(two_teams, role) as connection:
        for table, column in APPEND_ONLY.items():
            for statement in (
                f"UPDATE {table} SET {column} = {column}",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}",
                f"DROP TRIGGER {table}_append_only ON {table}",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for statement in (
            "SET session_replication_role = replica",
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_the_api_sees_one_team_at_a_time_and_none_when_nobody_said_which(two_teams: str) -> None:
    teams = 'SELECT team_id FROM facts ORDER BY team_id COLLATE "C"'
    async with connected(two_teams, "api") as api:
        assert await api.fetch(teams) == []
        async with api.transaction():
            await as_team(api, "team_a")
            assert [row[0] for row in await api.fetch(teams)] == ["creditwell", "team_a"]
        assert await api.fetch(teams) == []
        async with api.transaction():
            await as_team(api, "*")
            assert [row[0] for row in await api.fetch(teams)] == ["creditwell"], "no word means every team"
        async with api.transaction():
            await as_team(api, "")
            assert await api.fetch(teams) == []


async def test_the_api_can_not_write_for_another_team(two_teams: str) -> None:
    async with connected(two_teams, "api") as api:
        for team in ("team_a", None):
            transaction = api.transaction()
            await transaction.start()
            if team is not None:
                await as_team(api, team)
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                await append(api, [used("team_b", 2)])
            await transaction.rollback()


async def test_the_api_reads_projections_of_its_team_alone_also_by_the_tables_behind_the_views(two_teams: str) -> None:
    async with connected(two_teams, "projector") as projector:
        for team in ("team_a", "team_b"):
            await projector.execute(
                "INSERT INTO usage_v1 VALUES (1, $1, now(), '', '{\"f\": [1, 1]}')",
                team,
            )
    async with connected(two_teams, "api") as api, api.transaction():
        await as_team(api, "team_a")
        for table in ("usage", "usage_v1"):
            assert [row[0] for row in await api.fetch(f"SELECT team_id FROM {table}")] == ["team_a"]


@pytest.mark.parametrize("role", APPENDING)
@pytest.mark.parametrize("facts", [1, 100])
async def test_whoever_has_something_to_say_may_append_a_few_facts_and_many(
    database: str, role: str, facts: int
) -> None:
    async with connected(database, role) as connection, connection.transaction():
        await as_team(connection, "team_a")
        appended = await append(connection, [used("team_a", number) for number in range(facts)])

    assert len(appended.places) == facts


@pytest.mark.parametrize("role", ["reader", "signer"])
async def test_whoever_only_reads_can_not_append(database: str, role: str) -> None:
    async with connected(database, role) as connection, connection.transaction():
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await append(connection, [used("team_a", 1)])


async def test_the_signer_sees_the_chain_and_not_what_is_in_it(two_teams: str) -> None:
    async with connected(two_teams, "signer") as signer:
        assert await signer.fetchval("SELECT count(*) FROM blocks") == 3
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await signer.fetch("SELECT * FROM facts")


async def test_an_analyst_sees_the_schema_analytics_and_nothing_else(two_teams: str) -> None:
    async with connected(two_teams, "analyst") as analyst:
        assert await analyst.fetch(SEEN_ELSEWHERE) == []
        for statement in (
            "SELECT * FROM public.facts",
            "SELECT * FROM public.balance",
            "SELECT public.lock_team(0, '')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema public"):
                await analyst.fetch(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema analytics"):
            await analyst.execute("CREATE TABLE analytics.mine (x integer)")


async def test_migrating_again_changes_nothing(database: str) -> None:
    async with connected(database) as connection:
        assert await migrate(connection) == []


async def test_in_production_nobody_needs_to_be_a_superuser_once_the_roles_are_there(
    stack: Stack, tmp_path: Path
) -> None:
    async with a_production(stack) as login:
        async with connected(login("migrator")) as migrator:
            assert await migrator.fetchval("SELECT current_user") == "creditwell_owner"
            assert await migrate(migrator) != []
            await ensure_projections(migrator)
            await migrator.execute("SELECT 1")
        async with connected(login("recorder")) as recorder, recorder.transaction():
            await append(recorder, [used("team_a", number) for number in range(100)])
        async with connected(login("reader")) as reader:
            assert await reader.fetchval("SELECT count(*) FROM facts") == 100
            assert await reader.fetchval("SELECT count(*) FROM balance") == 0
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await reader.execute("CREATE TABLE mine (x integer)")
            lines = [line for (line,) in await reader.fetch(SETTINGS_OF_ROLES)]
        async with connected(login("analyst")) as analyst:
            assert await analyst.fetchval("SELECT count(*) FROM usage") == 100
            await analyst.execute("SET default_transaction_read_only = off")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="temporary tables"):
                await analyst.execute("CREATE TEMP TABLE mine (x integer)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="temp_file_limit"):
                await analyst.execute("SET temp_file_limit = -1")
    in_force = tmp_path / GOLDEN_SETTINGS.name
    in_force.write_text("\n".join(lines) + "\n")

    assert lines == GOLDEN_SETTINGS.read_text().splitlines(), f"if this is meant: mv {in_force} {GOLDEN_SETTINGS}"


async def test_no_order_and_no_uniqueness_of_text_rests_on_a_locale(database: str) -> None:
    async with connected(database) as connection:
        assert [row[0] for row in await connection.fetch(BY_LOCALE)] == []
