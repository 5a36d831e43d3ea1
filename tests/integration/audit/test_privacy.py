"""No person gets into the log: names, mails and prompts are looked for everywhere, before and after somebody is erased."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_core import to_json
from typer.testing import CliRunner

from projections.entitlement import Limit
from schemas.credits import MICRO
from schemas.topics import EVENTS
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.cli import app
from services.credits.directory import DirectoryMember, put_member, read_directory
from services.credits.erasure import erase_member
from services.credits.limits import set_limit
from services.read_models.rebuild import rebuild
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.support.serving import read_topic
from tests.support.usage import raw, reported, structured
from tests.support.waiting import until
from tests.support.world import ServiceWorld

TEAM, MEMBER = "team_1", "mem_1"
NAME, MAIL, PROMPT = "Zebulon Quartermain", "zebulon.q@mail.example", "paint me a purple heron at dawn"
CANARIES = (NAME, MAIL, PROMPT)

TABLES = """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""
ANSWER = """
    INSERT INTO command_answers (shard, team_id, sub, route, key, body_sha256, status, answer)
    VALUES ($1, $2, 'ops', 'PUT /v1/teams/team_1/members/mem_1', 'k', 'x', 200, convert_to($3, 'UTF8'))
"""
ERASED = "SELECT type, body FROM facts WHERE team_id = $1 AND type = 'member.erased.v1'"


def traces(canary: str) -> Iterator[str]:
    """A canary as a row shows it: as text, in bytes, and within base64 wherever it begins."""
    plain = canary.encode()
    yield canary
    yield plain.hex()
    for offset in range(3):
        yield b64encode(bytes(offset) + plain).decode()[4 : -(4 if (offset + len(plain)) % 3 else 0) or None]


async def where(connection: Connection) -> dict[str, set[str]]:
    """Each table that has a canary, and which."""
    found: dict[str, set[str]] = {}
    for (table,) in await connection.fetch(TABLES):
        for canary in CANARIES:
            some = f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t::text LIKE ANY($1))"
            if await connection.fetchval(some, [f"%{trace}%" for trace in traces(canary)]):
                found.setdefault(table, set()).add(canary)
    return found


def in_files(folder: Path) -> list[str]:
    """The files that have a canary."""
    return [
        path.name for path in folder.rglob("*")
        if path.is_file() and any(canary.encode() in path.read_bytes() for canary in CANARIES)
    ]  # fmt: skip


def exported(world: ServiceWorld, folder: Path) -> None:
    """Facts and entries, by the command."""
    for what in ("events", "entries"):
        arguments = ["export", what, "--out", str(folder / what), "--format", "jsonl"]
        result = CliRunner().invoke(app, arguments, env={"CREDITWELL_DATABASE": world.database})
        assert result.exit_code == 0, result.stderr


async def careless(world: ServiceWorld) -> None:
    """What careless services send: a person in attributes, in what is refused, and where nobody reads."""
    event = reported(TEAM, "kept", quantity="2")
    event["data"]["attributes"] |= {"prompt": PROMPT, "model": MAIL, "user": NAME}
    event["data"]["note"] = PROMPT
    dear = reported(TEAM, "dear", tier=PROMPT)
    feature = reported(TEAM, "feature", feature=MAIL)
    # Enough of them for the recorder to say it in its log; what is wrong with each quotes it.
    loud = [structured(reported(TEAM, f"loud-{number}", type=PROMPT)) for number in range(25)]
    await world.send(
        structured(event), structured(dear), structured(feature), raw(NAME.encode(), key=MAIL.encode()),
        raw(json.dumps(reported(NAME, "nobody", specversion=MAIL)).encode(), key=NAME.encode()), *loud,
    )  # fmt: skip


@pytest.fixture
async def told(world: ServiceWorld) -> ServiceWorld:
    """A team whose member has a name, a limit and an answer; usage was sent, recorded and refused."""
    await world.team(TEAM)
    connection = world.connection
    async with connection.transaction():
        await put_member(connection, TEAM, DirectoryMember(MEMBER, NAME, "member"))
        await set_limit(connection, TEAM, MEMBER, Limit(5 * MICRO, None, hard=False), limited_by="ops")
    await connection.execute(ANSWER, shard_of(TEAM), TEAM, to_json([{"id": MEMBER, "name": NAME}, None]).decode())
    async with world.recorder(), world.projector():
        await careless(world)
        await world.recorded()
        await world.projected()
    return world


async def test_names_mails_and_prompts_are_where_the_page_says_and_nowhere_once_somebody_is_erased(
    capfd: pytest.CaptureFixture[str],  # before all others, so that it hears what they log
    told: ServiceWorld,
    tmp_path: Path,
) -> None:
    connection = told.connection
    assert await where(connection) == {
        "members": {NAME}, "command_answers": {NAME}, "refused_bytes": {NAME, MAIL, PROMPT},
    }  # fmt: skip
    assert await told.usage_ids() == ["kept"]
    first_page = tmp_path / "before"
    await asyncio.to_thread(exported, told, first_page)
    assert in_files(first_page) == []

    async with connection.transaction():
        place = await erase_member(connection, TEAM, MEMBER, wholly=True, by="ops", reason="ticket-118")
    async with connection.transaction():
        assert await erase_member(connection, TEAM, MEMBER, wholly=True, by="ops", reason="again") == place
    assert [row["body"] for row in await connection.fetch(ERASED, TEAM)] == [b'{"member_id":"mem_1","wholly":true}']
    directory = await read_directory(connection, TEAM)
    assert directory is not None
    assert directory.names == {MEMBER: "erased member"}
    assert await where(connection) == {"refused_bytes": {NAME, MAIL, PROMPT}}
    assert await connection.fetchval("SELECT count(*) FROM member_limits") == 0

    # The time of the bytes is over: the relay lets go of them, and publishes the log.
    reasons = await told.reasons()
    await connection.execute("UPDATE refused_bytes SET refused_at = refused_at - interval '91 days'")
    async with told.relay():
        await until(lambda: connection.fetchval("SELECT count(*) = 0 FROM refused_bytes"), what="the bytes are let go")

        async def published() -> bool:
            row = await connection.fetchrow(
                "SELECT sum(h.next - 1) AS stored, sum(c.position) AS told FROM shard_heads h "
                "LEFT JOIN checkpoints c ON c.reader = 'relay' AND c.shard = h.shard"
            )
            return row is not None and row["stored"] == row["told"]

        await until(published, what="the log is published")
    assert await where(connection) == {}
    assert sorted(await told.reasons()) == sorted(reasons)
    events = await read_topic(told.stack.kafka, EVENTS, lambda record: record.key == TEAM.encode())
    assert not [one for one in events if any(canary.encode() in (one.value or b"") for canary in CANARIES)]

    async with connection.transaction():  # for whoever comes back the same limit is another fact
        await set_limit(connection, TEAM, MEMBER, Limit(5 * MICRO, None, hard=False), limited_by="ops")
    assert await connection.fetchval("SELECT count(*) FROM member_limits") == 1
    assert await rebuild(told.database, ["balance"]) == []
    assert await where(connection) == {}
    replayed = await replay(connection, ReplayScope(audit=True))
    assert (replayed.differences, replayed.findings) == ([], [])
    verified = await verify(connection)
    assert [str(problem) for problem in verified.problems] == []
    last_page = tmp_path / "after"
    await asyncio.to_thread(exported, told, last_page)
    assert in_files(last_page) == []
    logged = "".join(capfd.readouterr())
    assert "more than half of the usage that arrives is refused" in logged
    assert "bytes of refused records came to their end" in logged
    assert not [canary for canary in CANARIES if canary in logged]
