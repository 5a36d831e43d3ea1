"""The directory: what teams and members are called, and who is an admin.

A plain table beside the log, so that a name can be changed and erased. Facts carry opaque ids only.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from services.store.connect import Connection
from services.store.protocols import Reads
from services.store.shards import shard_of

TEAM = """
    SELECT t.plan, t.zone, n.name,
           coalesce((SELECT jsonb_agg(jsonb_build_array(m.member_id, m.name, m.role) ORDER BY m.name, m.member_id)
                     FROM members m WHERE m.shard = t.shard AND m.team_id = t.team_id), '[]') AS members,
           coalesce((SELECT jsonb_agg(e.member_id ORDER BY e.member_id)
                     FROM erased_members e LEFT JOIN members m USING (shard, team_id, member_id)
                     WHERE e.shard = t.shard AND e.team_id = t.team_id AND m.member_id IS NULL), '[]') AS erased
    FROM teams t LEFT JOIN team_names n USING (shard, team_id)
    WHERE t.shard = $1 AND t.team_id = $2
"""
TEAMS = "SELECT shard, team_id, name, plan, zone FROM teams_after($1::smallint, $2, $3)"
ADMINS = """
    SELECT member_id, name, role FROM members WHERE shard = $1 AND team_id = $2 AND role = 'admin' ORDER BY name, member_id
"""
NAME_TEAM = """
    INSERT INTO team_names (shard, team_id, name) VALUES ($1, $2, $3)
    ON CONFLICT (shard, team_id) DO UPDATE SET name = excluded.name
"""
PUT_MEMBER = """
    INSERT INTO members (shard, team_id, member_id, name, role) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (shard, team_id, member_id) DO UPDATE SET name = excluded.name, role = excluded.role
"""
ERASED_NAME = "erased member"
DELETE_MEMBER = "DELETE FROM members WHERE shard = $1 AND team_id = $2 AND member_id = $3 RETURNING since"


@dataclass(frozen=True, slots=True)
class DirectoryMember:
    """A person in a team, as the directory knows them."""

    member_id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class DirectoryTeam:
    """A team as people know it. `erased` are ids of members whose names are gone."""

    team_id: str
    name: str
    plan: str
    zone: str
    members: tuple[DirectoryMember, ...]
    erased: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """What to call each member, by id."""
        return dict.fromkeys(self.erased, ERASED_NAME) | {member.member_id: member.name for member in self.members}

    @property
    def admins(self) -> tuple[DirectoryMember, ...]:
        """Whom to ask."""
        return tuple(member for member in self.members if member.role == "admin")


async def read_directory(connection: Reads, team_id: str) -> DirectoryTeam | None:
    """A team with its members; None for a team that does not exist. A team without a name goes by its id."""
    row = await connection.fetchrow(TEAM, shard_of(team_id), team_id)
    if row is None:
        return None
    members = tuple(DirectoryMember(*member) for member in json.loads(row["members"]))
    return DirectoryTeam(
        team_id, row["name"] or team_id, row["plan"], row["zone"], members, tuple(json.loads(row["erased"]))
    )


async def read_teams(connection: Reads, after: tuple[int, str], limit: int) -> list[tuple[int, DirectoryTeam]]:
    """The next teams by (shard, team), without members; none for a session that does not speak for every team."""
    rows = await connection.fetch(TEAMS, *after, limit)
    return [
        (row["shard"], DirectoryTeam(row["team_id"], row["name"] or row["team_id"], row["plan"], row["zone"], ()))
        for row in rows
    ]


async def read_admins(connection: Connection, team_id: str) -> list[DirectoryMember]:
    """Whom to ask."""
    return [DirectoryMember(*row) for row in await connection.fetch(ADMINS, shard_of(team_id), team_id)]


async def name_team(connection: Connection, team_id: str, name: str) -> None:
    """Set what a team is called."""
    await connection.execute(NAME_TEAM, shard_of(team_id), team_id, name)


async def put_member(connection: Connection, team_id: str, member: DirectoryMember) -> None:
    """Add a member, or change their name or role."""
    await connection.execute(PUT_MEMBER, shard_of(team_id), team_id, member.member_id, member.name, member.role)


async def delete_member(connection: Connection, team_id: str, member_id: str) -> datetime | None:
    """Take a member out; since when it was known, None if it was not. See `erasure` for what else follows."""
    since: datetime | None = await connection.fetchval(DELETE_MEMBER, shard_of(team_id), team_id, member_id)
    return since
