"""The signer says what the log was, and refuses to say anything of a log that lost its past (invariant 5)."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.facts import NewFact, UsageRecorded
from services.audit import signer
from services.audit.anchors import anchors_in, begin_folder, parse_anchor, read_anchor
from services.audit.checkpoints import new_key_pair, parse, parse_public_key, signer_of
from services.audit.notes.published import Bounds
from services.audit.notes.tree import LeafSpan, consistency, inclusion, is_consistent, root_of, root_of_path
from services.audit.sign_log import LOG, Signed, sign_log, signed_shards, tree_nodes
from services.audit.verify import verify
from services.runtime.clock import Clock, system_clock
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


def new_use(number: int, team: str = TEAM) -> NewFact:
    fact = UsageRecorded(feature="ai_video.generate", quantity="1", credits=1_000_000, rate_card=1)
    return NewFact(team, "/features/video", f"use-{number}", NOW, fact)


async def use(connection: Connection, number: int, team: str = TEAM) -> None:
    async with connection.transaction():
        await append(connection, [new_use(number, team)])


async def publish(connection: Connection) -> None:
    """What the relay does, without Kafka."""
    await connection.execute(
        "INSERT INTO checkpoints (reader, shard, position) SELECT 'relay', shard, next - 1 FROM shard_heads "
        "ON CONFLICT (reader, shard) DO UPDATE SET position = excluded.position"
    )


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
        for table in ("signed_checkpoints", "signed_shards"):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            await connection.execute(f"DELETE FROM {table}")
            await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")


async def test_a_note_counts_the_notes_and_its_vector_holds_the_end_of_every_shard(connection: Connection) -> None:
    await use(connection, 1)
    await use(connection, 1, "team_b")
    first = await sign_log(connection, KEY, NOW)
    await use(connection, 2)
    second = await sign_log(connection, KEY, NOW)

    assert first is not None
    assert second is not None
    assert (first.number, first.vector.facts) == (1, 2)
    assert (second.number, second.vector.facts) == (2, 3)
    heads = await connection.fetch("SELECT shard, next - 1, head FROM shard_heads WHERE next > 1")
    shards = await signed_shards(connection, 2)
    assert {shard: signed[:2] for shard, signed in shards.items()} == {
        shard: (last, head) for shard, last, head in heads
    }
    assert (shards, await signed_shards(connection, 1)) == (second.vector.shards, first.vector.shards)
    assert parse(second.note) == second.checkpoint
    assert signer_of(second.note, [KEY.public_key()])


async def test_any_two_notes_have_a_proof_that_the_newer_one_continues_the_older(connection: Connection) -> None:
    notes: list[Signed] = []
    for number in range(5):
        await use(connection, number)
        signed = await sign_log(connection, KEY, NOW)
        notes += [signed] if signed is not None else []
    assert len(notes) == 5

    for newer in notes:
        for older in notes[: newer.number]:
            path = await hashes_of(connection, consistency(older.number, newer.number))
            assert is_consistent(older.number, older.checkpoint.root, newer.number, newer.checkpoint.root, path)
            path = await hashes_of(connection, inclusion(older.number - 1, newer.number))
            leaf = older.vector.leaf_hash
            assert root_of_path(leaf, older.number - 1, newer.number, path) == newer.checkpoint.root


async def hashes_of(connection: Connection, spans: list[LeafSpan]) -> list[bytes]:
    nodes = await tree_nodes(connection, spans)
    return [root_of(span, nodes) for span in spans]


async def test_where_nothing_changes_a_note_is_signed_when_the_last_one_is_old(connection: Connection) -> None:
    await use(connection, 1)
    await sign_log(connection, KEY, NOW)

    assert await sign_log(connection, KEY, NOW + timedelta(seconds=299), idle=timedelta(seconds=300)) is None
    again = await sign_log(connection, KEY, NOW + timedelta(seconds=300), idle=timedelta(seconds=300))

    assert again is not None
    assert (again.number, again.vector.facts) == (2, 1)
    assert (await verify(connection, keys=[KEY.public_key()])).problems == []


async def test_no_further_is_signed_than_the_relay_has_published_and_only_whole_blocks(connection: Connection) -> None:
    async with connection.transaction():
        await append(connection, [new_use(number) for number in range(3)])
    async with connection.transaction():
        await append(connection, [new_use(number) for number in range(3, 6)])

    assert await sign_log(connection, KEY, NOW, bounds=Bounds({SHARD: 2})) is None
    first = await sign_log(connection, KEY, NOW, bounds=Bounds({SHARD: 5}))
    assert first is not None
    assert (first.vector.facts, first.vector.unpublished) == (3, False)
    assert await sign_log(connection, KEY, NOW, bounds=Bounds({SHARD: 1})) is None
    beyond = await sign_log(connection, KEY, NOW, bounds=Bounds({SHARD: 5}, frozenset({SHARD})))
    assert beyond is not None
    assert (beyond.vector.facts, beyond.vector.leaf.splitlines()[-1]) == (6, "unpublished")
    assert (await verify(connection, keys=[KEY.public_key()])).problems == []


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
    await publish(connection)
    await run_until_anchored(settings, tmp_path, 1)
    [anchor] = [parse_anchor(read_anchor(path)) for path in anchors_in(tmp_path)]
    assert (anchor.number, anchor.vector.facts) == (1, 3)
    verified = await verify(connection, anchors=tmp_path, keys=[parse_public_key(public)])
    assert (verified.problems, verified.checkpoints, verified.anchors) == ([], 1, 1)
    assert verified.basis.startswith("anchored outside, newest at ")

    await truncate(connection, to=1)
    await forget_notes(connection)
    await use(connection, 9)
    await publish(connection)
    await run_until_refused(settings, "facts were taken away, or an old backup was restored")
    assert await connection.fetchval("SELECT count(*) FROM signed_checkpoints") == 0


async def test_a_note_that_was_not_anchored_in_time_is_anchored_later(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    secret, _ = new_key_pair()
    for number in range(3):
        await use(connection, number)
        await sign_log(connection, KEY, NOW)
    await publish(connection)
    begin_folder(tmp_path, await connection.fetchval(LOG))
    settings = load_settings(
        database=database,
        signing_key=secret,
        anchors=tmp_path,
        sign_every_seconds=1,
        anchor_every_seconds=86_400,
    )

    await run_until_anchored(settings, tmp_path, 1, clock=lambda: NOW)

    assert [parse_anchor(read_anchor(path)).number for path in anchors_in(tmp_path)] == [3]


async def test_over_a_note_that_is_none_any_more_nothing_is_signed(
    connection: Connection, database: str, tmp_path: Path
) -> None:
    await use(connection, 1)
    await sign_log(connection, KEY, NOW)
    await connection.execute("ALTER TABLE signed_checkpoints DISABLE TRIGGER ALL")
    await connection.execute("UPDATE signed_checkpoints SET note = 'no note'")
    secret, _ = new_key_pair()

    for anchors in (None, tmp_path):
        settings = load_settings(database=database, signing_key=secret, anchors=anchors, sign_every_seconds=1)
        await run_until_refused(settings, "it is no note of a Creditwell log")


async def run_until_anchored(settings: Settings, folder: Path, notes: int, clock: Clock = system_clock) -> None:
    """Run the process until so many anchors are there, or until it dies."""
    stop = asyncio.Event()
    running = asyncio.create_task(signer.serve(settings, stop, Health("signer"), clock))

    async def anchored() -> bool:
        return running.done() or len(anchors_in(folder)) >= notes

    await until(anchored, what=f"{notes} anchors are there")
    stop.set()
    await running


async def run_until_refused(settings: Settings, why: str) -> None:
    """Run the process until it is not ready for a reason, and see that it goes on to look."""
    stop, health = asyncio.Event(), Health("signer")
    running = asyncio.create_task(signer.serve(settings, stop, health))

    async def refused() -> bool:
        return running.done() or why in health.absent.get("the log", "")

    await until(refused, what=f"the signer says that {why}")
    assert not running.done()
    stop.set()
    await running


async def test_the_signer_does_not_start_without_a_key_or_with_a_wrong_one() -> None:
    stop, health, database = asyncio.Event(), Health("signer"), "postgresql://nobody@localhost/nothing"

    with pytest.raises(WrongSettings, match="CREDITWELL_SIGNING_KEY is not set"):
        await signer.serve(load_settings(database=database), stop, health)
    with pytest.raises(WrongSettings, match="CREDITWELL_SIGNING_KEY is wrong: it is not 32 bytes in base64") as wrong:
        await signer.serve(load_settings(database=database, signing_key="c2hvcnQ="), stop, health)
    assert "c2hvcnQ=" not in str(wrong.value)
