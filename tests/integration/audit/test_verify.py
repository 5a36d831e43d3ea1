"""Whatever somebody does to the log behind Creditwell's back, `verify` finds it and names the place (invariant 5)."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.facts import NewFact, UsageRecorded
from services.audit.anchors import text_of_anchor, write_anchor
from services.audit.notes.tree import inclusion, root_of
from services.audit.sign_log import Signed, sign_log, tree_nodes
from services.audit.verdict import Verified
from services.audit.verify import verify
from services.runtime.errors import Refused
from services.store.append import append
from services.store.connect import Connection
from services.store.copying import microseconds
from services.store.proofs import block_hash, leaf_of, merkle_root, pack_known, pack_place
from services.store.shards import shard_of
from tests.support.heads import heads_unguarded

TEAM, OTHER = "team_a", "team_b"
SHARD = shard_of(TEAM)
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
MOVE_AWAY = 1_000_000
APPEND_ONLY = ("facts", "blocks", "signed_checkpoints", "signed_shards")


def used(team: str, number: int) -> NewFact:
    fact = UsageRecorded(feature="ai_video.generate", quantity="12.5", credits=1_000_000 + number, rate_card=1)
    return NewFact(team, "/features/video", f"use-{number}", NOW, fact)


@pytest.fixture
async def log(database: str) -> AsyncIterator[Connection]:
    """Twenty facts of one team in blocks of four, some of another; a superuser's connection."""
    connection = await asyncpg.connect(database)
    for block in range(5):
        async with connection.transaction():
            await append(connection, [used(TEAM, block * 4 + n) for n in range(4)])
        async with connection.transaction():
            await append(connection, [used(OTHER, block)])
    yield connection
    await connection.close()


async def tamper(connection: Connection, *statements: str) -> None:
    """As a superuser who knows the way around the triggers."""
    async with connection.transaction():
        for table in APPEND_ONLY:
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        async with heads_unguarded(connection):
            for statement in statements:
                await connection.execute(statement.replace(":shard", str(SHARD)))
        for table in APPEND_ONLY:
            await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_only")


async def signed(connection: Connection, after: timedelta = timedelta()) -> Signed:
    note = await sign_log(connection, KEY, NOW + after)
    assert note is not None
    return note


async def path_of(connection: Connection, note: Signed) -> list[bytes]:
    spans = inclusion(note.number - 1, note.number)
    hashes = await tree_nodes(connection, spans)
    return [root_of(span, hashes) for span in spans]


async def anchor(connection: Connection, folder: Path, note: Signed) -> Path:
    return write_anchor(folder, note, await path_of(connection, note))


def said(verified: Verified) -> list[str]:
    return [f"{problem.place}: {problem.what}" for problem in verified.problems]


async def test_an_honest_log_has_no_problem(log: Connection, tmp_path: Path) -> None:
    note = await signed(log)
    await anchor(log, tmp_path, note)

    verified = await verify(log, anchors=tmp_path, keys=[KEY.public_key()])

    assert said(verified) == []
    assert (verified.facts, verified.blocks, verified.checkpoints, verified.anchors) == (25, 10, 1, 1)
    assert verified.signatures_checked


async def test_an_empty_log_has_no_problem(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert said(await verify(connection)) == []
    finally:
        await connection.close()


COLUMNS = {
    "body": r"""convert_to(replace(convert_from(body, 'UTF8'), '"credits":1', '"credits":2'), 'UTF8')""",
    "occurred_at": "occurred_at - interval '1 microsecond'",
    "recorded_at": "recorded_at + interval '1 hour'",
    "team_id": "'team_c'",
    "source": "source || ' '",
    "id": "'use-X'",
    "type": "'usage.recorded.v2'",
}


async def test_whichever_column_of_a_fact_is_changed_it_is_found_and_named(log: Connection) -> None:
    changes = [f"{column} = {value}" for column, value in COLUMNS.items()]
    await tamper(
        log,
        *(f"UPDATE facts SET {change} WHERE shard = :shard AND position = {n + 6}" for n, change in enumerate(changes)),
    )

    problems = said(await verify(log))

    assert [problem.split(": ")[0] for problem in problems] == [f"{SHARD}:{n + 6}" for n in range(len(changes))]
    assert all("was changed after it was recorded" in problem for problem in problems)


async def test_a_changed_leaf_is_told_from_a_changed_fact(log: Connection) -> None:
    await tamper(log, "UPDATE facts SET leaf = sha256('x') WHERE shard = :shard AND position = 10")

    assert said(await verify(log)) == [
        f"{SHARD}:10: the stored proof was changed; what it proves is as it was recorded"
    ]


async def test_a_changed_root_is_told_from_changed_facts(log: Connection) -> None:
    await tamper(log, "UPDATE blocks SET root = sha256('x') WHERE shard = :shard AND last = 12")

    [problem] = said(await verify(log))

    assert problem == f"{SHARD}:9 to {SHARD}:12: the stored proof was changed; what it proves is as it was recorded"


async def test_facts_that_were_deleted_are_named_one_by_one_and_in_a_row(log: Connection) -> None:
    await tamper(log, "DELETE FROM facts WHERE shard = :shard AND position IN (1, 3, 4, 5, 7, 12, 18, 19, 20)")

    assert said(await verify(log)) == [
        f"{SHARD}:1: taken out of the log",
        f"{SHARD}:3 to {SHARD}:5: taken out of the log",
        f"{SHARD}:7: taken out of the log",
        f"{SHARD}:12: taken out of the log",
        f"{SHARD}:18 to {SHARD}:20: taken out of the log",
    ]


async def test_a_shard_whose_facts_were_all_deleted_is_named(log: Connection) -> None:
    await tamper(log, "DELETE FROM facts WHERE shard = :shard")

    assert said(await verify(log)) == [f"{SHARD}:1 to {SHARD}:20: taken out of the log"]


async def test_two_facts_that_changed_places_are_named_within_a_block_and_across(log: Connection) -> None:
    for one, two in ((9, 10), (2, 19)):
        await tamper(
            log,
            f"UPDATE facts SET position = {MOVE_AWAY} WHERE shard = :shard AND position = {one}",
            f"UPDATE facts SET position = {one} WHERE shard = :shard AND position = {two}",
            f"UPDATE facts SET position = {two} WHERE shard = :shard AND position = {MOVE_AWAY}",
        )

    assert said(await verify(log)) == [
        f"{SHARD}:{here}: this fact and {SHARD}:{there} changed places"
        for here, there in ((2, 19), (9, 10), (10, 9), (19, 2))
    ]


async def test_a_fact_put_at_the_end_is_named(log: Connection) -> None:
    await tamper(
        log,
        "INSERT INTO facts SELECT shard, 21, recorded_at, occurred_at, team_id, source, 'gift', type, body, leaf "
        "FROM facts WHERE shard = :shard AND position = 20",
    )

    [problem] = said(await verify(log))

    assert problem.startswith(f"{SHARD}:21: this fact was put into the log without Creditwell")


async def test_a_fact_put_before_the_beginning_or_into_no_shard_is_named(log: Connection) -> None:
    copy = "INSERT INTO facts SELECT {0}, {1}, recorded_at, occurred_at, team_id, source, 'gift {1}', type, body, leaf FROM facts"
    copy += " WHERE shard = :shard AND position = 20"
    least = -(2**63)
    await tamper(log, copy.format("shard", least), copy.format("shard", 0), copy.format(64, 1))

    problems = said(await verify(log))

    assert [problem.split(": ")[0] for problem in problems] == [f"{SHARD}:{least}", f"{SHARD}:0", "64:1"]


async def test_a_fact_put_between_others_is_named(log: Connection) -> None:
    await tamper(
        log,
        f"UPDATE facts SET position = position + {MOVE_AWAY} WHERE shard = :shard AND position >= 10",
        f"UPDATE facts SET position = position - {MOVE_AWAY} + 1 WHERE shard = :shard AND position >= {MOVE_AWAY}",
        "INSERT INTO facts SELECT shard, 10, recorded_at, occurred_at, team_id, source, 'gift', type, body, leaf "
        "FROM facts WHERE shard = :shard AND position = 11",
    )

    problems = said(await verify(log))

    assert problems[0].startswith(f"{SHARD}:10: ")
    assert f"{SHARD}:11: this fact was recorded as {SHARD}:10 and moved here" in problems
    assert any(problem.startswith(f"{SHARD}:21: ") for problem in problems)


async def forge(connection: Connection, position: int, block: int) -> None:
    """Change a fact and make its leaf and the root and hash of its block fit, as somebody would who knows how it is done."""
    rows = await connection.fetch(
        "SELECT f.*, b.first, b.last FROM facts f JOIN blocks b ON b.shard = f.shard AND f.position BETWEEN b.first AND b.last "
        "WHERE f.shard = $1 AND b.last = $2 ORDER BY f.position",
        SHARD,
        block,
    )
    leaves = []
    for row in rows:
        body = row["body"].replace(b'"credits":1', b'"credits":9') if row["position"] == position else row["body"]
        known = pack_known(row["occurred_at"], row["team_id"], row["source"], row["id"], row["type"], body)
        leaves.append(leaf_of(pack_place(SHARD, row["position"], microseconds(row["recorded_at"])) + known))
        sets = f"body = '\\x{body.hex()}', leaf = '\\x{leaves[-1].hex()}'"
        await tamper(connection, f"UPDATE facts SET {sets} WHERE shard = :shard AND position = {row['position']}")
    root, first = merkle_root(leaves), rows[0]["first"]
    before = await connection.fetchval("SELECT hash FROM blocks WHERE shard = $1 AND last = $2", SHARD, first - 1)
    new = block_hash(SHARD, first, block, before or bytes(32), root)
    await tamper(
        connection,
        f"UPDATE blocks SET root = '\\x{root.hex()}', hash = '\\x{new.hex()}' WHERE shard = :shard AND last = {block}",
    )


async def forge_to_the_end(connection: Connection, position: int) -> None:
    """The perfect forgery: every block from the changed one on, and the head."""
    block = (position + 3) // 4 * 4
    for last in range(block, 21, 4):
        await forge(connection, position, last)
    await connection.execute(
        "UPDATE shard_heads SET head = (SELECT hash FROM blocks WHERE shard = $1 AND last = 20) WHERE shard = $1", SHARD
    )


async def test_a_fact_forged_with_its_leaf_alone_is_named_by_its_block(log: Connection) -> None:
    row = await log.fetchrow("SELECT * FROM facts WHERE shard = $1 AND position = 10", SHARD)
    assert row is not None
    body = row["body"].replace(b'"credits":1', b'"credits":9')
    known = pack_known(row["occurred_at"], row["team_id"], row["source"], row["id"], row["type"], body)
    leaf = leaf_of(pack_place(SHARD, 10, microseconds(row["recorded_at"])) + known)
    await tamper(
        log,
        f"UPDATE facts SET body = '\\x{body.hex()}', leaf = '\\x{leaf.hex()}' WHERE shard = :shard AND position = 10",
    )

    [problem] = said(await verify(log))

    assert problem.startswith(
        f"{SHARD}:9 to {SHARD}:12: a fact of this block was replaced, together with its own proof"
    )


async def test_a_fact_forged_with_leaf_and_block_breaks_the_chain_there(log: Connection) -> None:
    await forge(log, 10, 12)

    [problem] = said(await verify(log))

    assert problem.startswith(f"{SHARD}:9 to {SHARD}:16: a fact here was replaced, together with its proofs")


async def test_a_forged_last_block_does_not_fit_the_head(log: Connection) -> None:
    await forge(log, 19, 20)

    [problem] = said(await verify(log))

    assert problem.startswith(f"{SHARD}:17 to {SHARD}:20: ")


async def test_a_perfect_forgery_is_betrayed_by_the_signed_checkpoint(log: Connection) -> None:
    await signed(log)
    await forge_to_the_end(log, 10)

    [problem] = said(await verify(log))

    assert problem.startswith(
        f"{SHARD}:1 to {SHARD}:20: something here was rewritten after it was signed by checkpoint 1"
    )


async def test_signed_checkpoints_narrow_down_where_a_perfect_forgery_begins(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        for block in range(5):
            async with connection.transaction():
                await append(connection, [used(TEAM, block * 4 + n) for n in range(4)])
            await signed(connection, timedelta(minutes=block))
        await forge_to_the_end(connection, 10)

        [problem] = said(await verify(connection))

        assert problem.startswith(
            f"{SHARD}:9 to {SHARD}:12: something here was rewritten after it was signed by checkpoint 3"
        )
    finally:
        await connection.close()


async def truncate_to_block(connection: Connection, last: int) -> None:
    await tamper(
        connection,
        f"DELETE FROM facts WHERE shard = :shard AND position > {last}",
        f"DELETE FROM blocks WHERE shard = :shard AND last > {last}",
        f"UPDATE shard_heads SET next = {last} + 1, "
        f"head = (SELECT hash FROM blocks WHERE shard = :shard AND last = {last}) WHERE shard = :shard",
    )


async def test_a_tail_that_was_cut_off_with_its_proofs_is_betrayed_by_the_signed_checkpoint(log: Connection) -> None:
    await signed(log)
    await truncate_to_block(log, 16)

    [problem] = said(await verify(log))

    assert problem.startswith(
        f"{SHARD}:17 to {SHARD}:20: checkpoint 1 of 2026-11-23 10:00:00 UTC has 20 facts of this shard"
    )
    assert "an old backup was restored" in problem


async def test_an_old_backup_is_betrayed_by_the_anchors(log: Connection, tmp_path: Path) -> None:
    note = await signed(log)
    await anchor(log, tmp_path, note)
    await truncate_to_block(log, 16)
    await tamper(log, "DELETE FROM signed_checkpoints", "DELETE FROM signed_shards")
    assert said(await verify(log)) == []

    problems = said(await verify(log, anchors=tmp_path, keys=[KEY.public_key()]))

    assert len(problems) == 2
    assert problems[0].startswith(
        f"anchor {note.number:020d}.anchor: the database has no checkpoint as new as this one"
    )
    assert problems[1].startswith(f"{SHARD}:17 to {SHARD}:20: ")


async def test_proofs_that_were_taken_away_are_named(log: Connection) -> None:
    await tamper(log, "DELETE FROM blocks WHERE shard = :shard AND last IN (8, 20)")

    assert said(await verify(log)) == [
        f"{SHARD}:5 to {SHARD}:8: the proof of these facts was taken away",
        f"{SHARD}:17 to {SHARD}:20: the proof of these facts was taken away",
    ]


async def test_a_head_that_was_set_back_or_taken_away_is_named(log: Connection) -> None:
    await tamper(log, "UPDATE shard_heads SET next = 17 WHERE shard = :shard")
    [problem] = said(await verify(log))
    assert problem.startswith(f"{SHARD}:17 to {SHARD}:20: the head of the shard")

    await tamper(log, "DELETE FROM shard_heads WHERE shard = :shard")
    assert f"{SHARD}:1: the head of shard {SHARD} was taken away" in said(await verify(log))


async def notes(connection: Connection, count: int) -> list[Signed]:
    """So many notes, a minute apart, a fact ahead of each."""
    made = []
    for number in range(count):
        async with connection.transaction():
            await append(connection, [used(TEAM, 100 + number)])
        made.append(await signed(connection, timedelta(minutes=number)))
    return made


async def test_the_newest_signature_counts_for_all_and_a_strangers_is_named(log: Connection) -> None:
    await notes(log, 3)
    stranger = Ed25519PrivateKey.generate()

    assert said(await verify(log, keys=[stranger.public_key()])) == ["checkpoint 3: it was not signed by a known key"]
    verified = await verify(log, keys=[stranger.public_key(), KEY.public_key()])
    assert (said(verified), verified.signed, verified.signed_at) == ([], 28, NOW + timedelta(minutes=2))
    assert verified.basis.startswith("signed by creditwell/")


NOTE_TAMPERS = {
    "time": (
        "UPDATE signed_checkpoints SET signed_at = signed_at + interval '1 minute' WHERE number = 2",
        ["checkpoint 2: what it says of the shards, or its time, was changed after it was signed"],
    ),
    "position": (
        "UPDATE signed_shards SET last = 999 WHERE number = 2",
        [
            "checkpoint 2: what it says of the shards, or its time, was changed after it was signed",
            f"{SHARD}:25 to {SHARD}:999: checkpoint 2 of 2026-11-23 10:01:00 UTC has 999 facts of this shard, the log has 24",
        ],
    ),
    "note": (
        "UPDATE signed_checkpoints SET note = replace(note, E'\n2\n', E'\n7\n') WHERE number = 2",
        ["checkpoint 2: it does not follow from what is stored: it was replaced, or one up to it was"],
    ),
    "no note": (
        "UPDATE signed_checkpoints SET note = 'x' WHERE number = 2",
        ["checkpoint 2: it is no note of a Creditwell log"],
    ),
    "hashes": (
        "UPDATE signed_checkpoints SET hashes = hashes || sha256('x') WHERE number = 2",
        ["checkpoint 2: the hashes that are kept with it were changed"],
    ),
    "one taken away": (
        "DELETE FROM signed_checkpoints WHERE number = 2",
        ["checkpoint 2: it was taken away; checkpoint 3 is the next one there"],
    ),
    "first taken away": (
        "DELETE FROM signed_checkpoints WHERE number = 1",
        ["checkpoint 1: it was taken away; checkpoint 2 is the next one there"],
    ),
}


@pytest.mark.parametrize("kind", NOTE_TAMPERS)
async def test_whatever_is_done_to_a_signed_checkpoint_is_named(log: Connection, kind: str) -> None:
    await notes(log, 4)
    statement, expected = NOTE_TAMPERS[kind]
    await tamper(log, statement)

    problems = said(await verify(log, keys=[KEY.public_key()]))

    assert [p[: len(e)] for p, e in zip(problems, expected, strict=True)] == expected


async def test_a_leaf_forged_with_its_hash_betrays_itself_in_every_later_root_and_is_named_once(
    log: Connection,
) -> None:
    await notes(log, 4)
    await tamper(log, "UPDATE signed_checkpoints SET hashes = sha256('x') WHERE number = 3")

    problems = said(await verify(log, keys=[KEY.public_key()]))

    assert [problem.partition(": ")[0] for problem in problems] == ["checkpoint 3", "checkpoint 3", "checkpoint 4"]


async def test_only_what_is_newer_than_a_checkpoint_is_read_and_judged(log: Connection) -> None:
    await notes(log, 2)
    await tamper(log, "UPDATE facts SET id = position::text WHERE shard = :shard AND position IN (3, 22)")

    verified = await verify(log, keys=[KEY.public_key()], from_checkpoint=1)

    assert [p.place for p in verified.problems] == [f"{SHARD}:22"]
    assert (verified.verified_before, verified.facts, verified.checkpoints, verified.signed) == (26, 1, 1, 27)
    ending = await verify(log, keys=[KEY.public_key()], from_checkpoint=2)
    assert (ending.facts, ending.checkpoints, said(ending)) == (0, 0, [])
    assert (ending.signed, ending.signed_at) == (27, NOW + timedelta(minutes=1))


async def test_a_checkpoint_to_begin_at_is_one_that_was_signed(log: Connection) -> None:
    await notes(log, 2)

    with pytest.raises(Refused, match="the log has no checkpoint 3"):
        await verify(log, from_checkpoint=3)
    with pytest.raises(Refused, match="checkpoint 2 was not signed by a known key"):
        await verify(log, keys=[Ed25519PrivateKey.generate().public_key()], from_checkpoint=2)
    await tamper(log, "UPDATE signed_shards SET head = sha256('x') WHERE number = 2")
    with pytest.raises(Refused, match="checkpoint 2 is not what is stored of it"):
        await verify(log, keys=[KEY.public_key()], from_checkpoint=2)


async def test_a_history_that_was_signed_anew_is_betrayed_by_each_anchor(log: Connection, tmp_path: Path) -> None:
    for note in await notes(log, 3):
        await anchor(log, tmp_path, note)
    await tamper(log, "DELETE FROM signed_checkpoints", "DELETE FROM signed_shards")
    await sign_log(log, KEY, NOW)
    assert said(await verify(log, keys=[KEY.public_key()])) == []

    problems = said(await verify(log, anchors=tmp_path, keys=[KEY.public_key()]))

    names = [f"anchor {number:020d}.anchor" for number in (1, 2, 3)]
    assert [problem.partition(": ")[0] for problem in problems] == names
    assert "says something else" in problems[0]


async def test_a_file_that_is_no_anchor_is_named_and_the_others_count(log: Connection, tmp_path: Path) -> None:
    [one, two] = await notes(log, 2)
    await anchor(log, tmp_path, one)
    (tmp_path / "00000000000000000000.anchor").write_bytes(b"\xff\xfe")
    (tmp_path / "notes-of-march.anchor").write_text("Dear diary")
    forged = two._replace(vector=replace(two.vector, signed_at=NOW))
    (tmp_path / f"{2:020d}.anchor").write_text(text_of_anchor(forged, await path_of(log, two)))

    verified = await verify(log, anchors=tmp_path, keys=[KEY.public_key()])

    assert said(verified) == [
        "anchor 00000000000000000000.anchor: it is no text",
        f"anchor {2:020d}.anchor: what it says of the shards is not what its note signs",
        "anchor notes-of-march.anchor: it is no note of a Creditwell log (not enough values to unpack (expected 3, got 1))",
    ]
    assert verified.anchors == 4


async def test_verifying_needs_no_more_than_the_readers_role(log: Connection, database: str) -> None:
    reader = await asyncpg.connect(f"{database}?role=creditwell_reader")
    try:
        verified = await verify(reader)
    finally:
        await reader.close()

    assert (verified.facts, said(verified)) == (25, [])
