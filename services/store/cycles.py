"""Cycles in the log: whoever appends first appends the refills that are due.

So a refill worker that was down for a week changes no balance: the first usage after a cycle's end brings its refill
along, in the same transaction and before itself. The id `cycle:{plan_assigned}:{k}` makes a second one impossible.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from schemas.credits import MicroCredits
from schemas.cycles import cycle_at, cycle_start
from schemas.facts import CreditsRefilled, NewFact, PlanAssigned
from services.store.connect import Connection
from services.store.shards import shard_of

CYCLES = "creditwell:cycles"

DUE = """
    SELECT team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at
    FROM unnest($2::smallint[], $3::text[]) AS asked (shard, team_id) JOIN teams USING (shard, team_id)
    WHERE cycle_ends_at <= $1
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
    WHERE teams.shard = opened.shard AND teams.team_id = opened.team_id AND teams.cycle < opened.cycle
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


async def refills_due(connection: Connection, team_ids: Collection[str], now: datetime) -> list[NewFact]:
    """Every refill whose cycle has begun, oldest first. The caller holds the heads of the teams' shards."""
    due = await connection.fetch(DUE, now, [shard_of(team_id) for team_id in team_ids], list(team_ids))
    return [new for team_id, *columns in due for new in refills_of(team_id, OpenCycle(*columns), now)]


def refills_of(team_id: str, opened: OpenCycle, now: datetime) -> list[NewFact]:
    """The refills of a team whose cycles have begun by `now`, oldest first."""
    if opened.ends_at > now:
        return []
    plan = PlanAssigned(
        plan=opened.plan, anchor=opened.anchor, zone=opened.zone, allowance_credits=opened.allowance_credits
    )
    last = cycle_at(plan.anchor, plan.zone, now)
    return [refill(plan, opened.plan_assigned_id, team_id, k) for k in range(opened.cycle + 1, last + 1)]


async def move_cycles(connection: Connection, facts: Sequence[NewFact]) -> None:
    """Keep `teams` in step with the plans and refills among the facts just appended."""
    for new in facts:
        if isinstance(new.fact, PlanAssigned):
            await _assign(connection, new, new.fact)
    opened = [
        (new.team_id, new.fact) for new in facts if isinstance(new.fact, CreditsRefilled) and not new.fact.upgrade
    ]
    if opened:
        latest = dict(opened)
        await connection.execute(
            OPEN_CYCLES, [shard_of(team_id) for team_id in latest], list(latest),
            [fact.cycle for fact in latest.values()], [fact.ends_at for fact in latest.values()],
        )  # fmt: skip


async def _assign(connection: Connection, new: NewFact, plan: PlanAssigned) -> None:
    before_first = cycle_at(plan.anchor, plan.zone, new.occurred_at) - 1
    await connection.execute(
        ASSIGN, shard_of(new.team_id), new.team_id, plan.plan, new.id, plan.anchor, plan.zone, plan.allowance_credits,
        before_first, cycle_start(plan.anchor, plan.zone, before_first + 1),
    )  # fmt: skip
