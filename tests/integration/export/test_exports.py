"""What leaves the database is what is in it: in one order, to the micro-credit, and again after a kill."""

import csv
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.stack import Stack
from schemas.credits import format_credits
from schemas.facts import UsageRecorded
from schemas.instants import instant
from services.audit.sign_log import sign_log
from services.export.exporting import export
from services.export.files import FileFormat, read_rows
from services.export.manifest import ExportRequest, Manifest
from services.export.tables import BALANCE_COLUMNS, EVENT_COLUMNS
from services.read_models.history import balance_as_of
from services.runtime.errors import Refused, Unavailable
from services.store.connect import Connection
from services.store.read import heads
from services.store.shards import shard_of
from tests.conftest import a_database
from tests.support.facts import new, now, store
from tests.support.honest import Honest, project
from tests.support.serving import connected

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TEAMS = [f"team_{n}" for n in range(6)]
EVENTS = (
    "SELECT shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf FROM facts ORDER BY 1, 2"
)

CHARGED = """
    SELECT sum((convert_from(body, 'UTF8')::json ->> 'charge_cents')::bigint)::bigint FROM facts
    WHERE type IN ('credits.purchased.v1', 'credits.topped_up.v1')
"""


@pytest.fixture(scope="module")
async def log(stack: Stack, template: str) -> AsyncIterator[Connection]:
    """A random honest history of six teams, folded and signed, for all tests here."""
    async with a_database(stack, template) as database, connected(database) as connection:
        honest = Honest(connection, Random(15), TEAMS)
        await honest.begin()
        await honest.go_on(120)
        await sign_log(connection, KEY, now())
        yield connection


def files_of(folder: Path, manifest: Manifest) -> Iterator[Path]:
    return (folder / file.path for file in sorted(manifest.files, key=lambda file: file.path[-12:]))


async def test_facts_come_out_as_they_are_stored(log: Connection, tmp_path: Path) -> None:
    stored = [tuple(row) for row in await log.fetch(EVENTS)]
    for file_format in (FileFormat.PARQUET, FileFormat.JSONL):
        folder = tmp_path / file_format

        manifest, there_before = await export(log, ExportRequest("events", file_format), folder)

        files = [folder / file.path for file in manifest.files if file.path.startswith("events/")]
        rows = [tuple(row) for file in files for page in read_rows(file, EVENT_COLUMNS) for row in page]
        assert rows == stored
        assert (manifest.rows, there_before) == (len(stored), False)
        assert {span.shard: span.last for span in manifest.shards} == await heads(log)
        assert all(file.is_file() for file in files)
        month = f"events/recorded={stored[0][2]:%Y-%m}/shard-{stored[0][0]:02d}.{file_format}"
        assert manifest.files[0].path.startswith("blocks/")
        assert month in [file.path for file in manifest.files]


async def test_entries_come_out_once_in_the_order_of_the_log_with_their_sums(log: Connection, tmp_path: Path) -> None:
    live = await log.fetch(
        "SELECT shard, position, part, included + additional AS credits FROM activity ORDER BY 1, 2, 3"
    )
    charged = await log.fetchval(CHARGED)

    manifest, _ = await export(log, ExportRequest("entries", FileFormat.CSV), tmp_path / "csv")
    again, _ = await export(log, ExportRequest("entries", FileFormat.CSV), tmp_path / "again")

    rows = [row for file in files_of(tmp_path / "csv", manifest) for row in csv.DictReader(file.open(newline=""))]
    assert [(int(row["shard"]), int(row["position"]), int(row["part"])) for row in rows] == [
        tuple(row)[:3] for row in live
    ]
    assert manifest.credits == format_credits(sum(row["credits"] for row in live))
    assert sum(Decimal(row["credits"]) for row in rows) == Decimal(manifest.credits)
    assert manifest.money == {"usd": charged}
    assert {row["tier"] for row in rows} == {"", "low", "standard"}
    assert manifest.files == again.files, "the same log gives the same bytes"


async def test_a_member_called_like_a_formula_stays_text(connection: Connection, tmp_path: Path) -> None:
    fact = UsageRecorded(feature="ai_image.generate", quantity="1", credits=5, rate_card=1, member_id="=1+1")
    await store(connection, new("team_x", "=id", fact))
    await project(connection)

    manifest, _ = await export(connection, ExportRequest("entries", FileFormat.CSV), tmp_path / "csv")

    (row,) = csv.DictReader(next(files_of(tmp_path / "csv", manifest)).open(newline=""))
    assert (row["member_id"], row["fact_id"], row["credits"]) == ("'=1+1", "'=id", "-0.000005")


async def test_parquet_is_read_alike_by_others(log: Connection, tmp_path: Path) -> None:
    manifest, _ = await export(log, ExportRequest("entries", FileFormat.PARQUET), tmp_path / "entries")
    files = [str(file) for file in files_of(tmp_path / "entries", manifest)]

    types = {field.name: str(field.type) for field in pq.read_schema(files[0])}
    with duckdb.connect() as reader:
        sums = f"""
            SELECT sum(credits), count(*), sum(charge_cents), count(attributes['tier'])
            FROM read_parquet('{tmp_path}/entries/entries/*/*.parquet', hive_partitioning = true)
        """
        by_duckdb = reader.execute(sums).fetchone()
        described = reader.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet({files}))")
        as_duckdb = dict(described.fetchall())

    assert (types["credits"], types["recorded_at"], types["id"]) == (
        "decimal128(24, 6)",
        "timestamp[us, tz=UTC]",
        "string",
    )
    assert types["attributes"].startswith("map<string, string")
    assert (as_duckdb["credits"], as_duckdb["recorded_at"]) == ("DECIMAL(24,6)", "TIMESTAMP WITH TIME ZONE")
    assert as_duckdb["attributes"] == "MAP(VARCHAR, VARCHAR)"
    tables = [pq.read_table(file) for file in files]
    assert sum(row or 0 for table in tables for row in table["credits"].to_pylist()) == Decimal(manifest.credits or "")
    assert by_duckdb is not None
    assert by_duckdb[:3] == (Decimal(manifest.credits or ""), manifest.rows, (manifest.money or {})["usd"])
    assert by_duckdb[3] > 0


async def test_the_balances_of_a_moment_are_those_of_each_team(log: Connection, tmp_path: Path) -> None:
    first, last = [await log.fetchval(f"SELECT {of}(recorded_at) FROM facts") for of in ("min", "max")]
    moment = first + (last - first) / 2
    for number, (at, known_at) in enumerate(((moment, None), (None, None), (moment, moment), (first, None))):
        folder = tmp_path / str(number)
        request = ExportRequest(
            "balances", FileFormat.JSONL, at=at and instant(at), known_at=known_at and instant(known_at)
        )

        manifest, _ = await export(log, request, folder)

        files = files_of(folder, manifest)
        rows = {row[1]: row for file in files for page in read_rows(file, BALANCE_COLUMNS) for row in page}
        as_of, known_as_of = (
            datetime.fromisoformat(text or "") for text in (manifest.request.at, manifest.request.known_at)
        )
        exact = {team: await balance_as_of(log, team, at=as_of, known_at=known_as_of) for team in TEAMS}
        assert rows.keys() == {team for team, balance in exact.items() if balance is not None}
        assert len(rows) == len(TEAMS) or at == first
        for balance in filter(None, exact.values()):
            team = balance.team
            assert rows[team.team_id][4:] == [
                team.plan,
                team.total,
                team.included,
                team.additional,
                team.held(as_of),
                balance.available,
                team.debt,
            ]


async def test_an_export_that_was_killed_goes_on_where_it_was(log: Connection, tmp_path: Path) -> None:
    request, whole = ExportRequest("events", FileFormat.JSONL), tmp_path / "whole"
    expected, _ = await export(log, request, whole)
    read: list[int] = []

    def dies(count: int) -> None:
        read.append(count)
        if len(read) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await export(log, request, tmp_path / "killed", dies)
    done = {file: file.stat().st_mtime_ns for file in (tmp_path / "killed" / "events").rglob("*.jsonl")}
    await store(log, new(TEAMS[0], "later", UsageRecorded(feature="x", quantity="1", credits=5, rate_card=1)))

    manifest, _ = await export(log, request, tmp_path / "killed")

    assert manifest.files == expected.files, "what came later is not in it"
    assert len(done) == 2
    assert all(file.stat().st_mtime_ns == at for file, at in done.items())
    assert not [
        file for file in (tmp_path / "killed").rglob("*") if file.suffix == ".part" or "unfinished" in file.name
    ]
    assert (await export(log, request, tmp_path / "killed"))[1], "it is there already"
    with pytest.raises(Refused, match="asked for otherwise"):
        await export(log, ExportRequest("events", FileFormat.PARQUET), tmp_path / "killed")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(Refused, match="not empty"):
        await export(log, request, tmp_path / "mine")


async def test_bounds_are_times_or_places(log: Connection, tmp_path: Path) -> None:
    shard = shard_of(TEAMS[0])
    times = [
        row["recorded_at"]
        for row in await log.fetch("SELECT recorded_at FROM facts WHERE shard = $1 ORDER BY position", shard)
    ]
    middle = times[len(times) // 2]

    async def exported(
        name: str, since: str | None = None, until: str | None = None, team: str | None = None
    ) -> list[tuple[int, int]]:
        manifest, _ = await export(log, ExportRequest("events", FileFormat.JSONL, since, until, team), tmp_path / name)
        files = [tmp_path / name / file.path for file in manifest.files if file.path.startswith("events/")]
        return [(row[0], row[1]) for file in files for page in read_rows(file, EVENT_COLUMNS) for row in page]  # type: ignore[misc]

    before, after = await exported("before", until=instant(middle)), await exported("after", since=instant(middle))
    everything = [tuple(row) for row in await log.fetch("SELECT shard, position FROM facts ORDER BY 1, 2")]
    assert sorted(before + after) == everything
    assert len([place for place in before if place[0] == shard]) == sum(at < middle for at in times)
    assert await exported("places", since=f"{shard}:2", until=f"{shard}:5") == [(shard, n) for n in (2, 3, 4)]
    own = [
        tuple(row)
        for row in await log.fetch("SELECT shard, position FROM facts WHERE team_id = $1 ORDER BY 1, 2", TEAMS[0])
    ]
    assert await exported("team", team=TEAMS[0]) == own
    with pytest.raises(Refused, match="different shards"):
        await exported("wrong", since="1:2", until="2:5")


async def test_entries_go_no_further_than_the_projections(log: Connection, tmp_path: Path) -> None:
    rows = (await export(log, ExportRequest("entries", FileFormat.JSONL), tmp_path / "before"))[0].rows
    fact = UsageRecorded(feature="ai_image.generate", quantity="1", credits=5, rate_card=1)
    await store(log, new(TEAMS[0], "unfolded", fact))

    manifest, _ = await export(log, ExportRequest("entries", FileFormat.JSONL), tmp_path / "after")

    assert manifest.rows == rows
    with pytest.raises(Unavailable):
        await export(
            log,
            ExportRequest("entries", FileFormat.JSONL, until=instant(now() + timedelta(days=1))),
            tmp_path / "until",
        )
