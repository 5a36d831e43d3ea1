"""A member is erased: their name goes, and the log says so by their opaque id.

`wholly` their limits end as well, and the answers to commands that name them are emptied. All of it follows from the
fact, by one function of the database's owner: a store that went back and gets the fact again does the same.
"""

from schemas.facts import MemberErased, NewFact
from schemas.instants import instant
from schemas.places import Place
from services.credits.directory import delete_member
from services.store.append import append
from services.store.connect import Connection
from services.store.read import head_of
from services.store.shards import shard_of
from services.store.teams import lock_team

DIRECTORY = "creditwell:directory"

BEFORE = """
    SELECT e.position, e.wholly_at,
           EXISTS (SELECT FROM member_limits l WHERE l.shard = $1 AND l.team_id = $2 AND l.member_id = $3) AS limited
    FROM (VALUES (true)) AS one (row)
    LEFT JOIN erased_members e ON e.shard = $1 AND e.team_id = $2 AND e.member_id = $3
"""
FOLLOW = "SELECT follow_erasure($1::smallint, $2, $3, $4)"


async def erase_member(
    connection: Connection, team_id: str, member_id: str, *, wholly: bool, by: str, reason: str | None = None
) -> Place | None:
    """Erase what is known of a member, in the caller's transaction; where the fact stands.

    None where there is nothing to erase: no row of the directory or, with `wholly`, no team. A member whom the
    directory never knew is erased wholly all the same, for facts may name them. Whoever was, is not erased again. Of a
    team without a plan there is a row alone, and no fact: the place is the head of its shard.
    """
    shard = shard_of(team_id)
    now, team = await lock_team(connection, team_id)
    since = await delete_member(connection, team_id, member_id)
    if team is None:
        return None if since is None else Place(shard, await head_of(connection, shard))
    if since is None and not wholly:
        return None
    before = await connection.fetchrow(BEFORE, shard, team_id, member_id)
    assert before is not None, "one row, whatever is in it"
    position = before["position"]
    if since is not None or position is None or (wholly and (before["limited"] or before["wholly_at"] != position)):
        # What there was goes with this transaction, so its time, or the last erasure, makes the fact one and the same.
        after = instant(since) if since is not None else f"after {position or 0}"
        new = NewFact(
            team_id, DIRECTORY, f"erased:{member_id}:{after}", now,
            MemberErased(member_id=member_id, wholly=wholly or None),
        )  # fmt: skip
        position = (await append(connection, [new])).places[0].position
    await connection.execute(FOLLOW, shard, position, by, reason)
    return Place(shard, position)
