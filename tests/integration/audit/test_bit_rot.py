"""A disk that forgets a bit: PostgreSQL's checksums refuse the page, and `verify` says from which place on."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.stack import Stack
from services.audit.sign_log import sign_log
from services.audit.verify import UNREADABLE, verify
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.support.facts import granted, store
from tests.support.serving import connected

DAMAGED, SOUND = "team_a", "team_b"
PAGE_BYTES = 8192
FIRST_PAGE, SECOND_PAGE = 0, 1


async def flip_a_bit(connection: Connection, table: str, page: int) -> None:
    """On the disk, near the end of that page: there lies what was written upon it first."""
    await connection.execute("CHECKPOINT")
    path = await connection.fetchval(
        "SELECT current_setting('data_directory') || '/' || pg_relation_filepath($1::regclass)", table
    )
    with Path(path).open("r+b") as file:
        file.seek((page + 1) * PAGE_BYTES - 50)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


async def test_a_page_that_the_disk_has_damaged_is_named_and_the_rest_is_read(stack: Stack, database: str) -> None:
    async with connected(database) as connection:
        await store(connection, *(granted(DAMAGED, f"gift-{n}") for n in range(200)))
        await store(connection, granted(SOUND, "gift"))
        await sign_log(connection, Ed25519PrivateKey.from_private_bytes(bytes(32)), datetime(2026, 11, 30, tzinfo=UTC))
        first_of_page = await connection.fetchval(
            "SELECT min(position) FROM facts WHERE (ctid::text::point)[0] = $1", SECOND_PAGE
        )
        assert (await verify(connection)).problems == []
        await flip_a_bit(connection, "facts", SECOND_PAGE)
        await flip_a_bit(connection, "signed_checkpoints", FIRST_PAGE)

    await asyncio.to_thread(stack.restart_postgres)  # or it would answer from memory

    async with connected(database) as connection:
        verified = await verify(connection)

    assert all(UNREADABLE in problem.what and "invalid page" in problem.what for problem in verified.problems)
    in_shard, in_no_shard, in_notes = (problem.place for problem in verified.problems)
    shard, _, position = in_shard.partition(":")
    assert int(shard) == shard_of(DAMAGED)
    assert 1 <= int(position) <= first_of_page
    assert (in_no_shard, in_notes) == ("facts", "signed_checkpoints")
    assert verified.facts >= 1  # the sound shard's, whatever was read of the other
