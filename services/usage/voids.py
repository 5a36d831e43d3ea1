"""Which usages were taken back: each once at most."""

from collections.abc import Iterable

import asyncpg

from schemas.facts import AMENDMENTS, NewFact, Stored, UsageVoided
from schemas.places import Place
from services.store.append import AlreadyStored
from services.store.connect import Connection
from services.store.protocols import Reads
from services.store.shards import shard_of

VOIDED = """
    SELECT v.team_id, v.usage_position, void.source
    FROM unnest($1::smallint[], $2::text[], $3::bigint[]) AS asked (shard, team_id, usage_position)
    JOIN voided_usages v USING (shard, team_id, usage_position)
    JOIN facts void ON void.shard = v.shard AND void.position = v.void_position
"""

VOID_OF = "SELECT void_position FROM voided_usages WHERE shard = $1 AND team_id = $2 AND usage_position = $3"

NOTE = """
    INSERT INTO voided_usages (shard, team_id, usage_position, void_position)
    SELECT * FROM unnest($1::smallint[], $2::text[], $3::bigint[], $4::bigint[])
"""


async def voided_among(connection: Connection, facts: Iterable[Stored]) -> dict[tuple[str, int], bool]:
    """(team, position) of those facts that were taken back already; True where an amendment has replaced them."""
    places = [(fact.shard, fact.team_id, fact.position) for fact in facts]
    if not places:
        return {}
    rows = await connection.fetch(VOIDED, *map(list, zip(*places, strict=True)))
    return {(row["team_id"], row["usage_position"]): row["source"] == AMENDMENTS for row in rows}


async def read_void(connection: Reads, team_id: str, usage_position: int) -> Place | None:
    """Where a usage was taken back, if it was."""
    shard = shard_of(team_id)
    row = await connection.fetchrow(VOID_OF, shard, team_id, usage_position)
    return None if row is None else Place(shard, row["void_position"])


async def note_voids(connection: Connection, appended: Iterable[tuple[NewFact, Place]]) -> None:
    """Remember the voids among facts just appended, in the same transaction.

    Raises:
        AlreadyStored: a usage was taken back meanwhile; judge the batch again.
    """
    rows = [
        (shard_of(new.team_id), new.team_id, new.fact.usage_position, place.position)
        for new, place in appended
        if isinstance(new.fact, UsageVoided)
    ]
    if not rows:
        return
    try:
        await connection.execute(NOTE, *map(list, zip(*rows, strict=True)))
    except asyncpg.UniqueViolationError as violation:
        raise AlreadyStored(violation.detail) from violation
