"""Which fact made a balance low: the first at which it stood below, found by walking the team's log.

A low episode is named after that fact's source and id, and a charge after its episode. Both are the same wherever the
log puts the fact, however late the watch looks, and in a store that went back and recorded the same usage again.

The walk begins at the newest snapshot at which the balance was not below, some two thousand facts back at most. It is
made without a lock, once for each episode; what came since is walked under the lock. Where time alone lowered the
balance, a hold or credits that ended, it is the team's newest fact.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.state import LotPayment, TeamBalance
from schemas.facts import AMENDMENTS, HoldCaptured, Stored, UsageRecorded
from services.read_models.snapshots import newest_snapshot
from services.read_models.states import paid_for, settled_lots
from services.store.protocols import Reads
from services.store.read import READ_TEAM, stored_of
from services.store.shards import shard_of

PAGE = 500


@dataclass(slots=True)
class LowWalk:
    """A walk along a team's log: the first fact of the stretch below in which it is, and the newest."""

    team: TeamBalance
    first: Stored | None = None
    newest: Stored | None = None
    paid: dict[int, tuple[LotPayment, ...]] = field(default_factory=dict)

    @property
    def cause(self) -> Stored | None:
        """After what the episode that begins now is named; None for a team without facts."""
        return self.first or self.newest


def low_name(cause: Stored) -> str:
    """The id of the episode that a fact began."""
    return f"low:{hashlib.sha256(json.dumps([cause.source, cause.id]).encode()).hexdigest()}"


async def begin_walk(connection: Reads, team_id: str, now: datetime) -> LowWalk:
    """A walk from where the balance was not below, up to the log's head at this moment."""
    shard, known_at = shard_of(team_id), now
    team = await newest_snapshot(connection, shard, team_id, at=now, known_at=known_at)
    while team.position and not team.low and _is_below(team, team.as_of):
        known_at = team.as_of - timedelta(microseconds=1)
        team = await newest_snapshot(connection, shard, team_id, at=now, known_at=known_at)
    walk = LowWalk(team)
    await go_on(connection, walk)
    return walk


async def go_on(connection: Reads, walk: LowWalk) -> None:
    """Take a walk up to the log's head."""
    team_id = walk.team.team_id
    while rows := await connection.fetch(READ_TEAM, shard_of(team_id), team_id, walk.team.position, PAGE):
        for stored in map(stored_of, rows):
            await _take(connection, walk, stored)


async def _take(connection: Reads, walk: LowWalk, stored: Stored) -> None:
    team, fact = walk.team, stored.fact()
    if (earlier := earlier_usage(fact)) is None:
        entries = evolve(team, stored, fact)
    else:
        paid = walk.paid.get(earlier)
        if paid is None:
            paid = await paid_for(connection, stored.shard, team.team_id, earlier)
        entries = evolve(team, stored, fact, paid, await settled_lots(connection, stored.shard, team, paid))
    if isinstance(fact, UsageRecorded | HoldCaptured):
        walk.paid[stored.position] = next((entry.paid for entry in entries if entry.paid), ())
    walk.newest = stored
    if stored.source == AMENDMENTS:
        return  # the usage right behind it says what it comes to
    if team.low or not _is_below(team, stored.recorded_at):
        walk.first = None
    elif walk.first is None:
        walk.first = stored


def _is_below(team: TeamBalance, at: datetime) -> bool:
    return bool(team.plan_position) and team.available(at) < team.threshold
