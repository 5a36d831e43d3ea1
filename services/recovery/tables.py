"""The tables that move with an append, of the teams that are touched: made by what `replay` holds them to.

A row goes the way that the log went from where it stood, so the triggers that let rows go one way alone let it pass.
Projections need nothing: their checkpoints stand before the tail, and the projector folds on.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from schemas.facts import RATE_CARD_TEAM, Stored, TopUpRequested, UsageVoided
from schemas.pricing import RateCards
from services.audit.derived import FACTS_OF_TEAM, PAGE
from services.audit.expected import Expected
from services.audit.follows import TeamAudit
from services.store.connect import Connection
from services.store.read import stored_of

TEAMS = """
    INSERT INTO teams (shard, team_id, plan, plan_assigned_id, anchor, zone, allowance_credits, cycle, cycle_ends_at, sealed_cycle)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (shard, team_id) DO UPDATE
    SET plan = excluded.plan, plan_assigned_id = excluded.plan_assigned_id, allowance_credits = excluded.allowance_credits,
        cycle = excluded.cycle, cycle_ends_at = excluded.cycle_ends_at, sealed_cycle = excluded.sealed_cycle
"""
HOLDS = """
    INSERT INTO holds (shard, team_id, hold_id, member_id, credits, placed_at, expires_at, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (shard, team_id, hold_id) DO UPDATE
    SET credits = excluded.credits, expires_at = excluded.expires_at, state = excluded.state
    WHERE holds.state = 'open'
"""
LIMITS = """
    INSERT INTO member_limits (shard, team_id, member_id, number, position, daily, monthly, hard)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (shard, team_id, member_id) DO UPDATE
    SET number = excluded.number, position = excluded.position, daily = excluded.daily, monthly = excluded.monthly,
        hard = excluded.hard
    WHERE member_limits.number < excluded.number
"""
ERASED = "SELECT follow_erasure($1, $2)"
VOIDS = """
    INSERT INTO voided_usages (shard, team_id, usage_position, void_position) VALUES ($1, $2, $3, $4)
    ON CONFLICT (shard, team_id, usage_position) DO NOTHING
"""
# Nobody works on it, and it is due: whoever takes it looks at Stripe first.
ATTEMPTS = """
    INSERT INTO top_up_attempts (
        shard, team_id, attempt_id, payment_intent_id, owner, leased_until, look_at, requested_at, ended_at
    )
    VALUES ($1, $2, $3, $4, '', '-infinity', '-infinity', $6::timestamptz, CASE WHEN NOT $5 THEN $6::timestamptz END)
    ON CONFLICT (shard, team_id, attempt_id) DO UPDATE
    SET payment_intent_id = coalesce(top_up_attempts.payment_intent_id, excluded.payment_intent_id),
        ended_at = CASE WHEN NOT $5 THEN coalesce(top_up_attempts.ended_at, excluded.ended_at) END
"""
# The page itself is Stripe's and can't be found again by the log; what was paid on it is.
CHECKOUTS = """
    INSERT INTO checkouts (
        shard, team_id, id, mode, customer_id, asked_by, return_url, pack, name, credits, charge_cents, currency,
        taxed, keeps_card, state, detail
    )
    VALUES ($1, $2, $3, 'payment', '', '', '', $4, $4, $5, $6, $7, $8, $9, CASE WHEN $10 THEN 'credited' ELSE 'expired' END,
            'its page was lost when the store went back in time')
    ON CONFLICT (shard, team_id, id) DO UPDATE SET state = 'credited', look_at = NULL WHERE $10
"""

# Of an attempt that began before the tail: its row is there.
BEFORE = datetime.min.replace(tzinfo=UTC)


async def make_tables(
    connection: Connection, shard: int, tail: Collection[Stored], cards: RateCards | None
) -> list[str]:
    """Make the rows of each team that the tail touches; what in the tail does not follow from the facts before it."""
    wrong: list[str] = []
    begins = min(stored.position for stored in tail)
    requested = {
        (stored.team_id, fact.attempt_id): stored.recorded_at
        for stored in tail if isinstance(fact := stored.fact(), TopUpRequested)
    }  # fmt: skip
    for team_id in sorted({stored.team_id for stored in tail} - {RATE_CARD_TEAM}):
        facts = await _facts(connection, shard, team_id, [one for one in tail if one.team_id == team_id])
        taken_back = frozenset(fact.usage_position for one in facts if isinstance(fact := one.fact(), UsageVoided))
        expected, audit = Expected({}), TeamAudit(team_id, cards, taken_back)
        for stored in facts:
            fact = stored.fact()
            expected.take(stored, fact)
            problems = audit.take(stored, fact)
            if stored.position >= begins:
                wrong += [f"{stored.place} of {team_id}: {what}" for what in problems]
        await _keep(connection, shard, expected, requested)
    return wrong


async def _facts(connection: Connection, shard: int, team_id: str, tail: Collection[Stored]) -> list[Stored]:
    """The team's facts, without the plain usage before the tail where nothing of the tail takes any back."""
    every = any(stored.type == UsageVoided.type for stored in tail)
    facts: list[Stored] = []
    while rows := await connection.fetch(
        FACTS_OF_TEAM, shard, facts[-1].position if facts else 0, every, PAGE, team_id
    ):
        facts += map(stored_of, rows)
    return sorted({stored.position: stored for stored in (*facts, *tail)}.values(), key=lambda one: one.position)


async def _keep(
    connection: Connection, shard: int, made: Expected, requested: Mapping[tuple[str, str], datetime]
) -> None:
    for row in made.team_rows():
        await connection.execute(TEAMS, shard, *row)
    for name, hold in made.holds.items():
        await connection.execute(
            HOLDS, shard, *name, hold.member_id, hold.credits, hold.placed_at, hold.expires_at, hold.state
        )
    for limit in made.limits.values():
        await connection.execute(LIMITS, shard, *limit)
    for position, _ in made.erased.values():
        await connection.execute(ERASED, shard, position)
    for void in made.void_rows():
        await connection.execute(VOIDS, shard, *void)
    # Those that have ended first: one at most is open.
    for team_id, attempt_id, intent_id, is_open in sorted(made.attempt_rows(), key=lambda row: bool(row[3])):
        at = requested.get((str(team_id), str(attempt_id)))
        if at is not None or not is_open:
            await connection.execute(ATTEMPTS, shard, team_id, attempt_id, intent_id, is_open, at or BEFORE)
    for purchase in made.purchase_rows():
        await connection.execute(CHECKOUTS, shard, *purchase)
