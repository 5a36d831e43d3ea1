"""Which team it is, under the lock of its shard: how every decision about a team begins.

A team exists from its first plan on. Its row is kept in step with the log by `cycles.move_cycles`.
"""

from datetime import datetime
from typing import NamedTuple

from services.runtime.errors import Refused
from services.store.append import lock_shard
from services.store.connect import Connection
from services.store.cycles import OpenCycle
from services.store.shards import shard_of

# From here on the transaction sees the rows of this team: row-level security knows no other way in.
SEE_TEAM = "SELECT set_config('creditwell.team', $1, true)"
EXISTS = "SELECT true FROM teams WHERE shard = $1 AND team_id = $2"
TEAM = """
    SELECT plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at FROM teams
    WHERE shard = $1 AND team_id = $2
"""


class Locked(NamedTuple):
    """A team by its row, under the lock of its shard: nothing about it changes until COMMIT.

    `team` is None before its first plan.

    `now` is the time by the database's clock, never before the shard's last fact.
    """

    now: datetime
    team: OpenCycle | None


async def lock_team(connection: Connection, team_id: str) -> Locked:
    """Lock the head of a team's shard until COMMIT, and say which team it is, if there is one."""
    now = await lock_shard(connection, team_id)
    row = await connection.fetchrow(TEAM, shard_of(team_id), team_id)
    return Locked(now, OpenCycle(*row) if row is not None else None)


async def lock_known_team(connection: Connection, team_id: str) -> datetime:
    """As `lock_team`, for what may be done to a team that exists; the time.

    Raises:
        Refused: unknown_team.
    """
    now, team = await lock_team(connection, team_id)
    if team is None:
        raise unknown_team(team_id)
    return now


async def team_exists(connection: Connection, team_id: str) -> bool:
    """True from the team's first plan on; without a lock, for what needs no decision."""
    return await connection.fetchval(EXISTS, shard_of(team_id), team_id) is True


def unknown_team(team_id: str) -> Refused:
    """What to raise where there is no such team."""
    return Refused("unknown_team", f"{team_id!r:.140} has no plan yet: a team exists from its first plan")
