"""A replay of the database: the same by one process and by many, at once or after a kill, and never a traceback."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import psutil
import pytest

from deploy.local.folders import own_environment
from deploy.local.stack import Stack
from schemas.facts import HoldReleased
from services.audit.replay import ReplayScope, replay
from services.audit.replays.all_cores import replay_on_all_cores
from services.audit.replays.outcome import Replayed
from services.audit.replays.progress import begin_replay, go_on_with_replay, read_progress, save_progress
from services.runtime.errors import LogChanged, Refused
from services.runtime.long_work.children import ChildKilled
from services.store.append import append
from services.store.connect import Connection
from services.store.shards import SHARDS, shard_of
from tests.conftest import a_database
from tests.support.facts import granted, new
from tests.support.holds import wait_for_locks
from tests.support.honest import Honest, project, report
from tests.support.serving import as_role, connected, run, start
from tests.support.usage import reported
from tests.support.waiting import PATIENCE_SECONDS, until

AUDIT = ReplayScope(audit=True)
TEAMS = [f"team_{number}" for number in range(12)]
KEPT = 5  # shards that are done when the kill comes
OF_THE_RUN = ("seconds", "facts_per_s", "shards_before", "began_at")

END_A_SESSION = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'creditwell-replay' LIMIT 1
"""

# In the tables of several shards; one of them in what is compared in no order of its own.
TAMPERS = (
    "UPDATE balance_v1 SET additional = additional + 1, as_of = as_of + interval '1 s' WHERE team_id IN ('team_1', 'team_7')",
    "DELETE FROM lots_v1 WHERE team_id = 'team_3' AND kind = 'included'",
    "UPDATE usage_v1 SET member_id = 'mem_x' WHERE team_id = 'team_5'",
    "UPDATE teams SET zone = 'Asia/Tokyo', anchor = anchor - interval '1 h' WHERE team_id IN ('team_2', 'team_9')",
    """INSERT INTO notices (shard, position, team_id, type, notice_id, body)
       SELECT shard, 99_999 + row_number() OVER (), team_id, 'credits.topped_up.v1', 'x', '{}' FROM teams""",
)


@pytest.fixture(scope="module")
async def laid(stack: Stack, template: str) -> AsyncIterator[str]:
    """The database of an honest history of a dozen teams."""
    async with a_database(stack, template) as url:
        async with connected(url) as connection:
            history = Honest(connection, Random(42), TEAMS)
            await history.begin()
            await report(connection, [reported(team, f"first-{team}") for team in TEAMS])  # whatever the dice say
            await history.go_on(200)
        yield url


@pytest.fixture
async def log(stack: Stack, laid: str) -> AsyncIterator[tuple[str, Connection]]:
    """A copy of it that a test may change, and a superuser's connection."""
    name = laid.rpartition("/")[2].partition("?")[0]
    async with a_database(stack, name) as url, connected(url) as connection:
        yield url, connection


async def on_cores(url: str, connection: Connection, processes: int, scope: ReplayScope = AUDIT) -> Replayed:
    """As `creditwell replay` does it."""
    progress = await begin_replay(connection, scope)
    return await asyncio.to_thread(replay_on_all_cores, url, scope, progress, processes)


async def tamper(connection: Connection) -> None:
    """Rows of several shards, and facts that follow from none."""
    for statement in TAMPERS:
        await connection.execute(statement)
    for team in ("team_4", "team_8"):
        async with connection.transaction():
            await append(connection, [new(team, "forged", HoldReleased(hold_id="never"), source="creditwell:holds")])
    await project(connection)


async def test_two_processes_find_and_sum_what_one_does(log: tuple[str, Connection]) -> None:
    url, connection = log
    honest = await replay(connection, AUDIT)

    assert (list(map(str, honest.differences)), list(map(str, honest.findings))) == ([], [])
    assert honest.facts == await connection.fetchval("SELECT sum(next - 1)::bigint FROM shard_heads")
    assert await on_cores(url, connection, 1) == await on_cores(url, connection, 2) == honest

    await tamper(connection)
    wrong = await replay(connection, AUDIT)

    assert {one.team_id for one in wrong.findings} == {"team_4", "team_8"}
    assert {one.table for one in wrong.differences} == {"balance", "lots", "usage", "teams", "notices"}
    shards = [shard_of(one.team_id) for one in wrong.differences]
    assert (shards, len(set(shards)) >= 8) == (sorted(shards), True)
    assert await on_cores(url, connection, 1) == await on_cores(url, connection, 2) == wrong


async def test_what_comes_while_it_runs_is_compared_and_not_counted(log: tuple[str, Connection]) -> None:
    url, connection = log
    before, progress = await replay(connection, AUDIT), await begin_replay(connection, AUDIT)
    async with connection.transaction():
        await append(connection, [granted("team_1", "later")])
    await project(connection)
    await connection.execute("DELETE FROM activity_rows_v1 WHERE team_id = 'team_1' AND position = "
                             "(SELECT max(position) FROM facts WHERE team_id = 'team_1')")  # fmt: skip

    replayed = await asyncio.to_thread(replay_on_all_cores, url, AUDIT, progress, 2)

    assert (replayed.facts, replayed.teams, replayed.totals) == (before.facts, before.teams, before.totals)
    assert {(one.team_id, one.table) for one in replayed.differences} == {("team_1", "activity")}


async def test_a_shard_with_facts_that_nobody_can_read_keeps_no_other_from_being_compared(
    log: tuple[str, Connection],
) -> None:
    url, connection = log
    other = next(team for team in TEAMS if shard_of(team) != shard_of("team_1"))
    await connection.execute("UPDATE balance_v1 SET additional = additional + 1 WHERE team_id = $1", other)
    places = await connection.fetch(
        "SELECT position FROM facts WHERE team_id = 'team_1' ORDER BY position DESC LIMIT 2"
    )
    unknown, empty = (row["position"] for row in places)
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER USER; ALTER TABLE facts ALTER body DROP NOT NULL")
    for change, position in (("type = 'usage.teleported.v9'", unknown), ("body = NULL", empty)):
        of_team = f"UPDATE facts SET {change} WHERE team_id = 'team_1' AND position = $1"
        await connection.execute(of_team, position)

    replayed = await on_cores(url, connection, 2)

    said = {finding.place: finding.what for finding in replayed.findings}
    assert "unknown fact type 'usage.teleported.v9'" in said[f"{shard_of('team_1')}:{unknown}"]
    assert said[f"{shard_of('team_1')}:{empty}"] == "its body is missing"
    assert ("balance", other) in {(one.table, one.team_id) for one in replayed.differences}
    assert replayed == await replay(connection, AUDIT)


async def test_a_shard_that_cannot_be_read_to_its_end_is_a_finding(log: tuple[str, Connection]) -> None:
    url, connection = log
    await connection.execute("ALTER TABLE facts DISABLE TRIGGER USER")
    await connection.execute("DELETE FROM facts WHERE team_id = 'team_1' AND position = 2")
    shard = shard_of("team_1")

    replayed = await on_cores(url, connection, 2)

    of_shard = [one.what for one in replayed.findings if one.place == f"shard {shard}"]
    assert of_shard == [
        f"it can't be compared to its end: shard {shard} has no position 2: a fact was removed; run `creditwell verify`"
    ]


async def killed_replay(url: str, file: Path) -> None:
    """A replay by two processes that is killed when some shards are done."""
    environment = {
        "CREDITWELL_DATABASE": as_role(url, "reader"),
        "CREDITWELL_CRASH_AT": f"replay:kept:{KEPT}",
    }
    code, output, _ = await run("replay", "--audit", "--processes", "2", "--resume", str(file), environment=environment)
    assert (code, output) == (-signal.SIGKILL, "")


async def resumed_replay(url: str, file: Path) -> tuple[int, dict[str, Any]]:
    environment = {"CREDITWELL_DATABASE": as_role(url, "reader")}
    code, output, errors = await run(
        "replay", "--audit", "--processes", "2", "--resume", str(file), "--json", environment=environment
    )
    assert output, errors
    return code, json.loads(output)


def verdict(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is said of the run."""
    return {name: value for name, value in document.items() if name not in OF_THE_RUN}


async def test_a_killed_replay_goes_on_with_the_rest_and_says_the_same(
    log: tuple[str, Connection], tmp_path: Path
) -> None:
    url, connection = log
    await tamper(connection)
    code, whole = await resumed_replay(url, tmp_path / "whole.json")
    file = tmp_path / "killed.json"
    await killed_replay(url, file)
    kept, progress = file.read_bytes(), read_progress(file)

    assert (code, whole["shards_before"]) == (1, 0)
    assert progress is not None
    assert len(progress.done) == KEPT
    code, resumed = await resumed_replay(url, file)
    assert (code, resumed["shards_before"]) == (1, KEPT)
    assert verdict(resumed) == verdict(whole)
    assert not file.exists()

    # What is done is not read again: nobody finds what was done to it since.
    done, rest = ({team for team in TEAMS if (shard_of(team) in progress.done) is is_done} for is_done in (True, False))
    assert done
    await connection.execute("UPDATE balance_v1 SET included = included + 1")
    file.write_bytes(kept)
    changed = await on_cores(url, connection, 1)
    told: list[int] = []
    gone_on = await asyncio.to_thread(
        replay_on_all_cores, url, AUDIT, await go_on_with_replay(connection, AUDIT, file), 2, on_facts=told.append
    )
    of_balance = [one for one in gone_on.differences if one.column == "included"]
    assert {one.team_id for one in of_balance} == rest
    assert {one.team_id for one in changed.differences if one.column == "included"} == done | rest
    assert (len(told), sum(told)) == (
        SHARDS - KEPT, whole["facts"] - sum(shard.facts for shard in progress.done.values()),
    )  # fmt: skip


async def test_a_file_that_does_not_fit_is_refused_with_what_to_do(
    log: tuple[str, Connection], stack: Stack, template: str, tmp_path: Path
) -> None:
    _, connection = log
    file = tmp_path / "replay.json"
    await go_on_with_replay(connection, AUDIT, file)
    kept = file.read_bytes()

    for damaged, what in (
        (kept[:-100], "does not say how far a replay is"),
        (b"[]", "does not say how far a replay is"),
        (kept.replace(b"creditwell replay 1", b"creditwell replay 0"), "is no 'creditwell replay 1'"),
        (kept.replace(b'"audit":true', b'"audit":false'), "is damaged, it is not what was written"),
    ):
        assert damaged != kept
        file.write_bytes(damaged)
        with pytest.raises(Refused, match=what):
            await go_on_with_replay(connection, AUDIT, file)
    file.write_bytes(kept)
    with pytest.raises(Refused, match="with other options: give another file"):
        await go_on_with_replay(connection, ReplayScope(), file)
    with pytest.raises(Refused, match="with other options"):
        await go_on_with_replay(connection, replace(AUDIT, archives="x"), file)
    async with a_database(stack, template) as other, connected(other) as another_log:
        with pytest.raises(Refused, match="over another log"):
            await go_on_with_replay(another_log, AUDIT, file)
    progress = read_progress(file)
    assert progress is not None
    save_progress(file, msgspec.structs.replace(progress, build="0.0.9, fold 1"))
    with pytest.raises(Refused, match="by another build"):
        await go_on_with_replay(connection, AUDIT, file)


async def test_a_file_of_another_past_of_the_log_is_refused(log: tuple[str, Connection], tmp_path: Path) -> None:
    _, connection = log
    file, shard = tmp_path / "replay.json", shard_of("team_1")
    await go_on_with_replay(connection, AUDIT, file)
    async with connection.transaction():
        await append(connection, [granted("team_1", "later")])

    assert (await go_on_with_replay(connection, AUDIT, file)).done == {}  # a log that has grown is the same

    await connection.execute("ALTER TABLE blocks DISABLE TRIGGER USER")
    await connection.execute("UPDATE blocks SET hash = sha256(hash) WHERE shard = $1", shard)
    with pytest.raises(LogChanged, match=f"shard {shard} does not hold what it held at"):
        await go_on_with_replay(connection, AUDIT, file)


async def test_a_refused_file_and_one_that_cannot_be_written_end_in_a_sentence(
    log: tuple[str, Connection], tmp_path: Path
) -> None:
    environment, file = {"CREDITWELL_DATABASE": as_role(log[0], "reader")}, tmp_path / "replay.json"
    file.write_text("no JSON")

    refused = await run("replay", "--resume", str(file), environment=environment)
    nowhere = await run("replay", "--resume", str(tmp_path / "nowhere" / "x"), environment=environment)

    assert (refused[0], file.read_text()) == (2, "no JSON")
    assert refused[2].startswith(f"creditwell: {file} does not say how far a replay is")
    assert (nowhere[0], "No such file or directory" in nowhere[2]) == (2, True)
    assert "Traceback" not in refused[2] + nowhere[2]


@asynccontextmanager
async def nobody_gets_on(connection: Connection) -> AsyncIterator[None]:
    """Whoever replays waits for a table while the block runs."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE stripe_customers IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_process_that_was_killed_is_named_with_its_shard(log: tuple[str, Connection]) -> None:
    url, connection = log
    progress = await begin_replay(connection, AUDIT)
    async with connected(url) as other, nobody_gets_on(other):
        running = asyncio.create_task(asyncio.to_thread(replay_on_all_cores, url, AUDIT, progress, 2))
        await wait_for_locks(other, 2)
        killed = active_children()[0].pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(ChildKilled, match=rf"process {killed} was ended by SIGKILL while it worked on shard \d+"):
            await running

    assert progress.done == {}
    assert active_children() == []


@pytest.mark.parametrize(
    ("processes", "to", "number", "code", "sentence"),
    [
        (2, "child", signal.SIGKILL, 3, "was ended by SIGKILL while it worked on shard"),
        (2, "parent", signal.SIGINT, 130, ""),
        (1, "parent", signal.SIGINT, 130, ""),
        (2, "parent", signal.SIGTERM, -signal.SIGTERM, ""),
        (2, "parent", signal.SIGKILL, -signal.SIGKILL, ""),
        (2, "session", signal.SIGKILL, 3, "the database does not answer"),
    ],
)
async def test_a_replay_ends_as_a_whole_and_without_a_traceback(
    log: tuple[str, Connection], processes: int, to: str, number: signal.Signals, code: int, sentence: str
) -> None:
    url, connection = log
    command = [sys.executable, "-m", "services.cli", "replay", "--processes", str(processes)]
    environment = {**own_environment(), "CREDITWELL_DATABASE": as_role(url, "reader")}
    with tempfile.TemporaryFile() as errors:
        async with nobody_gets_on(connection):
            process = start(command, environment, output=errors.fileno(), errors=errors.fileno())
            try:
                await wait_for_locks(connection, processes)
                children = [
                    one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())
                ]
                if to == "session":
                    await connection.execute(END_A_SESSION)
                else:
                    os.kill(process.pid if to == "parent" else children[0].pid, number)
                ended = await asyncio.to_thread(process.wait, PATIENCE_SECONDS)
            finally:
                process.send_signal(signal.SIGKILL)

            async def all_gone() -> bool:
                return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children)

            await until(all_gone)
        errors.seek(0)
        said = errors.read().decode()
    assert len(children) == (processes if processes > 1 else 0)
    assert (ended, sentence in said, "Traceback" in said) == (code, True, False), said
