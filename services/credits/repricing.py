"""What every team would have paid by a rate card that is not published: reads the log, writes nothing."""

from collections.abc import AsyncIterator
from datetime import datetime

from projections.repricing import Repriced, Repricing
from schemas.catalog import Catalog
from schemas.pricing import CompiledCard
from services.runtime.errors import Refused
from services.store.connect import Connection
from services.store.read import read_team

PAGE = 5_000
TEAMS = "SELECT shard, team_id FROM teams WHERE $1::text IS NULL OR team_id = $1 ORDER BY shard, team_id"
VOIDED = "SELECT usage_position FROM voided_usages WHERE shard = $1 AND team_id = $2"


async def reprice(
    connection: Connection,
    card: CompiledCard,
    catalog: Catalog,
    *,
    since: datetime,
    until: datetime,
    team_id: str | None = None,
) -> AsyncIterator[Repriced]:
    """Each team, or the one that is named, by this card between two instants; the catalog says what top-ups cost.

    Raises:
        Refused: `unknown_team`.
    """
    teams = await connection.fetch(TEAMS, team_id)
    if team_id is not None and not teams:
        raise Refused("unknown_team", f"there is no team {team_id!r}")
    for shard, team in teams:
        voided = frozenset(row[0] for row in await connection.fetch(VOIDED, shard, team))
        repricing, after = Repricing((team, shard), card, catalog, since, voided), 0
        while facts := await read_team(connection, shard, team, after, PAGE):
            repricing.take(facts)
            after = facts[-1].position
        yield repricing.result(until)
