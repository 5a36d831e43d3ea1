"""One line proved: offline, in little space, without a byte of another team (invariant 5)."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.verifier import creditwell_verify
from schemas.facts import NewFact, UsageRecorded
from schemas.places import Place
from services.audit.checkpoints import verifier_key
from services.audit.entry_proof import check_proof
from services.audit.prove import prove
from services.audit.sign_log import sign_log
from services.runtime.errors import LogChanged, Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.support.absent import absent
from tests.vectors.making import FOLDER, by_chance, document_of

TEAM = "team_a"
SHARD = shard_of(TEAM)
OTHER = next(f"other_{n}" for n in range(10_000) if shard_of(f"other_{n}") == SHARD)  # in the same blocks
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
GO = FOLDER / "golang"
SECONDS = 250  # to build it, with nothing in the cache, on a machine with much else to do


def used(number: int) -> NewFact:
    fact = UsageRecorded(feature="ai_video.generate", quantity="12.5", credits=1_000_000 + number, rate_card=1)
    return NewFact(TEAM if number % 2 else OTHER, "/features/vidéo", f"use-{number}", NOW, fact)


@pytest.fixture
async def log(database: str) -> AsyncIterator[Connection]:
    """Twelve facts in blocks of 1, 2, 3 and 6, three notes, and one fact that none covers; a superuser's connection."""
    connection = await asyncpg.connect(database)
    number = 0
    for count in (1, 2, 3, 6, 1):
        async with connection.transaction():
            await append(connection, [used(number + n) for n in range(count)])
        number += count
        if count not in (2, 1) or number == 1:
            await sign_log(connection, KEY, NOW + timedelta(minutes=number))
    yield connection
    await connection.close()


async def test_each_fact_is_proved_offline_under_its_own_note_and_under_any_newer_one(log: Connection) -> None:
    for position in range(1, 13):
        own = {1: 1, 2: 2, 3: 2, 4: 2, 5: 2, 6: 2}.get(position, 3)
        for to in (None, *range(own, 4)):
            proof = await prove(log, Place(SHARD, position), to=to)

            signer, problem = check_proof(proof, [KEY.public_key()])
            assert problem is None
            assert signer is not None
            assert proof["note"]["text"].split("\n")[1] == str(to or own)
            assert creditwell_verify.verify_proof(json.loads(json.dumps(proof)), [KEY.public_key()])
            text = json.dumps(proof, ensure_ascii=False)
            assert len(text.encode()) <= 4_096
            assert ("other_" in text) == (position % 2 == 1)


async def test_what_no_note_covers_or_is_not_there_is_refused_with_a_reason(log: Connection) -> None:
    for place, to, reason in (
        (Place(SHARD, 13), None, "not_signed_yet"),
        (Place(SHARD, 14), None, "unknown_entry"),
        (Place(SHARD, 4), 1, "unknown_checkpoint"),
        (Place(SHARD, 4), 4, "unknown_checkpoint"),
    ):
        with pytest.raises(Refused) as refused:
            await prove(log, place, to=to)
        assert refused.value.reason == reason


async def test_the_api_proves_a_teams_facts_with_the_leaves_of_others_and_never_anothers(
    log: Connection, database: str
) -> None:
    api = await asyncpg.connect(f"{database}?role=creditwell_api")
    try:
        async with api.transaction():
            await api.execute("SELECT set_config('creditwell.team', $1, true)", TEAM)
            proof = await prove(api, Place(SHARD, 8), TEAM)
            assert check_proof(proof, [KEY.public_key()])[1] is None
            assert OTHER not in json.dumps(proof)
            with pytest.raises(Refused, match="unknown_entry"):
                await prove(api, Place(SHARD, 9), TEAM)
            with pytest.raises(Refused, match="unknown_entry"):
                await prove(api, Place(SHARD, 9))  # were the argument forgotten, row-level security says the same
    finally:
        await api.close()


async def test_what_was_tampered_with_is_not_proved(log: Connection) -> None:
    for statement in (
        "UPDATE facts SET occurred_at = now() WHERE position = 8",
        "DELETE FROM facts WHERE position = 9",
    ):
        async with log.transaction():
            await log.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
            await log.execute(statement)
            await log.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only")
        with pytest.raises(LogChanged, match="run `creditwell verify`"):
            await prove(log, Place(SHARD, 8))


async def lines_of(connection: Connection) -> list[dict[str, Any]]:
    """What psql makes of the log."""
    sql = (Path(creditwell_verify.__file__).with_name("lines.sql")).read_text("utf-8")
    return [json.loads(row[0]) for row in await connection.fetch(sql.rstrip().rstrip(";"))]


async def test_the_single_file_reads_the_log_as_psql_gives_it(log: Connection) -> None:
    assert list(creditwell_verify.verify_log(await lines_of(log), [KEY.public_key()], {})) == []

    async with log.transaction():
        await log.execute("ALTER TABLE facts DISABLE TRIGGER ALL")
        await log.execute("UPDATE facts SET id = 'another' WHERE position = 8")
        await log.execute("ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only")
    found = creditwell_verify.verify_log(await lines_of(log), [KEY.public_key()], {})
    assert [problem.place for problem in found] == [f"{SHARD}:8"]


async def test_the_verifier_in_go_finds_what_the_vectors_say_and_accepts_a_real_proof(
    log: Connection, tmp_path: Path
) -> None:
    origin = "creditwell/" + await log.fetchval("SELECT value FROM store_constants WHERE name = 'log'")
    key = verifier_key(origin, KEY.public_key())
    for name, part in (
        ("a-proof", {"proof": await prove(log, Place(SHARD, 8), to=3)}),
        ("a-log", {"lines": await lines_of(log)}),
    ):
        document = {"public_key": key, "finding": None, **part}
        (tmp_path / f"{name}.json").write_text(json.dumps(document), "utf-8")
    for seed in range(100):
        (tmp_path / f"by-chance-{seed}.json").write_text(
            json.dumps(document_of(by_chance(Random(seed)), None)), "utf-8"
        )
    files = [*sorted(FOLDER.glob("*.json")), *sorted(tmp_path.glob("*.json"))]

    outcome = run_go(str(tmp_path / "verify"), *map(str, files))

    found = {Path(name).stem: finding for name, _, finding in (line.partition(" ") for line in outcome.splitlines())}
    wanted = {file.stem: json.loads(file.read_text("utf-8"))["finding"] for file in files}
    # What anchors alone betray is nothing that the log itself could; it reads none.
    wanted["log-lost-notes-in-other-blocks"] = "anchor"
    assert found == {
        name: "none" if (finding or "anchor").startswith("anchor") else finding for name, finding in wanted.items()
    }
    assert len((GO / "main.go").read_text("utf-8").splitlines()) <= 200


def run_go(program: str, *files: str) -> str:
    """Build it from pinned modules and run it; without Go or the modules the test is skipped, or fails under CI."""
    go = shutil.which("go")
    if go is None:
        absent("there is no Go here: the second verifier was not run")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
    try:
        subprocess.run(
            [go, "build", "-o", program, "."],
            cwd=GO,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failure:
        absent(f"the verifier in Go could not be built: {failure}; {failure.stderr!r}")
    return subprocess.run([program, *files], capture_output=True, text=True, timeout=SECONDS, check=True).stdout
