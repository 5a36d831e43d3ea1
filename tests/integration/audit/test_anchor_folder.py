"""A folder of anchors whose mount is lost is said and not made anew, and the log is signed all the same (invariant 5)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from services.audit import signer
from services.audit.anchors import OF_LOG, anchors_in, begin_folder, parse_anchor, read_anchor
from services.audit.checkpoints import new_key_pair
from services.audit.sign_log import LOG
from services.runtime.health import Health
from services.runtime.settings import Settings
from services.runtime.settings_loading import load_settings
from services.store.connect import Connection
from tests.integration.audit.test_signer import publish, use
from tests.support.waiting import until

SECRET, _ = new_key_pair()
METRIC = "creditwell_anchor_timestamp_seconds"


def settings_with(database: str, folder: Path) -> Settings:
    return load_settings(
        database=f"{database}?role=creditwell_signer", signing_key=SECRET, anchors=folder, sign_every_seconds=1,
        anchor_every_seconds=1,
    )  # fmt: skip


@asynccontextmanager
async def signing(settings: Settings) -> AsyncIterator[Health]:
    """The process, while it signs."""
    stop, health = asyncio.Event(), Health("signer")
    running = asyncio.create_task(signer.serve(settings, stop, health))
    try:
        yield health
        assert not running.done()
    finally:
        stop.set()
        await running


async def signed(connection: Connection, number: int) -> None:
    """Something happens, and is signed."""
    before = await connection.fetchval("SELECT max(last) FROM signed_shards") or 0
    await use(connection, number)
    await publish(connection)

    async def grown() -> bool:
        return (await connection.fetchval("SELECT max(last) FROM signed_shards") or 0) > before

    await until(grown, what=f"use {number} is signed")


async def is_away(health: Health, *why: str) -> None:
    async def said() -> bool:
        return all(word in health.absent.get("anchors", "") for word in ("", *why)) and "anchors" in health.absent

    await until(said, what=f"anchors are away: {why}")


async def is_back(health: Health, folder: Path, anchors: int) -> None:
    async def anchored() -> bool:
        return "anchors" not in health.absent and len(anchors_in(folder)) >= anchors

    await until(anchored, what=f"{anchors} anchors lie in {folder}")


async def test_a_mount_that_is_lost_is_said_and_counted_and_signing_goes_on(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    mounted, elsewhere = tmp_path / "anchors", tmp_path / "elsewhere"
    mounted.mkdir()
    async with signing(settings_with(database, mounted)) as health:
        await signed(connection, 1)
        await is_back(health, mounted, 1)

        mounted.rename(elsewhere)
        await is_away(health, "No such file or directory")
        await signed(connection, 2)
        assert not mounted.exists()
        mounted.mkdir()
        await is_away(health, "its mount is lost")
        await signed(connection, 3)
        labels = {"what": "anchors", "error": "NotTheFolder"}
        assert health.registry.get_sample_value("creditwell_away_total", labels)
        assert list(mounted.iterdir()) == []

        mounted.rmdir()
        elsewhere.rename(mounted)
        await is_back(health, mounted, 2)
    assert parse_anchor(read_anchor(anchors_in(mounted)[-1])).vector.facts == 3


async def test_a_signer_that_starts_without_its_mount_begins_no_folder_until_it_is_told_to(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    first, empty = tmp_path / "first", tmp_path / "empty"
    first.mkdir()
    empty.mkdir()
    async with signing(settings_with(database, first)) as health:
        await signed(connection, 1)
        await is_back(health, first, 1)

    async with signing(settings_with(database, empty)) as health:
        begin_folder(empty, "another-log")
        await is_away(health, f"{empty}/{OF_LOG}")
        await signed(connection, 2)
        assert anchors_in(empty) == []

        begin_folder(empty, await connection.fetchval(LOG))
        await is_back(health, empty, 1)


async def test_a_folder_whose_anchors_were_written_before_it_had_a_name_is_known_by_them(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    async with signing(settings_with(database, tmp_path)) as health:
        await signed(connection, 1)
        await is_back(health, tmp_path, 1)
    (tmp_path / f"{OF_LOG}{await connection.fetchval(LOG)}").unlink()

    async with signing(settings_with(database, tmp_path)) as health:
        await signed(connection, 2)
        await is_back(health, tmp_path, 2)


async def test_a_note_of_a_signer_that_died_before_its_first_anchor_is_anchored(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    async with signing(settings_with(database, tmp_path)) as health:
        await is_back(health, tmp_path, 0)  # nothing is signed yet, and the folder has its name

        async def named() -> bool:
            return any(tmp_path.iterdir())

        await until(named)
    async with signing(settings_with(database, tmp_path / "gone")):
        await signed(connection, 1)

    async with signing(settings_with(database, tmp_path)) as health:
        await is_back(health, tmp_path, 1)


async def test_before_the_first_anchor_its_age_counts_from_the_beginning_of_the_process(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    began = datetime.now(UTC).timestamp()
    async with signing(settings_with(database, tmp_path / "gone")) as health:
        await is_away(health)
        value = health.registry.get_sample_value(METRIC)
        assert value is not None
        assert began <= value <= datetime.now(UTC).timestamp()
        await signed(connection, 1)
        assert health.registry.get_sample_value(METRIC) == value
