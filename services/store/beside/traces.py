"""Of which request and in which trace a fact came to be, kept beside the log for as long as its topic keeps it.

A fact is for ever, a trace is of use for some weeks, and whoever sends usage may write into one what he likes. So the
log holds none: a fact has the same bytes with it and without (docs/decisions/46-traces-lie-beside-the-log.md). A row is
written by the transaction that appends the fact, and only where somebody brought a trace or an id along.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from asyncpg import Record

from schemas.facts import Stored
from schemas.places import Place
from services.runtime.tracing.context import NO_TRAIL, Trail
from services.store.connect import Connection
from services.store.identities import Identity
from services.store.protocols import Reads
from services.store.shards import shard_of

KEPT = timedelta(days=30)
FORGET_SECONDS = 60.0
FORGET_MAX = 5_000

# Counts its parameters from $1, to be written in one statement with the facts: see `services.store.append.Beside`.
KEEP_AT = """
    INSERT INTO traces (shard, position, traceparent, request_id)
    SELECT place.shard, place.position, $3, $4 FROM appended, unnest($1::smallint[], $2::bigint[]) AS place (shard, position)
"""
KEEP = """
    INSERT INTO traces (shard, position, traceparent, request_id)
    SELECT facts.shard, facts.position, came.traceparent, came.request_id
    FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
        AS came (shard, team_id, source, id, traceparent, request_id)
    JOIN facts USING (shard, team_id, source, id)
"""
OF_FACT = """
    SELECT traceparent, request_id FROM traces JOIN facts USING (shard, position)
    WHERE facts.shard = $1 AND team_id = $2 AND source = $3 AND id = $4
"""
OF_PLACE = "SELECT traceparent, request_id FROM traces WHERE shard = $1 AND position = $2"
OF_ROUND = """
    SELECT t.shard, t.position, t.traceparent, t.request_id
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS part (shard, first, last)
    JOIN traces AS t ON t.shard = part.shard AND t.position BETWEEN part.first AND part.last
"""
FORGET = """
    WITH over AS (
        SELECT shard, position FROM traces WHERE noted_at < statement_timestamp() - $1::interval ORDER BY noted_at LIMIT $2
    )
    DELETE FROM traces USING over WHERE (traces.shard, traces.position) = (over.shard, over.position)
"""


def kept_at(places: Sequence[Place], trail: Trail) -> tuple[str, Sequence[object]]:
    """The statement that keeps the trail of facts that are appended at these places, and its arguments."""
    return KEEP_AT, ([place.shard for place in places], [place.position for place in places], *trail)


async def keep_trails(connection: Connection, trails: Mapping[Identity, Trail]) -> None:
    """Keep the trails of facts that the caller's transaction has just appended, if there are any."""
    if trails:
        teams, sources, ids = map(list, zip(*trails, strict=True))
        of_requests = map(list, zip(*trails.values(), strict=True))
        await connection.execute(KEEP, [shard_of(team) for team in teams], teams, sources, ids, *of_requests)


async def trail_at(connection: Reads, shard: int, position: int) -> Trail:
    """That of the fact at a place."""
    return _trail(await connection.fetchrow(OF_PLACE, shard, position))


async def trail_of_fact(connection: Reads, fact: Identity) -> Trail:
    """That of a fact that is in the log."""
    return _trail(await connection.fetchrow(OF_FACT, shard_of(fact.team_id), *fact))


def _trail(row: Record | None) -> Trail:
    return NO_TRAIL if row is None else Trail(*row)


async def trails_of(connection: Reads, facts: Mapping[int, Sequence[Stored]]) -> dict[tuple[int, int], Trail]:
    """Those among facts that were read, some of each shard in order: by shard and position; of none nobody is asked."""
    if not facts:
        return {}
    firsts, lasts = [read[0].position for read in facts.values()], [read[-1].position for read in facts.values()]
    rows = await connection.fetch(OF_ROUND, list(facts), firsts, lasts)
    return {(row["shard"], row["position"]): Trail(row["traceparent"], row["request_id"]) for row in rows}


@dataclass(slots=True)
class OldTraces:
    """Lets go of traces whose time is over, now and then and some at a time."""

    looked_at: float = float("-inf")

    async def forget(self, connection: Connection) -> bool:
        """True while there are more."""
        if time.monotonic() - self.looked_at < FORGET_SECONDS:
            return False
        gone = int((await connection.execute(FORGET, KEPT, FORGET_MAX)).rpartition(" ")[2])
        if gone == FORGET_MAX:
            return True
        self.looked_at = time.monotonic()
        return False
