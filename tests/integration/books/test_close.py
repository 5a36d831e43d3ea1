"""A month closed into a folder: the same bytes from two processes, from the database and from archives; what ties is said."""

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from deploy.local.stack import Stack
from projections.books.month import month_of
from projections.books.tables import document
from projections.statements.document import SealedCycle, json_of
from schemas.cycles import Cycle
from schemas.facts import PeriodSealed
from schemas.places import place_of
from services.audit.checkpoints import base64_of
from services.books.closing.month_folder import MANIFEST, OF_THIS_TIME, STRIPE
from services.books.folding import fold_month
from services.books.statements import covering_notes, make_statement, read_cycles
from services.cli import app
from services.export.archive import archive
from services.export.exporting import export
from services.export.files import FileFormat
from services.export.manifest import ExportRequest
from services.store.connect import Connection
from tests.conftest import a_database
from tests.support.desk import KEY as STRIPE_KEY
from tests.support.desk import a_desk
from tests.support.honest import project
from tests.support.months import lay_months, told
from tests.support.serving import connected

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SEALS = f"""
    SELECT to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, count(*) FROM facts
    WHERE type = '{PeriodSealed.type}' GROUP BY 1 ORDER BY count(*) DESC, 1
"""
MONTHS = "SELECT DISTINCT to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM facts ORDER BY 1"


@dataclass(frozen=True)
class ClosedMonth:
    """A log of some months of 2025, its archives, and the folder that a process made of the month with most seals."""

    url: str
    connection: Connection
    month: str
    archives: Path
    folder: Path
    result: tuple[int, str]


def environment(url: str) -> dict[str, str]:
    return {
        "CREDITWELL_DATABASE": url + "?role=creditwell_reader", "CREDITWELL_BOOKS_ZONE": "UTC",
        "CREDITWELL_INSECURE_DEV": "1", "CREDITWELL_PUBLIC_KEY": base64_of(KEY.public_key().public_bytes_raw()),
    }  # fmt: skip


@pytest.fixture(scope="module")
async def closed(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClosedMonth]:
    """Closed from the database, by a process of its own."""
    root = tmp_path_factory.mktemp("close")
    async with a_database(stack, template) as url, connected(url) as connection:
        await lay_months(connection, told(60, seed=4), KEY)
        await project(connection)
        month = (await connection.fetch(SEALS))[0]["month"]
        months = [row["month"] for row in await connection.fetch(MONTHS)]
        for one in months[: months.index(month) + 1]:
            await archive(connection, one, root / "archives")
        command = [sys.executable, "-m", "services.cli", "close", month, "--out", str(root / "folder")]
        process = await asyncio.create_subprocess_exec(
            *command, "--unsigned", "--without-stripe", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=environment(url),
        )  # fmt: skip
        output, _ = await process.communicate()
        result = (process.returncode or 0, output.decode())
        yield ClosedMonth(url, connection, month, root / "archives", root / "folder", result)


async def close(closed: ClosedMonth, out: Path, *arguments: str, **settings: str) -> Result:
    command = ["close", closed.month, "--out", str(out), "--json", *arguments]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env=environment(closed.url) | settings)


def of_the_log(folder: Path) -> dict[str, bytes]:
    """The files that follow from the log, the manifest among them."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    this_time = OF_THIS_TIME - {MANIFEST}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if name not in this_time and not name.startswith(f"{STRIPE}/")
    }


async def test_two_processes_make_the_same_folder_from_the_database_and_from_archives(
    closed: ClosedMonth, tmp_path: Path
) -> None:
    from_database = await close(closed, tmp_path / "again", "--unsigned", "--without-stripe")
    from_archives = await close(
        closed, tmp_path / "archived", "--archives", str(closed.archives), "--anchors", str(closed.folder / "notes"),
        CREDITWELL_DATABASE="postgresql://nobody@127.0.0.1:1/nowhere",
    )  # fmt: skip

    first = of_the_log(closed.folder)
    assert MANIFEST in first, closed.result
    assert [name for name, content in of_the_log(tmp_path / "again").items() if first.get(name) != content] == []
    assert of_the_log(tmp_path / "again").keys() == first.keys(), from_database.output
    assert of_the_log(tmp_path / "archived") == first, from_archives.output
    assert from_archives.exit_code == 0, from_archives.output
    named = {file["path"] for file in json.loads(first[MANIFEST])["files"]}
    assert named == first.keys() - {MANIFEST}
    assert {"verify", "replay", "revenue", "statements", "stripe"} == {
        one["name"] for one in json.loads(from_archives.stdout)["checks"]
    }
    assert "not asked" in (tmp_path / "archived" / "index.html").read_text("utf-8")


async def test_the_folder_has_what_each_command_says_of_the_month(closed: ClosedMonth, tmp_path: Path) -> None:
    month, connection = month_of(closed.month, "UTC"), closed.connection
    at, known_at = (one.isoformat() for one in (month.ends_at, month.ends_at - timedelta(microseconds=1)))

    await export(connection, ExportRequest("balances", FileFormat.CSV, at=at, known_at=known_at), tmp_path)

    shards = sorted((tmp_path / "balances").glob("*.csv"))
    exported = "".join(line for file in shards for line in file.read_text("utf-8").splitlines(keepends=True)[1:])
    header, _, balances = (closed.folder / "balances.csv").read_text("utf-8").partition("\n")
    assert (header[:14], balances) == ("shard,team_id,", exported)
    books = json.loads((closed.folder / "revenue/revenue.json").read_text("utf-8"))
    assert books == json.loads(json.dumps(document(await fold_month(connection, month), open_=False)))
    listed = list(csv.DictReader((closed.folder / "statements.csv").read_text("utf-8").splitlines()))
    assert len(listed) == (await connection.fetch(SEALS))[0]["count"]
    for one in listed:
        written = (closed.folder / one["file"]).read_text("utf-8")
        place = place_of(one["position"])
        starts_at, ends_at = (datetime.fromisoformat(one[name]) for name in ("starts_at", "ends_at"))
        note = (await covering_notes(connection, place.shard, [place.position]))[place.position]
        recorded_at = json.loads(written)["sealed"]["recorded_at"]
        sealed = SealedCycle(Cycle(int(one["cycle"]), starts_at, ends_at), place, recorded_at, *note)
        cycles = await read_cycles(connection, one["team_id"])
        assert cycles is not None
        assert written == json_of(await make_statement(connection, cycles, sealed, None))
        assert (closed.folder / "notes" / f"{sealed.checkpoint:020d}.anchor").is_file()


async def test_what_does_not_tie_is_said_and_stripes_answers_are_kept(closed: ClosedMonth, tmp_path: Path) -> None:
    month = month_of(closed.month, "UTC")
    async with a_desk(frozen_at=month.starts_at + timedelta(days=2)) as desk:
        await desk.http.post(
            "/v1/payment_intents",
            data={"amount": "700", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true"},
        )
        asked = {"CREDITWELL_STRIPE_KEY": STRIPE_KEY, "CREDITWELL_STRIPE_API": desk.url}

        result = await close(closed, tmp_path / "made", "--unsigned", **asked)

    checks = {one["name"]: one for one in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1, result.output
    assert (checks["verify"]["ties"], checks["revenue"]["ties"], checks["statements"]["ties"]) == (True, True, True)
    assert not checks["stripe"]["ties"]
    assert any(problem.startswith("orphan_intent") for problem in checks["reconcile"]["problems"])
    kept = (tmp_path / "made/stripe/balance_transactions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["gross_cents"] for line in kept] == [700]
    assert of_the_log(tmp_path / "made") == of_the_log(closed.folder)
    assert "does not tie" in (tmp_path / "made/index.html").read_text("utf-8")


async def test_a_month_that_is_not_over_or_a_folder_in_use_is_not_closed(closed: ClosedMonth, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")

    in_use = await close(closed, tmp_path, "--without-stripe", "--unsigned")
    open_month = await asyncio.to_thread(
        CliRunner().invoke, app, ["close", "8999-01", "--out", str(tmp_path / "new")], env=environment(closed.url)
    )

    assert (in_use.exit_code, "is not empty" in in_use.stderr) == (1, True)
    assert open_month.exit_code == 2
    assert not (tmp_path / "new").exists()
