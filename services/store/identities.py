"""Was this fact stored before, and was it the same?

A fact is (team, source, id), for ever. What came again is a duplicate when the digest of what it says is equal, and a
conflict when not. The log keeps everything that was said, so a digest is worked out when an identity is seen twice and
costs nothing before.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from schemas.facts import NewFact, Stored
from services.store.connect import Connection
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of


class Identity(NamedTuple):
    """What makes a fact one and the same."""

    team_id: str
    source: str
    id: str


FIND = f"""
    SELECT {FACT_COLUMNS}
    FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[]) AS wanted (shard, team_id, source, id)
    JOIN facts USING (shard, team_id, source, id)
"""

COUNT_REPEATS = """
    INSERT INTO repeats (shard, team_id, source, id, duplicates, conflicts)
    SELECT shard, team_id, source, id, duplicates, conflicts
    FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
        AS came (shard, team_id, source, id, duplicates, conflicts)
    ON CONFLICT (shard, team_id, source, id) DO UPDATE
    SET duplicates = repeats.duplicates + excluded.duplicates, conflicts = repeats.conflicts + excluded.conflicts
"""


async def find(connection: Connection, identities: Collection[Identity]) -> dict[Identity, Stored]:
    """The facts among these identities that are in the log."""
    if not identities:
        return {}
    teams, sources, ids = map(list, zip(*identities, strict=True))
    rows = await connection.fetch(FIND, [shard_of(team) for team in teams], teams, sources, ids)
    return {Identity(row["team_id"], row["source"], row["id"]): stored_of(row) for row in rows}


async def not_stored(connection: Connection, facts: Sequence[NewFact]) -> list[NewFact]:
    """Those whose identity is not in the log; asked under the locks of their shards, so that it stays so."""
    stored = await find(connection, [Identity(new.team_id, new.source, new.id) for new in facts])
    return [new for new in facts if Identity(new.team_id, new.source, new.id) not in stored]


async def count_repeats(connection: Connection, repeats: Sequence[tuple[Identity, bool]]) -> None:
    """Count what came again, for the receipt: `(identity, it was the same)`, within the caller's transaction."""
    counts: dict[Identity, list[int]] = {}
    for identity, same in repeats:
        counts.setdefault(identity, [0, 0])[not same] += 1
    if not counts:
        return
    ordered = sorted(counts)  # a fixed order: two recorders never wait for each other in a circle
    await connection.execute(
        COUNT_REPEATS, [shard_of(key.team_id) for key in ordered], [key.team_id for key in ordered],
        [key.source for key in ordered], [key.id for key in ordered],
        [counts[key][0] for key in ordered], [counts[key][1] for key in ordered],
    )  # fmt: skip
