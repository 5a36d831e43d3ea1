"""The signer says what the log was, and refuses to say anything of a log that lost its past (invariant 5)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.facts import NewFact, UsageRecorded
from services.audit import signer
from services.audit.anchors import anchors_in, read_anchor
from services.audit.checkpoints import ShardHead, new_key_pair, note_hash, parse, parse_public_key, signature_fits
from services.audit.sign_log import sign_log
from services.audit.verify import verify
from services.runtime.errors import LogChanged
from services.runtime.health import Health
from services.runtime.settings import Settings, WrongSettings
from services.runtime.settings_loading import load_settings
from services.store.append import append
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.support.heads import heads_unguarded
from tests.support.waiting import until

TEAM = "team_a"
SHARD = shard_of(TEAM)
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def use(connection: Connection, number: int, team: str = TEAM) -> None:
    fact = UsageRecorded(feature="ai_video.generate", quantity="1", credits=1_000_000, rate_card=1)
    async with connection.transaction():
        await append(connection, [NewFact(team, "/features/video", f"use-{number}", NOW, fact)])


async def truncate(connection: Connection, *, to: int) -> None:
    """Take the newest facts away, with their proofs, as a superuser who knows how."""
    async with connection.transaction():
        for table, column in (("facts", "position"), ("blocks", "last")):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            await connection.execute(f"DELETE FROM {table} WHERE shard = $1 AND {column} > $2", SHARD, to)
            await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")
        async with heads_unguarded(connection):
            await connection.execute(
                "UPDATE shard_heads SET next = $2 + 1, head = (SELECT hash FROM blocks WHERE shard = $1 AND last = $2) "
                "WHERE shard = $1",
                SHARD,
                to,
            )


async def forget_notes(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("ALTER TABLE signed_checkpoints DISABLE TRIGGER ALL")
        await connection.execute("DELETE FROM signed_checkpoints")
        await connection.execute("ALTER TABLE signed_checkpoints ENABLE ALWAYS TRIGGER signed_checkpoints_append_only")


async def test_a_note_holds_the_end_of_every_shard_and_names_the_note_before(connection: Connection) -> None:
    await use(connection, 1)
    await use(connection, 1, "team_b")
    first = await sign_log(connection, KEY, NOW)
    await use(connection, 2)
    second = await sign_log(connection, KEY, NOW)

    assert first is not None
    assert second is not None
    assert (first.number, first.checkpoint.size, first.checkpoint.previous) == (1, 2, bytes(32))
    assert (second.number, second.checkpoint.size, second.checkpoint.previous) == (2, 3, note_hash(first.note))
    heads = await connection.fetch("SELECT shard, next - 1, head FROM shard_heads WHERE next > 1")
    assert parse(second.note).heads == {shard: ShardHead(last, head) for shard, last, head in heads}
    assert signature_fits(second.note, [KEY.public_key()])


async def test_nothing_is_signed_twice(connection: Connection) -> None:
    assert await sign_log(connection, KEY, NOW) is None
    await use(connection, 1)
    assert await sign_log(connection, KEY, NOW) is not None
    assert await sign_log(connection, KEY, NOW) is None


async def test_a_log_shorter_than_the_one_that_was_signed_is_not_signed(connection: Connection) -> None:
    for number in range(3):
        await use(connection, number)
    await sign_log(connection, KEY, NOW)
    await truncate(connection, to=1)
    await use(connection, 9, "team_b")

    with pytest.raises(LogChanged, match=f"shard {SHARD} ends at 1, but 3 facts of it were signed"):
        await sign_log(connection, KEY, NOW)


async def test_a_log_cut_off_and_grown_again_is_not_signed(connection: Connection) -> None:
    for number in range(3):
        await use(connection, number)
    await sign_log(connection, KEY, NOW)
    await truncate(connection, to=1)
    for number in range(5, 9):
        await use(connection, number)

    with pytest.raises(LogChanged, match="its past was rewritten"):
        await sign_log(connection, KEY, NOW)


async def test_a_log_whose_newest_blocks_do_not_follow_from_what_was_signed_is_not_signed(
    connection: Connection,
) -> None:
    for number in range(3):
        await use(connection, number)
    async with connection.transaction():
        await connection.execute("ALTER TABLE blocks DISABLE TRIGGER ALL")
        await connection.execute("UPDATE blocks SET root = sha256('x') WHERE shard = $1 AND last = 2", SHARD)
        await connection.execute("ALTER TABLE blocks ENABLE ALWAYS TRIGGER blocks_append_only")

    with pytest.raises(LogChanged, match=f"the chain of shard {SHARD} breaks between 1 and 2"):
        await sign_log(connection, KEY, NOW)


async def test_the_signer_writes_anchors_and_an_old_backup_can_not_deceive_it(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    secret, public = new_key_pair()
    settings = load_settings(
        database=f"{database}?role=creditwell_signer", signing_key=secret, anchors=tmp_path, sign_every_seconds=1
    )
    for number in range(3):
        await use(connection, number)
    await run_until_anchored(settings, tmp_path, 1)
    assert [parse(read_anchor(path)).size for path in anchors_in(tmp_path)] == [3]
    verified = await verify(connection, anchors=tmp_path, keys=[parse_public_key(public)])
    assert (verified.problems, verified.checkpoints, verified.anchors) == ([], 1, 1)

    await truncate(connection, to=1)
    await forget_notes(connection)
    await use(connection, 9)
    with pytest.raises(LogChanged, match="facts were taken away, or an old backup was restored"):
        await run_until_anchored(settings, tmp_path, 2)


async def test_notes_that_were_not_anchored_in_time_are_anchored_later(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    secret, _ = new_key_pair()
    for number in range(3):
        await use(connection, number)
        await sign_log(connection, KEY, NOW)
    settings = load_settings(database=database, signing_key=secret, anchors=tmp_path / "new", sign_every_seconds=1)

    await run_until_anchored(settings, tmp_path / "new", 3)

    assert [parse(read_anchor(path)).size for path in anchors_in(tmp_path / "new")] == [1, 2, 3]


async def run_until_anchored(settings: Settings, folder: Path, notes: int) -> None:
    """Run the process until so many anchors are there, or until it dies."""
    stop = asyncio.Event()
    running = asyncio.create_task(signer.serve(settings, stop, Health("signer")))

    async def anchored() -> bool:
        return running.done() or len(anchors_in(folder)) >= notes

    await until(anchored, what=f"{notes} anchors are there")
    stop.set()
    await running


async def test_the_signer_does_not_start_without_a_key_or_with_a_wrong_one() -> None:
    stop, health, database = asyncio.Event(), Health("signer"), "postgresql://nobody@localhost/nothing"

    with pytest.raises(WrongSettings, match="CREDITWELL_SIGNING_KEY is not set"):
        await signer.serve(load_settings(database=database), stop, health)
    with pytest.raises(WrongSettings, match="CREDITWELL_SIGNING_KEY is wrong: it is not 32 bytes in base64") as wrong:
        await signer.serve(load_settings(database=database, signing_key="c2hvcnQ="), stop, health)
    assert "c2hvcnQ=" not in str(wrong.value)
