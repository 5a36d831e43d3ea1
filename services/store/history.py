"""Balances of the past: at an instant, and as they were known at an instant.

An old balance is the fold over the team's facts, those that were known and that had occurred by then. Nothing was saved for
it, so whatever arrived late counts where it belongs. A refill that is due and that nobody has appended yet counts as well: it will
be in the log with the team's next fact, and a worker that is down changes no balance.
"""

from dataclasses import dataclass, field
from datetime import datetime

from projections.balance import Paid, TeamBalance, end_lots, evolve
from schemas.cycles import cycle_at
from schemas.facts import PlanAssigned, Stored, UsageRecorded, UsageVoided
from services.store.balances import ExactBalance, fold_due
from services.store.connect import Connection
from services.store.cycles import refill
from services.store.read import read_team
from services.store.shards import shard_of

PAGE = 1_000  # facts between two chances for others to run

VOIDED = "SELECT usage_position FROM voided_usages WHERE shard = $1 AND team_id = $2"


@dataclass(slots=True)
class _Past:
    """A fold under way, with what it must remember for voids and refills."""

    team: TeamBalance
    voided: frozenset[int]
    paid: dict[int, tuple[Paid, ...]] = field(default_factory=dict)
    plan: tuple[str, PlanAssigned] | None = None


async def balance_as_of(
    connection: Connection, team_id: str, *, at: datetime, known_at: datetime
) -> ExactBalance | None:
    """The balance at `at`, by what was recorded until `known_at`; None if the team did not exist then."""
    shard = shard_of(team_id)
    voided = frozenset(row["usage_position"] for row in await connection.fetch(VOIDED, shard, team_id))
    past = _Past(TeamBalance(team_id), voided)
    after = 0
    while facts := await read_team(connection, shard, team_id, after, PAGE):
        for stored in facts:
            if stored.recorded_at > known_at:
                return _at(past, shard, at)
            if stored.occurred_at <= at:
                _take(past, stored, at)
        after = facts[-1].position
    return _at(past, shard, at)


def _take(past: _Past, stored: Stored, at: datetime) -> None:
    fact = stored.fact()
    if isinstance(fact, UsageVoided) and fact.usage_position not in past.paid:
        return  # the usage itself had not occurred by then
    paid = past.paid.get(fact.usage_position, ()) if isinstance(fact, UsageVoided) else ()
    # What was recorded after `at` is taken as if it had been in time: no lot ends before its end.
    entries = evolve(past.team, stored._replace(recorded_at=min(stored.recorded_at, at)), fact, paid, past.team.changed)
    if isinstance(fact, PlanAssigned):
        past.plan = (stored.id, fact)
    elif isinstance(fact, UsageRecorded) and stored.position in past.voided:
        past.paid[stored.position] = next((entry.paid for entry in entries if entry.paid), ())


def _at(past: _Past, shard: int, at: datetime) -> ExactBalance | None:
    team = past.team
    if past.plan is None:
        return None
    if team.cycle_ends_at <= at:
        plan_id, plan = past.plan
        first, last = (cycle_at(plan.anchor, plan.zone, instant) for instant in (team.cycle_ends_at, at))
        fold_due(team, shard, [refill(plan, plan_id, team.team_id, k) for k in range(first, last + 1)], at)
    end_lots(team, at, [])
    return ExactBalance(team, shard, team.position, at)
