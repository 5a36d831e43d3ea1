"""Archives of closed months stand for the log: alone, or with what the database has after them."""

import multiprocessing
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.stack import Stack
from schemas.places import Place
from services.audit.replay import ReplayScope, replay
from services.audit.verify import verify
from services.cli.log import scope_of
from services.export.archive import archive, bounds_of, months_missing
from services.export.checking import check_exports, check_shard
from services.export.exporting import export
from services.export.files import FileFormat
from services.export.folders import ExportFolder, exports_in
from services.export.manifest import ExportRequest
from services.export.replaying import Archives, fold_archives, fold_files, fold_of_shard
from services.runtime.errors import Refused
from services.runtime.long_work.cores import WORTH_IT, on_every_core
from services.store.connect import Connection
from services.store.read import heads
from services.store.shards import SHARDS, shard_of
from tests.conftest import a_database
from tests.support.honest import project
from tests.support.months import TEAMS, lay_months, month_of, told
from tests.support.serving import connected

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = [KEY.public_key()]
FACTS = 100
SHARD = shard_of(TEAMS[0])
BALANCES = "SELECT team_id, position, as_of, included, additional, debt FROM balance ORDER BY team_id"
TOTALS = """
    SELECT kind, count(*) AS entries, sum(included + additional)::bigint AS credits FROM activity GROUP BY kind
"""


@pytest.fixture(scope="module")
async def log(stack: Stack, template: str) -> AsyncIterator[Connection]:
    """Three teams over some months of 2025, folded."""
    async with a_database(stack, template) as database, connected(database) as connection:
        await lay_months(connection, told(FACTS, seed=4), KEY)
        await project(connection)
        yield connection


@pytest.fixture(scope="module")
async def months(log: Connection) -> list[str]:
    """Those in which something was recorded."""
    rows = await log.fetch(
        "SELECT DISTINCT to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM facts ORDER BY 1"
    )
    return [row["month"] for row in rows]


@pytest.fixture(scope="module")
async def archives(log: Connection, months: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All months."""
    root = tmp_path_factory.mktemp("archives")
    for month in months:
        await archive(log, month, root)
    return root


def said(folders: list[Path]) -> list[str]:
    return [f"{problem.place}: {problem.what}" for problem in check_exports(folders, KEYS).verified.problems]


async def test_archives_of_all_months_are_verified_and_folded_without_the_database(
    log: Connection, archives: Path, months: list[str]
) -> None:
    folders = exports_in(archives)
    checked = check_exports(folders, KEYS).verified

    assert len(months) >= 4
    assert checked.problems == []
    assert (checked.facts, checked.signed) == (sum((await heads(log)).values()),) * 2
    folded = fold_archives(Archives.read(folders))
    live = {row["kind"]: (row["entries"], row["credits"]) for row in await log.fetch(TOTALS)}
    assert folded.problems == []
    assert {kind: (folded.entries[kind], folded.credits[kind]) for kind in folded.entries} == live
    assert folded.balances == await log.fetchval("SELECT sum(included + additional)::bigint FROM balance")


async def test_archives_and_the_rest_of_the_database_say_what_the_database_says(
    log: Connection, archives: Path, months: list[str]
) -> None:
    folders = [archives / month for month in months[:3]]
    checked = check_exports(folders, KEYS)

    rest = await verify(log, keys=KEYS, after=checked.ends)
    replayed = await replay(log, replace(ReplayScope(), archived=Archives.read(folders).facts))
    of_database = await replay(log)

    assert checked.verified.problems == []
    assert [problem for problem in rest.problems if ":" in problem.place] == []
    both = checked.verified.and_rest(rest)
    size = sum((await heads(log)).values())
    assert both.facts == size
    assert rest.facts < size
    assert (replayed.facts, replayed.totals) == (size, of_database.totals)
    assert replayed.differences == of_database.differences, "tables beside the log were not laid"
    assert not {"activity", "balance", "lots", "usage"} & {difference.table for difference in replayed.differences}


async def test_what_all_cores_find_of_the_shards_is_what_one_finds(archives: Path) -> None:
    folders = exports_in(archives)
    whole, last = Archives.read(folders), ExportFolder.read(folders[-1])
    spans, shards = last.manifest.shards, range(0, SHARDS, 8)
    for work, items in ((partial(check_shard, last, None), spans), (partial(fold_of_shard, whole), shards)):
        with on_every_core(work, items, WORTH_IT) as found:
            assert list(found) == list(map(work, items))


async def test_a_process_pool_folds_the_files_to_the_live_balances(log: Connection, archives: Path) -> None:
    shards: dict[str, list[str]] = {}
    for file in sorted(archives.glob("*/events/*/*.parquet"), key=lambda file: file.parent.name):
        shards.setdefault(file.name, []).append(str(file))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        folded = list(pool.map(fold_files, shards.values()))

    rows = [row[1:] for columns in folded for row in zip(*columns.values(), strict=True)]
    assert sorted(rows) == [tuple(row) for row in await log.fetch(BALANCES)]


async def test_an_archive_is_made_once_and_only_of_a_month_that_is_over_and_signed(
    log: Connection, archives: Path, months: list[str], tmp_path: Path
) -> None:
    _, folder, there_before = await archive(log, months[0], archives)
    assert (folder, there_before) == (archives / months[0], True)
    now = await log.fetchval("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM')")
    with pytest.raises(Refused, match="is closed an hour after its end"):
        await archive(log, now, tmp_path)
    with pytest.raises(Refused, match="is no month"):
        await archive(log, "2025-13", tmp_path)
    with pytest.raises(Refused, match="no checkpoint that was signed after"):
        await archive(log, month_of(bounds_of(months[-1])[1]), tmp_path)
    await archive(log, months[0], tmp_path)
    await archive(log, months[3], tmp_path)
    assert months_missing(tmp_path, months[3]) != []


async def test_a_missing_month_a_swapped_file_and_another_past_are_named(
    log: Connection, archives: Path, months: list[str], tmp_path: Path
) -> None:
    three = [Path(shutil.copytree(archives / month, tmp_path / month)) for month in months[:3]]
    assert said([three[0], three[2]]) == [f"{months[1]}: there is no archive of this month"]
    with pytest.raises(Refused, match=f"{months[1]}: there is no archive"):
        Archives.read([three[0], three[2]])
    with pytest.raises(Refused, match="begin with the first fact"):
        Archives.read(three[1:])

    (one, *_), (other, *_) = (sorted(folder.glob("events/*/*.parquet")) for folder in three[1:])
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    problems = said(three)
    for file in (one, other):
        assert f"{file}: it is not what was written: its SHA-256 is another one" in problems


async def test_a_part_that_does_not_follow_is_named_by_its_place(
    log: Connection, months: list[str], tmp_path: Path
) -> None:
    first = (await archive(log, months[0], tmp_path))[1]
    since = f"{months[2]}-01T00:00:00.000000Z"
    await export(log, ExportRequest("events", FileFormat.JSONL, since=since), tmp_path / "rest")

    gaps = [problem for problem in said([first, tmp_path / "rest"]) if "in none of the folders" in problem]

    begin, end = bounds_of(months[1])
    between = "SELECT DISTINCT shard FROM facts WHERE recorded_at >= $1 AND recorded_at < $2 ORDER BY 1"
    shards = [row["shard"] for row in await log.fetch(between, begin, end)]
    assert shards
    assert [problem.partition(":")[0] for problem in gaps] == [str(shard) for shard in shards]


async def test_a_place_bounds_a_replay_as_the_moment_at_which_it_was_recorded(log: Connection) -> None:
    rows = await log.fetch("SELECT recorded_at FROM facts WHERE shard = $1 ORDER BY position", SHARD)

    scope = await scope_of(log, (Place(SHARD, 20), Place(SHARD, 40)), None, None, audit=False)
    replayed = await replay(log, scope)

    assert (scope.since, scope.until, scope.shard) == (rows[19]["recorded_at"], rows[39]["recorded_at"], SHARD)
    assert replayed.facts == sum(row["recorded_at"] < scope.until for row in rows)
    assert replayed.teams == 1
    assert replayed.differences == []
    for bounds in ((Place(SHARD, 20), Place(SHARD + 1, 40)), (Place(SHARD, FACTS * 9), None)):
        with pytest.raises(Refused):
            await scope_of(log, bounds, None, None, audit=False)
