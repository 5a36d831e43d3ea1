"""An export is checked without the database: whatever is done to it, the file or the place is named."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.stack import Stack
from schemas.instants import instant
from services.audit.checkpoints import base64_of
from services.audit.sign_log import sign_log
from services.export.checking import check_exports, packed_row
from services.export.exporting import export
from services.export.files import FileDigest, FileFormat, TableFile, read_rows
from services.export.manifest import ExportRequest, read_manifest, save
from services.export.tables import BLOCK_COLUMNS, EVENT_COLUMNS
from services.store.connect import Connection
from services.store.proofs import GENESIS, block_hash, leaf_of, merkle_root
from services.store.shards import shard_of
from tests.conftest import a_database
from tests.support.facts import now, planned, store, usage
from tests.support.serving import connected

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = [KEY.public_key()]
TEAM = "team_a"
SHARD = shard_of(TEAM)


@pytest.fixture(scope="module")
async def log(stack: Stack, template: str) -> AsyncIterator[Connection]:
    """Two teams; one note after some of it, and more after that."""
    async with a_database(stack, template) as database, connected(database) as connection:
        for team in (TEAM, "team_b"):
            await store(connection, *planned(team))
        for number in range(4):
            await store(connection, *(usage(TEAM, f"use-{number}-{n}") for n in range(number + 1)))
        await sign_log(connection, KEY, now())
        await store(connection, usage("team_b", "later"))
        yield connection


@pytest.fixture(scope="module")
async def exported(log: Connection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "events"
    await export(log, ExportRequest("events", FileFormat.JSONL), folder)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def said(folder: Path, **more: Any) -> list[str]:
    return [f"{problem.place}: {problem.what}" for problem in check_exports([folder], KEYS, **more).verified.problems]


async def test_an_honest_export_has_no_problem_in_any_format(log: Connection, exported: Path, tmp_path: Path) -> None:
    await export(log, ExportRequest("events", FileFormat.PARQUET), tmp_path / "parquet")
    size = await log.fetchval("SELECT count(*) FROM facts")
    for folder in (exported, tmp_path / "parquet"):
        checked = check_exports([folder], KEYS)

        assert checked.verified.problems == []
        assert (checked.verified.facts, checked.verified.signed) == (size, size - 1)
        assert checked.verified.basis.startswith("signed by creditwell/")


async def test_parts_without_a_chain_are_checked_leaf_by_leaf(log: Connection, tmp_path: Path) -> None:
    await export(log, ExportRequest("events", FileFormat.JSONL, team=TEAM), tmp_path / "team")
    await export(
        log, ExportRequest("events", FileFormat.JSONL, since=f"{SHARD}:5", until=f"{SHARD}:8"), tmp_path / "part"
    )
    change(tmp_path / "part", lambda rows: [(*rows[0][:6], "another", *rows[0][7:]), *rows[1:]])

    assert said(tmp_path / "team") == []
    assert [problem[:4] for problem in said(tmp_path / "part")] == [f"{SHARD}:5"[:4]]


def facts_file(folder: Path) -> FileDigest:
    (file,) = (
        f for f in read_manifest(folder).files if f.path.startswith("events/") and f"shard-{SHARD:02d}" in f.path
    )
    return file


def change(folder: Path, how: Callable[[list[Any]], list[Any]], *, columns: Any = EVENT_COLUMNS) -> list[Any]:
    """Rewrite a file of a shard, and the manifest with it, as somebody does who knows how."""
    kind = "events/" if columns is EVENT_COLUMNS else "blocks/"
    manifest = read_manifest(folder)
    (old,) = (file for file in manifest.files if file.path.startswith(kind) and f"shard-{SHARD:02d}" in file.path)
    rows = how([tuple(row) for page in read_rows(folder / old.path, columns) for row in page])
    file = TableFile(folder, old.path, columns, manifest.request.file_format)
    file.write(rows)
    new = file.finish()
    manifest.files[manifest.files.index(old)] = new
    manifest.rows += new.rows - old.rows if kind == "events/" else 0
    save(folder, manifest)
    return rows


def test_a_flipped_bit_a_missing_a_swapped_and_a_strange_file_are_named(copy: Path) -> None:
    name = facts_file(copy).path
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    assert any(problem.startswith(f"{copy}/{name}: it is not what was written") for problem in said(copy))

    blocks = sorted((copy / "blocks").iterdir())
    one, other = blocks[0].read_bytes(), blocks[1].read_bytes()
    blocks[0].write_bytes(other)
    blocks[1].write_bytes(one)
    (copy / "letter.txt").write_text("hello")
    (copy / name).unlink()
    problems = said(copy)
    assert f"{copy}/{name}: it is missing" in problems
    assert f"{copy}/letter.txt: the manifest does not name this file" in problems
    assert len([problem for problem in problems if "blocks/" in problem and "SHA-256" in problem]) == 2


def test_a_changed_a_missing_and_a_swapped_fact_are_placed_though_the_manifest_was_mended(copy: Path) -> None:
    change(
        copy,
        lambda rows: [
            *rows[:5],
            (*rows[5][:8], rows[5][8].replace(b'"quantity":"1"', b'"quantity":"2"'), rows[5][9]),
            *rows[6:],
        ],
    )
    assert said(copy) == [f"{SHARD}:6: the amount, the time or the text of this fact was changed after it was recorded"]

    change(copy, lambda rows: [*rows[:3], *rows[4:]])
    assert f"{SHARD}:4: taken out of the log" in said(copy)


def test_a_forger_who_works_out_every_proof_anew_is_betrayed_by_the_note(copy: Path) -> None:
    rows = change(copy, lambda rows: [forged(row) if row[1] == 6 else row for row in rows])
    leaves = [row[9] for row in rows]
    hashes: list[bytes] = []

    def chained(blocks: list[Any]) -> list[Any]:
        before, made = GENESIS, []
        for shard, first, last, _, _ in blocks:
            root = merkle_root(leaves[first - 1 : last])
            before = block_hash(shard, first, last, before, root)
            hashes.append(before)
            made.append((shard, first, last, root, before))
        return made

    change(copy, chained, columns=BLOCK_COLUMNS)
    manifest = read_manifest(copy)
    spans = [
        msgspec.structs.replace(span, head=base64_of(hashes[-1])) if span.shard == SHARD else span
        for span in manifest.shards
    ]
    save(copy, msgspec.structs.replace(manifest, shards=spans))

    (problem,) = said(copy)
    assert problem.startswith(f"{SHARD}:1 to {SHARD}:{len(leaves)}: something here was rewritten after it was signed")
    save(copy, msgspec.structs.replace(read_manifest(copy), note=None))
    assert said(copy) == [f"{copy}: there are facts and no signed checkpoint"]
    assert said(copy, unsigned=True) == []


def forged(row: Any) -> Any:
    changed = (*row[:8], row[8].replace(b'"quantity":"1"', b'"quantity":"2"'), b"")
    return (*changed[:9], leaf_of(packed_row(changed)))


def test_what_is_no_manifest_is_named_and_never_a_traceback(copy: Path) -> None:
    for text in (b"", b"\xff", b"{}", b"[" * 100_000, b'{"format": 1}'):
        (copy / "manifest.json").write_bytes(text)
        (problem,) = said(copy)
        assert problem.startswith(f"{copy}: its manifest: ")


def test_a_file_outside_the_folder_is_not_opened(copy: Path) -> None:
    manifest = read_manifest(copy)
    manifest.files.append(FileDigest("../outside", 0, 1, "00"))
    save(copy, manifest)

    assert said(copy) == [f"{copy}: its manifest: it names a file outside the folder, ../outside"]


async def test_a_part_is_covered_by_a_later_note_through_the_blocks_between(log: Connection, tmp_path: Path) -> None:
    recorded = await log.fetchval("SELECT recorded_at FROM facts WHERE shard = $1 AND position = 6", SHARD)
    part = tmp_path / "part"
    manifest, _ = await export(log, ExportRequest("events", FileFormat.JSONL, until=instant(recorded)), part)

    verified = check_exports([part], KEYS).verified

    assert verified.problems == []
    assert 0 < verified.facts == verified.signed == manifest.rows
    change(part, lambda blocks: blocks[:-1], columns=BLOCK_COLUMNS)
    (problem,) = said(part)
    assert "facts of this shard, the log has" in problem


def test_a_manifest_that_leaves_out_what_was_asked_for_is_no_way_to_hide_it(copy: Path) -> None:
    manifest = read_manifest(copy)
    kept = [span for span in manifest.shards if span.shard != SHARD]
    (span,) = (span for span in manifest.shards if span.shard == SHARD)
    for shards, place in (
        (kept, f"{copy}, shard {SHARD}"),
        ([*kept, msgspec.structs.replace(span, first=3)], f"{SHARD}:1 to {SHARD}:2"),
        ([*kept, msgspec.structs.replace(span, last=span.last - 1)], f"{SHARD}:{span.last}"),
    ):
        save(copy, msgspec.structs.replace(manifest, shards=shards))
        assert [problem for problem in said(copy) if problem.startswith(f"{place}: ")], place
