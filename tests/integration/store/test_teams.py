"""A decision about a team begins with the lock of its shard and with which team it is."""

from uuid import uuid4

import asyncpg
import pytest

from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.shards import shard_of
from services.store.teams import lock_known_team, lock_team
from tests.support.serving import connected, plan, store


async def test_a_team_is_known_from_its_first_plan_on_and_unknown_before(connection: Connection) -> None:
    team = f"team_{uuid4().hex}"
    async with connection.transaction():
        assert (await lock_team(connection, team)).team is None
        with pytest.raises(Refused, match="has no plan yet") as refused:
            await lock_known_team(connection, team)
    assert refused.value.reason == "unknown_team"
    first = plan(1_200)
    await store(connection, team, [first])

    async with connection.transaction():
        locked = await lock_team(connection, team)
        assert locked.team is not None
        assert (locked.team.plan, locked.team.zone) == (first.plan, first.zone)
        assert await lock_known_team(connection, team) >= locked.now


@pytest.mark.parametrize("lock", [lock_team, lock_known_team])
async def test_nobody_else_takes_the_shard_until_commit(database: str, connection: Connection, lock: object) -> None:
    team = f"team_{uuid4().hex}"
    await store(connection, team, [plan(1_200)])
    taken = "SELECT FROM shard_heads WHERE shard = $1 FOR UPDATE NOWAIT"
    async with connected(database) as other:
        async with connection.transaction():
            await lock(connection, team)  # type: ignore[operator]  # either of the two

            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.fetchrow(taken, shard_of(team))

        assert await other.fetchrow(taken, shard_of(team)) is not None
