"""Facts of ours that come in a row: a team's first plan, its second; rate card 1, rate card 2.

Their ids carry the number, so the next one follows from the log and from nothing else. A repeated attempt meets the
identity that is taken. The index that keeps identities apart finds the last one.
"""

from schemas.facts import Stored
from services.store.connect import Connection
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

LAST = f"""
    SELECT {FACT_COLUMNS}
    FROM facts WHERE shard = $1 AND team_id = $2 AND source = $3 ORDER BY id DESC LIMIT 1
"""

ALL = f"""
    SELECT {FACT_COLUMNS}
    FROM facts WHERE shard = $1 AND team_id = $2 AND source = $3 ORDER BY id
"""


def numbered(name: str, number: int) -> str:
    """The id of the n-th fact of a row; padded, so that ids sort as their numbers do."""
    return f"{name}:{number:06d}"


def number_of(fact_id: str) -> int:
    """The number in such an id."""
    return int(fact_id.rpartition(":")[2])


async def last_of(connection: Connection, team_id: str, source: str) -> Stored | None:
    """The newest fact of a row, None where there is none yet."""
    row = await connection.fetchrow(LAST, shard_of(team_id), team_id, source)
    return None if row is None else stored_of(row)


async def all_of(connection: Connection, team_id: str, source: str) -> list[Stored]:
    """Every fact of a row, in order."""
    return [stored_of(row) for row in await connection.fetch(ALL, shard_of(team_id), team_id, source)]
