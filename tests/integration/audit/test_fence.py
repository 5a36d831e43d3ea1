"""Whoever changes the fence around the log is found by `verify`, and the object is named."""

import asyncio
import json
from pathlib import Path

from typer.testing import CliRunner

from services.audit import fence
from services.audit.fence import PIN, read_fence
from services.audit.verify import verify
from services.cli import app
from services.store.append import append
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.integration.audit.test_verify import TEAM, said, used
from tests.support.serving import as_role, connected

GOLDEN = Path(fence.__file__).with_name("fence.txt")


async def test_the_fence_is_what_the_migrations_make(connection: Connection, tmp_path: Path) -> None:
    await connection.execute(PIN)
    found = tmp_path / GOLDEN.name
    found.write_text("".join("\t".join(part) + "\n" for part in await read_fence(connection)), "utf-8")

    assert found.read_text("utf-8") == GOLDEN.read_text("utf-8"), f"if this is meant: mv {found} {GOLDEN}"


# What was done, and the object and a word of what is said of it.
HOLES = [
    ("ALTER TABLE facts DISABLE TRIGGER facts_append_only", "facts", "trigger facts_append_only"),
    ("ALTER TABLE facts ENABLE TRIGGER facts_append_only", "facts", "not always"),
    ("DROP TRIGGER blocks_append_only ON blocks", "blocks", "trigger blocks_append_only is missing"),
    ("ALTER TABLE holds DISABLE TRIGGER holds_one_way", "holds", "trigger holds_one_way"),
    ("ALTER TABLE facts DROP CONSTRAINT facts_identity", "facts", "constraint facts_identity is missing"),
    ("ALTER TABLE holds DROP CONSTRAINT holds_a_day_at_most", "holds", "constraint holds_a_day_at_most is missing"),
    ("DROP INDEX top_up_attempts_open", "top_up_attempts", "index top_up_attempts_open is missing"),
    ("ALTER TABLE teams DISABLE ROW LEVEL SECURITY", "teams", "kind"),
    ("CREATE POLICY all_teams ON facts TO creditwell_api USING (true)", "facts", "no migration made policy all_teams"),
    ("DROP POLICY one_team ON checkouts", "checkouts", "policy one_team is missing"),
    ("ALTER POLICY one_team ON facts USING (true)", "facts", "policy one_team is not what"),
    ("GRANT UPDATE ON facts TO creditwell_worker", "facts", "granted to creditwell_worker"),
    ("GRANT DELETE ON blocks TO PUBLIC", "blocks", "granted to everybody"),
    ("GRANT UPDATE (credits) ON holds TO creditwell_worker", "holds", "granted to creditwell_worker"),
    ("REVOKE INSERT ON facts FROM creditwell_api", "facts", "granted to creditwell_api"),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "schema public", "granted to everybody"),
    ("ALTER TABLE facts OWNER TO creditwell_worker", "facts", "owned by creditwell_worker"),
    ("ALTER TABLE store_secrets ALTER value DROP NOT NULL", "store_secrets", "column value"),
    ("CREATE RULE gone AS ON INSERT TO blocks DO INSTEAD NOTHING", "blocks", "rule gone"),
    ("CREATE TABLE more () INHERITS (facts)", "facts", "heir more"),
    ("DROP TABLE voided_usages CASCADE", "voided_usages", "kind is missing"),
    ("ALTER TABLE facts SET UNLOGGED", "facts", "not durable"),
    (
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "function refuse_change()", "kind is not what",
    ),
    ("ALTER FUNCTION refuse_empty_heads() SECURITY INVOKER", "function refuse_empty_heads()", "kind is not what"),
]  # fmt: skip


async def test_each_hole_in_the_fence_is_named_and_none_is_left_when_it_is_mended(connection: Connection) -> None:
    for statement, name, words in HOLES:
        change = connection.transaction()
        await change.start()
        await connection.execute(statement)
        found = [problem for problem in await fence_of(connection) if problem[0] == name]
        await change.rollback()
        assert any(words in what for _, what in found), f"{statement}: {found}"
    assert await fence_of(connection) == []


async def fence_of(connection: Connection) -> list[tuple[str, str]]:
    return list(await fence.holes(connection))


async def test_what_can_do_no_harm_is_no_hole(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("CREATE ROLE creditors_analysts; GRANT SELECT ON facts TO creditors_analysts")
        await connection.execute("CREATE INDEX facts_by_time ON facts (recorded_at)")
        await connection.execute("CREATE TABLE notes_of_the_host (id int)")
        assert await fence_of(connection) == []
        await connection.execute("DROP OWNED BY creditors_analysts; DROP ROLE creditors_analysts")


async def test_a_role_that_may_more_is_named(connection: Connection) -> None:
    change = connection.transaction()
    await change.start()
    await connection.execute("GRANT pg_write_all_data TO creditwell_signer")
    found = await fence_of(connection)
    await change.rollback()

    assert [name for name, _ in found] == ["role creditwell_signer"]
    assert "what pg_write_all_data may" in found[0][1]


async def test_an_identity_that_stands_twice_is_found(connection: Connection) -> None:
    async with connection.transaction():
        await append(connection, [used(TEAM, 1), used(TEAM, 2)])
    await connection.execute("ALTER TABLE facts DROP CONSTRAINT facts_identity")
    async with connection.transaction():
        await append(connection, [used(TEAM, 2)])

    problems = said(await verify(connection))

    shard = shard_of(TEAM)
    assert problems[0] == f"{shard}:3: its identity (team, source, id) stands at {shard}:2 already"
    assert [problem.split(": ")[0] for problem in problems[1:]] == ["facts", "facts"]  # the constraint and its index


async def test_what_is_read_is_the_table_that_the_migrations_made(database: str, connection: Connection) -> None:
    async with connection.transaction():
        await append(connection, [used(TEAM, 1)])
    await connection.execute(
        "CREATE SCHEMA creditwell_reader; GRANT USAGE ON SCHEMA creditwell_reader TO creditwell_reader;"
        "CREATE VIEW creditwell_reader.facts AS SELECT * FROM public.facts WHERE false;"
        "CREATE VIEW creditwell_reader.shard_heads AS SELECT shard, 1::bigint AS next, head, recorded_at FROM public.shard_heads;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA creditwell_reader TO creditwell_reader"
    )

    async with connected(as_role(database, "reader")) as reader:
        verified = await verify(reader)

    assert (verified.facts, said(verified)) == (1, [])


async def test_the_command_names_the_object_and_ends_with_1(database: str, connection: Connection) -> None:
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
    environment = {"CREDITWELL_DATABASE": as_role(database, "reader"), "CREDITWELL_LOG_FORMAT": "json"}

    result = await asyncio.to_thread(CliRunner().invoke, app, ["verify", "--json", "--unsigned"], env=environment)

    (problem,) = json.loads(result.stdout)["problems"]
    assert (result.exit_code, problem["place"]) == (1, "facts")
    assert "disabled" in problem["what"]
