"""Balances of the past: at an instant, and as they were known at an instant.

An old balance is the fold over the team's facts, those that were known and that had occurred by then. So whatever
arrived late counts where it belongs. A refill that is due and that nobody has appended yet counts as well: it will be
in the log with the team's next fact, and a worker that is down changes no balance.

The fold begins at the newest snapshot that it would have come by itself to, and reads what may count of the facts since
then, not all of them: some two thousand, and those that were late. What is slow is what has to be: an instant before
the recorded beginning of most facts, as for a team whose past was imported out of order, folds each of them that had
occurred by then.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.lots import end_lots
from projections.balance.state import LotPayment, TeamBalance
from schemas.cycles import cycle_at
from schemas.facts import RATE_CARD_TEAM, HoldCaptured, PlanAssigned, Stored, UsageRecorded
from schemas.instants import instant
from services.read_models.balances import ExactBalance, fold_due
from services.read_models.snapshots import Span, facts_within, newest_snapshot, rest_of, spans_to_read
from services.read_models.states import paid_for, settled_lots
from services.runtime.errors import Refused
from services.store.cycles import refill
from services.store.protocols import Reads
from services.store.read import FACT_COLUMNS, READ_TEAM, stored_of
from services.store.shards import shard_of

PAGE = 200  # facts between two chances for others to run
PASS_PAGE = 5_000

VOIDED = """
    SELECT v.usage_position FROM unnest($3::bigint[], $4::bigint[]) AS among (after, until)
    JOIN voided_usages v ON v.usage_position > among.after AND v.usage_position <= among.until
    WHERE v.shard = $1 AND v.team_id = $2
"""
# Of a whole shard, for one pass over it.
VOIDED_OF_SHARD = (
    "SELECT team_id, usage_position FROM voided_usages WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)"
)
OCCURRED = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND position > $2 AND position <= $3 AND occurred_at <= $4 AND ($5::text IS NULL OR team_id = $5)
    ORDER BY position LIMIT $6
"""


@dataclass(slots=True)
class _Past:
    """A fold under way, since `began`, with what it must remember for voids."""

    team: TeamBalance
    shard: int
    at: datetime
    began: int
    voided: frozenset[int]
    plan: tuple[str, PlanAssigned] | None = None  # the id and the fact of the last one that was read
    paid: dict[int, tuple[LotPayment, ...]] = field(default_factory=dict)


def refuse_the_future(now: datetime, *instants: datetime | None) -> None:
    """Nobody knows a balance of the future. Raises Refused: in_the_future."""
    latest = max((at for at in instants if at is not None), default=now)
    if latest > now:
        raise Refused("in_the_future", f"{instant(latest)} has not come yet; it is {instant(now)}")


async def balance_as_of(
    connection: Reads, team_id: str, *, at: datetime, known_at: datetime, page: int = PAGE
) -> ExactBalance | None:
    """The balance at `at`, by what was recorded until `known_at`; None if the team did not exist then."""
    shard = shard_of(team_id)
    team = await newest_snapshot(connection, shard, team_id, at=at, known_at=known_at)
    spans = await spans_to_read(connection, shard, team_id, team.position, at=at, known_at=known_at)
    voided = await _voided(connection, shard, team_id, spans)
    past = _Past(team, shard, at, team.position, voided)
    while spans:
        facts = await facts_within(connection, shard, team_id, spans, at=at, limit=page)
        for stored in facts:
            if stored.recorded_at > known_at:
                return await _at(connection, past)
            await _take(connection, past, stored)
        spans = rest_of(spans, facts[-1].position) if len(facts) == page else []
    return await _at(connection, past)


async def balances_as_of(
    connection: Reads, shard: int, *, at: datetime, known_until: int, team_id: str | None = None
) -> AsyncIterator[ExactBalance]:
    """The balances at `at` of every team of a shard that existed then, or of one, by the facts up to a position.

    One pass over the shard's facts, without snapshots; in the order of the teams' ids.
    """
    voided: dict[str, set[int]] = {}
    for row in await connection.fetch(VOIDED_OF_SHARD, shard, team_id):
        voided.setdefault(row["team_id"], set()).add(row["usage_position"])
    teams: dict[str, _Past] = {}
    after = 0
    while rows := await connection.fetch(OCCURRED, shard, after, known_until, at, team_id, PASS_PAGE):
        for stored in map(stored_of, rows):
            after = stored.position
            if stored.team_id == RATE_CARD_TEAM:
                continue
            past = teams.get(stored.team_id)
            if past is None:
                of_team = frozenset(voided.get(stored.team_id, ()))
                past = teams[stored.team_id] = _Past(TeamBalance(stored.team_id), shard, at, 0, of_team)
            await _take(connection, past, stored)
    for _, past in sorted(teams.items()):
        balance = await _at(connection, past)
        if balance is not None:
            yield balance


async def _voided(connection: Reads, shard: int, team_id: str, spans: list[Span]) -> frozenset[int]:
    """The usages that will be read and were taken back at some time: only of them who paid must be remembered."""
    if not spans:
        return frozenset()
    rows = await connection.fetch(VOIDED, shard, team_id, *map(list, zip(*spans, strict=True)))
    return frozenset(row["usage_position"] for row in rows)


async def _take(connection: Reads, past: _Past, stored: Stored) -> None:
    team, fact = past.team, stored.fact()
    # What was recorded after `at` is taken as if it had been in time: no lot ends before its end.
    timely = stored._replace(recorded_at=min(stored.recorded_at, past.at))
    if isinstance(fact, PlanAssigned):
        past.plan = (stored.id, fact)
    if (earlier := earlier_usage(fact)) is None:
        entries = evolve(team, timely, fact)
    else:
        paid = past.paid.get(earlier)
        if earlier <= past.began:
            paid = await paid_for(connection, past.shard, team.team_id, earlier)
        if paid is None:  # the usage itself had not occurred by then
            return
        entries = evolve(team, timely, fact, paid, await settled_lots(connection, past.shard, team, paid))
    if isinstance(fact, UsageRecorded | HoldCaptured) and stored.position in past.voided:
        past.paid[stored.position] = next((entry.paid for entry in entries if entry.paid), ())


async def _at(connection: Reads, past: _Past) -> ExactBalance | None:
    team, shard, at = past.team, past.shard, past.at
    if not team.plan_position:
        return None
    due = team.cycle_ends_at <= at
    return bring_to(team, shard, at, past.plan or (await _plan(connection, past) if due else None))


def bring_to(team: TeamBalance, shard: int, at: datetime, plan: tuple[str, PlanAssigned] | None) -> ExactBalance:
    """A state with all facts that count at an instant, as it is then: refills that are due, ends of lots.

    `plan` has the id and the fact of the newest plan; it is needed where the state's cycle has ended by then.
    """
    if team.cycle_ends_at <= at:
        assert plan is not None, "a team with a cycle has a plan"
        plan_id, assigned = plan
        first, last = (cycle_at(assigned.anchor, assigned.zone, instant) for instant in (team.cycle_ends_at, at))
        fold_due(team, shard, [refill(assigned, plan_id, team.team_id, k) for k in range(first, last + 1)], at)
    end_lots(team, at, [])
    return ExactBalance(team, shard, team.position, at)


async def _plan(connection: Reads, past: _Past) -> tuple[str, PlanAssigned]:
    row = await connection.fetchrow(READ_TEAM, past.shard, past.team.team_id, past.team.plan_position - 1, 1)
    assert row is not None, "a plan's fact is in the log for ever"
    stored, fact = stored_of(row), stored_of(row).fact()
    assert isinstance(fact, PlanAssigned)
    return stored.id, fact
