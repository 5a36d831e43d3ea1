"""Sealing: a cycle becomes final, so that a statement about it never changes again.

A cycle is sealed a grace period after its end, and not before everything that Kafka received up to that moment is in
the log. A recorder that is behind holds sealing up. A recorder that is idle does not. Until then late usage burns what
was left of the lots of its own time; afterwards it counts in the open cycle. Whether two refill workers seal at once or
one comes a week late makes no difference: the head of the shard is locked, and the id `seal:{plan_assigned}:{k}` is
taken once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from schemas.cycles import UnknownZone, cycle, cycle_at
from schemas.facts import NewFact, PeriodSealed
from schemas.topics import USAGE
from services.runtime.crashpoints import crashpoint
from services.runtime.logs import get_log
from services.store.append import append, lock_shard
from services.store.connect import Connection
from services.store.cycles import CYCLES, Standing, standings
from services.store.identities import not_stored
from services.store.read import read_team
from services.store.shards import shard_of

# A cursor that never moved stands at '-infinity': whoever has not read anything can't say that nothing is missing.
PASSED = "SELECT nullif(min(passed_at), '-infinity') FROM kafka_cursors WHERE topic = $1"

OPEN_TOO_LONG = """
    SELECT shard, team_id FROM teams
    WHERE sealed_cycle < cycle - 1 AND (shard, team_id) > ($1, $2) ORDER BY shard, team_id LIMIT $3
"""

SEALED = """
    SELECT team_id, sealed_cycle FROM teams WHERE shard = $1 AND team_id = ANY($2) AND sealed_cycle < cycle - 1
"""

MOVE = """
    UPDATE teams SET sealed_cycle = sealed.cycle
    FROM unnest($2::text[], $3::integer[]) AS sealed (team_id, cycle)
    WHERE teams.shard = $1 AND teams.team_id = sealed.team_id
"""


async def passed_at(connection: Connection) -> datetime | None:
    """Everything that Kafka received before this moment is in the log; None when nobody can say."""
    moment: datetime | None = await connection.fetchval(PASSED, USAGE)
    return moment


async def teams_to_seal(connection: Connection, after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
    """The next (shard, team) with a cycle that is over and not sealed, in order."""
    return [(row["shard"], row["team_id"]) for row in await connection.fetch(OPEN_TOO_LONG, *after, limit)]


async def seal(connection: Connection, team_ids: Sequence[str], passed: datetime, grace: timedelta) -> int:
    """Seal what is final of these teams of one shard, in the caller's transaction; how many cycles that were."""
    shard, now = shard_of(team_ids[0]), await lock_shard(connection, team_ids[0])
    sealed = {row["team_id"]: row["sealed_cycle"] for row in await connection.fetch(SEALED, shard, list(team_ids))}
    facts: list[NewFact] = []
    for team in await standings(connection, list(sealed)):
        try:
            facts += await _final(connection, team, sealed[team.team_id], now, min(now, passed) - grace)
        except UnknownZone as unknown:  # its seals wait, and nobody else's
            get_log().warning("can't tell when its cycles end", team_id=team.team_id, why=str(unknown))
    if facts:
        # Where a row was set back, its seals are stored: it moves on, and nothing is said twice.
        if missing := await not_stored(connection, facts):
            await append(connection, missing)
        last = {new.team_id: new.fact.cycle for new in facts if isinstance(new.fact, PeriodSealed)}
        await connection.execute(MOVE, shard, list(last), list(last.values()))
        crashpoint("refill:sealed")
    return len(facts)


async def _final(
    connection: Connection, team: Standing, sealed_cycle: int, now: datetime, before: datetime
) -> list[NewFact]:
    """The seals of a team's cycles that ended before a moment, oldest first."""
    facts = []
    for k in range(await _first_open(connection, team, sealed_cycle), team.cycle):
        over = cycle(team.plan.anchor, team.plan.zone, k)
        if over.ends_at > before:
            break
        fact = PeriodSealed(plan_assigned_id=team.plan_id, cycle=k, starts_at=over.starts_at, ends_at=over.ends_at)
        facts.append(NewFact(team.team_id, CYCLES, f"seal:{fact.plan_assigned_id}:{k}", now, fact))
    return facts


async def _first_open(connection: Connection, team: Standing, sealed_cycle: int) -> int:
    """The cycle after the one that was sealed last; never before the team's first, whatever its row says."""
    if sealed_cycle > 0:
        return sealed_cycle + 1
    (first,) = await read_team(connection, team.place.shard, team.team_id, 0, 1)
    return max(sealed_cycle + 1, cycle_at(team.plan.anchor, team.plan.zone, first.occurred_at))
