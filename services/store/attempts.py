"""Top-ups in PostgreSQL: what the log says about a team's, and who works on which charge.

Decisions are read from the log: a saved fold and the few facts after it. What is appended is folded on in the same transaction,
and a charge that begins gets its row there, so that one attempt at most is open for a team.

Who works on an attempt holds a lease by the database's clock. It only saves Stripe the trouble: two workers on one attempt
confirm the same intent, which is paid once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from projections.top_up import VERSION, TopUps, evolve
from schemas.facts import AnyFact, NewFact, Stored, TopUpRequested
from services.store.append import append
from services.store.connect import Connection
from services.store.read import stored_of
from services.store.shards import shard_of

TOP_UPS = "creditwell:top_ups"
STRIPE = "creditwell:stripe"
LEASE_SECONDS = 30  # more than two of the longest requests

SAVED = "SELECT state FROM top_ups WHERE shard = $1 AND team_id = $2 AND version = $3"

# The condition is the index's own.
TAIL = """
    SELECT shard, position, recorded_at, occurred_at, team_id, source, id, type, body FROM facts
    WHERE shard = $1 AND team_id = $2 AND position > $3 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
    ORDER BY position
"""

SAVE = """
    INSERT INTO top_ups (shard, team_id, position, version, state, due_at) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (shard, team_id) DO UPDATE
    SET position = excluded.position, version = excluded.version, state = excluded.state, due_at = excluded.due_at
"""

BEGIN = """
    INSERT INTO top_up_attempts (shard, team_id, attempt_id, owner, leased_until, look_at, requested_at)
    VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $6)
"""

# Low by the log, and something happened since the last decision, or its time has come.
DECISIONS_DUE = """
    SELECT b.team_id FROM balance b LEFT JOIN top_ups t USING (shard, team_id)
    WHERE b.low AND b.top_up_enabled AND (
        t.due_at <= clock_timestamp() OR EXISTS (
            SELECT FROM facts f
            WHERE f.shard = b.shard AND f.team_id = b.team_id AND f.position > coalesce(t.position, 0)
              AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
        )
    )
    LIMIT $1
"""

ATTEMPTS_DUE = """
    SELECT team_id, attempt_id FROM top_up_attempts
    WHERE ended_at IS NULL AND look_at <= clock_timestamp() AND leased_until <= clock_timestamp()
    ORDER BY look_at LIMIT $1
"""

LEASE = """
    UPDATE top_up_attempts SET owner = $3, leased_until = clock_timestamp() + make_interval(secs => $4)
    WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL AND (owner = $3 OR leased_until <= clock_timestamp())
    RETURNING attempt_id, payment_intent_id, create_try, confirm_try, cancel_try, looks,
              coalesce(clock_timestamp() - asked_at > make_interval(secs => $5), false) AS waited_long
"""

SENT = "UPDATE top_up_attempts SET create_try = $3 WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL"
CREATED = "UPDATE top_up_attempts SET payment_intent_id = $3 WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL"
ASKED = "UPDATE top_up_attempts SET asked_at = clock_timestamp() WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL"
NEW_CONFIRM = "UPDATE top_up_attempts SET confirm_try = confirm_try + 1 WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL"
NEW_CANCEL = "UPDATE top_up_attempts SET cancel_try = cancel_try + 1 WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL"
END = "UPDATE top_up_attempts SET ended_at = clock_timestamp() WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL"

RELEASE = """
    UPDATE top_up_attempts
    SET leased_until = '-infinity', looks = looks + 1, look_at = clock_timestamp() + make_interval(secs => $4)
    WHERE shard = $1 AND team_id = $2 AND owner = $3 AND ended_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """An open attempt that this worker may work on, and how far its requests have come."""

    team_id: str
    attempt_id: UUID
    payment_intent_id: str | None
    create_try: int
    confirm_try: int
    cancel_try: int
    looks: int
    waited_long: bool


async def read_top_ups(connection: Connection, team_id: str) -> TopUps:
    """A team's top-ups at the head of the log. Called under the shard's lock it is what decisions rest on."""
    shard = shard_of(team_id)
    saved = await connection.fetchval(SAVED, shard, team_id, VERSION)
    state = TopUps(team_id=team_id) if saved is None else TopUps.model_validate_json(saved)
    for row in await connection.fetch(TAIL, shard, team_id, state.position):
        stored = stored_of(row)
        state = evolve(state, stored, stored.fact())
    return state


async def save_top_ups(connection: Connection, state: TopUps) -> None:
    """Remember the fold, so that the next read is short."""
    due_at = state.point.at if state.point is not None else None
    await connection.execute(
        SAVE, shard_of(state.team_id), state.team_id, state.position, VERSION, state.model_dump_json(), due_at
    )


async def append_top_up(connection: Connection, state: TopUps, facts: Sequence[NewFact]) -> TopUps:
    """Append facts about a team's top-ups and fold them on; the caller holds the shard's head."""
    appended = await append(connection, facts)
    for new, place in zip(facts, appended.places, strict=True):
        stored = Stored(
            place.shard, place.position, appended.recorded_at, new.occurred_at, new.team_id, new.source, new.id,
            new.fact.type, new.fact.body(),
        )  # fmt: skip
        state = evolve(state, stored, new.fact)
    await save_top_ups(connection, state)
    return state


async def begin_attempt(connection: Connection, team_id: str, request: TopUpRequested, owner: str, now: datetime) -> None:
    """Open the attempt in the transaction that appends its request; raises UniqueViolationError if another is open."""
    await connection.execute(
        BEGIN, shard_of(team_id), team_id, UUID(request.attempt_id), owner, LEASE_SECONDS, now
    )
