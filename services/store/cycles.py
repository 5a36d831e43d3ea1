"""Cycles in the log: whoever appends first appends the refills that are due.

So a refill worker that was down for a week changes no balance: the first usage after a cycle's end brings its refill
along, in the same transaction and before itself. The id `cycle:{plan_assigned}:{k}` makes a second one impossible.

A row of `teams` only says whom to look at. Which credits, which zone and which cycle is next follow from the newest
plan and the newest refill of the log. A row that says something else is put right, and gives nobody anything.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from schemas.credits import MicroCredits
from schemas.cycles import Cycle, UnknownZone, cycle, cycle_at, cycle_start
from schemas.facts import CreditsRefilled, NewFact, PlanAssigned, UnknownFact, decode
from schemas.places import Place
from services.runtime.logs import get_log
from services.store.connect import Connection
from services.store.shards import shard_of

CYCLES = "creditwell:cycles"

ENDED = """
    SELECT team_id FROM unnest($2::smallint[], $3::text[]) AS asked (shard, team_id) JOIN teams USING (shard, team_id)
    WHERE cycle_ends_at <= $1
"""

# The conditions on types are those of the index `facts_of_cycles`, which has two facts a month for a team.
STANDINGS = """
    SELECT asked.team_id, p.position, p.id, p.occurred_at, p.body, r.body AS refill
    FROM unnest($1::smallint[], $2::text[]) AS asked (shard, team_id)
    CROSS JOIN LATERAL (
        SELECT f.position, f.id, f.occurred_at, f.body FROM facts f
        WHERE f.shard = asked.shard AND f.team_id = asked.team_id
          AND f.type IN ('plan.assigned.v1', 'credits.refilled.v1') AND f.type = 'plan.assigned.v1'
        ORDER BY f.position DESC LIMIT 1
    ) AS p
    LEFT JOIN LATERAL (
        SELECT f.body FROM facts f
        WHERE f.shard = asked.shard AND f.team_id = asked.team_id
          AND f.type IN ('plan.assigned.v1', 'credits.refilled.v1') AND f.type = 'credits.refilled.v1'
        ORDER BY f.position DESC LIMIT 1
    ) AS r ON true
"""

ASSIGN = """
    INSERT INTO teams (shard, team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at,
                       sealed_cycle)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8)
    ON CONFLICT (shard, team_id) DO UPDATE
    SET plan = excluded.plan, plan_assigned_id = excluded.plan_assigned_id, allowance_credits = excluded.allowance_credits
"""

OPEN_CYCLES = """
    UPDATE teams SET cycle = opened.cycle, cycle_ends_at = opened.ends_at
    FROM unnest($1::smallint[], $2::text[], $3::integer[], $4::timestamptz[]) AS opened (shard, team_id, cycle, ends_at)
    WHERE teams.shard = opened.shard AND teams.team_id = opened.team_id
"""


def refill(plan: PlanAssigned, plan_assigned_id: str, team_id: str, cycle: int) -> NewFact:
    """The refill of a cycle, with the one identity that it can have."""
    starts_at, ends_at = (cycle_start(plan.anchor, plan.zone, k) for k in (cycle, cycle + 1))
    return NewFact(team_id, CYCLES, f"cycle:{plan_assigned_id}:{cycle}", starts_at, CreditsRefilled(
        credits=plan.allowance_credits, plan=plan.plan, plan_assigned_id=plan_assigned_id, cycle=cycle,
        starts_at=starts_at, ends_at=ends_at,
    ))  # fmt: skip


class OpenCycle(NamedTuple):
    """A team's row of `teams`: its plan, and the last cycle whose refill is in the log."""

    plan: str
    plan_assigned_id: str
    anchor: datetime
    zone: str
    allowance_credits: MicroCredits
    cycle: int
    ends_at: datetime


class Standing(NamedTuple):
    """A team by its log: the newest plan, with its id and place, and the last cycle that was refilled."""

    team_id: str
    plan_id: str
    place: Place
    plan: PlanAssigned
    cycle: int

    @property
    def open_cycle(self) -> Cycle:
        """The last cycle that was refilled. Raises as `schemas.cycles` does."""
        return cycle(self.plan.anchor, self.plan.zone, self.cycle)


async def standings(connection: Connection, team_ids: Collection[str], *, known_zones: bool = False) -> list[Standing]:
    """What the log says of these teams, those without a plan left out. Under the locks of their shards it stays so.

    With `known_zones` those whose zone or newest plan this build can't read are left out too.

    Raises:
        UnknownZone: a team lives in a zone that this build does not know.
    """
    shards = [shard_of(team_id) for team_id in team_ids]
    rows = await connection.fetch(STANDINGS, shards, list(team_ids)) if team_ids else ()
    standing_teams: list[Standing] = []
    for row in rows:
        try:
            standing_teams.append(_standing(*row))
        except (UnknownFact, ValueError) as unreadable:
            if not known_zones:
                raise
            _say(row[0], str(unreadable))
    return standing_teams


def _standing(
    team_id: str, position: int, plan_id: str, assigned_at: datetime, body: bytes, refilled: bytes | None
) -> Standing:
    plan = decode(PlanAssigned.type, body)
    assert isinstance(plan, PlanAssigned), "by its type"
    if refilled is None:
        last = cycle_at(plan.anchor, plan.zone, assigned_at) - 1
    else:
        newest = decode(CreditsRefilled.type, refilled)
        assert isinstance(newest, CreditsRefilled), "by its type"
        last = newest.cycle
    return Standing(team_id, plan_id, Place(shard_of(team_id), position), plan, last)


async def refills_due(
    connection: Connection, team_ids: Collection[str], now: datetime, *, known_zones: bool = False
) -> list[NewFact]:
    """Every refill whose cycle has begun, oldest first. The caller holds the heads of the teams' shards.

    A row that waits for a refill which the log has is moved on. With `known_zones` a team whose zone is not in this
    build's tzdata is left out: what it used is recorded all the same, and its refill waits for a build that knows the
    zone. Nobody may decide about such a team.

    Raises:
        UnknownZone: a team lives in a zone that this build does not know.
    """
    rows = await connection.fetch(ENDED, now, [shard_of(team_id) for team_id in team_ids], list(team_ids))
    due: list[NewFact] = []
    refilled: list[Standing] = []
    for standing in await standings(connection, [row["team_id"] for row in rows], known_zones=known_zones):
        try:
            refills = _refills(standing.team_id, standing.plan_id, standing.plan, standing.cycle, now)
        except UnknownZone as unknown:
            if not known_zones:
                raise
            _say(standing.team_id, str(unknown))
            continue
        due += refills
        refilled += [] if refills else [standing]
    await _open_cycles(connection, ((one.team_id, one.cycle, one.open_cycle.ends_at) for one in refilled))
    return due


@lru_cache(maxsize=1_000)  # once, and not with each fact that is appended
def _say(team_id: str, why: str) -> None:
    get_log().error("this team's refill waits", team_id=team_id, why=why)


def refills_of(team_id: str, opened: OpenCycle, now: datetime) -> list[NewFact]:
    """The refills that a team's row waits for, oldest first: for who shows a balance before they are in the log."""
    if opened.ends_at > now:
        return []
    plan = PlanAssigned(
        plan=opened.plan, anchor=opened.anchor, zone=opened.zone, allowance_credits=opened.allowance_credits
    )
    return _refills(team_id, opened.plan_assigned_id, plan, opened.cycle, now)


def _refills(team_id: str, plan_id: str, plan: PlanAssigned, after: int, now: datetime) -> list[NewFact]:
    last = cycle_at(plan.anchor, plan.zone, now)
    return [refill(plan, plan_id, team_id, k) for k in range(after + 1, last + 1)]


async def move_cycles(connection: Connection, facts: Sequence[NewFact]) -> None:
    """Keep `teams` in step with the plans and refills among the facts just appended."""
    for new in facts:
        if isinstance(new.fact, PlanAssigned):
            await _assign(connection, new, new.fact)
    opened = [
        (new.team_id, new.fact) for new in facts if isinstance(new.fact, CreditsRefilled) and not new.fact.upgrade
    ]
    await _open_cycles(connection, ((team_id, fact.cycle, fact.ends_at) for team_id, fact in dict(opened).items()))


async def _open_cycles(connection: Connection, opened: Iterable[tuple[str, int, datetime]]) -> None:
    """Which cycle is the last that was refilled, and its end, by team."""
    teams = list(opened)
    if teams:
        ids, cycles, ends = map(list, zip(*teams, strict=True))
        await connection.execute(OPEN_CYCLES, [shard_of(team_id) for team_id in ids], ids, cycles, ends)


async def _assign(connection: Connection, new: NewFact, plan: PlanAssigned) -> None:
    before_first = cycle_at(plan.anchor, plan.zone, new.occurred_at) - 1
    await connection.execute(
        ASSIGN, shard_of(new.team_id), new.team_id, plan.plan, new.id, plan.anchor, plan.zone, plan.allowance_credits,
        before_first, cycle_start(plan.anchor, plan.zone, before_first + 1),
    )  # fmt: skip
