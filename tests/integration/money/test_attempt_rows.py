"""Rows of attempts follow the log, also while the worker that has the lease moves them on without the lock."""

import asyncio
from uuid import UUID, uuid5

from schemas.facts import TopUpFailed
from services.money.top_ups import attempts
from services.money.top_ups.attempts import Lease, ended
from services.money.top_ups.log import TOP_UPS, append_top_up, lock_top_ups
from services.store.connect import Connection
from services.store.shards import shard_of
from tests.support.connections import connections
from tests.support.facts import new, now, planned, store
from tests.support.holds import wait_for_locks

ATTEMPT = uuid5(UUID(int=0), "attempt")
INSERT = """
    INSERT INTO top_up_attempts (shard, team_id, attempt_id, owner, leased_until, look_at, requested_at)
    VALUES ($1, 'team_1', $2, 'us', now(), now(), now())
"""
IS_OVER = "SELECT ended_at IS NOT NULL FROM top_up_attempts WHERE attempt_id = $1"


async def test_an_attempt_ends_with_its_fact_while_its_worker_moves_its_row(
    connection: Connection, database: str
) -> None:
    await store(connection, *planned("team_1"))
    await connection.execute(INSERT, shard_of("team_1"), ATTEMPT)
    held = Lease("team_1", ATTEMPT, 0, 1, 1, 0, waited_long=False, too_old=False)
    failed = TopUpFailed(attempt_id=str(ATTEMPT), reason="cancelled", next_try_at=now())

    async def end(other: Connection) -> None:
        async with other.transaction():
            state, head = await lock_top_ups(other, "team_1")
            new_fact = new("team_1", f"failed:{ATTEMPT}", failed, source=TOP_UPS)
            await append_top_up(other, state, [new_fact], head, [ended("team_1", ATTEMPT)])

    async with connections(database, 1) as (other,):
        async with connection.transaction():
            assert await attempts.renew(connection, held, "us")
            ending = asyncio.create_task(end(other))
            await wait_for_locks(connection, 1)
        await ending

    assert await connection.fetchval(IS_OVER, ATTEMPT) is True
