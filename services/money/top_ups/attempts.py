"""Rows of charges: how far each attempt has come at Stripe, and who works on it.

A charge that begins gets its row in the transaction that appends its request, so that one attempt at most is open for a
team. Who works on an attempt holds a lease by the database's clock. It only saves Stripe the trouble: two workers on
one attempt confirm the same intent, which is paid once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from projections.top_ups.state import TopUps
from schemas.facts import TopUpRequested
from services.money.top_ups.log import lock_top_ups, read_top_ups
from services.store.append import Beside
from services.store.connect import Connection
from services.store.shards import shard_of

LEASE_SECONDS = 30  # more than two of the longest requests

# Written beside the request.
BEGIN = """
    INSERT INTO top_up_attempts (shard, team_id, attempt_id, owner, leased_until, look_at, requested_at)
    SELECT $1::smallint, $2::text, $3::uuid, $4::text, clock_timestamp() + make_interval(secs => $5), $6::timestamptz, $6
    FROM appended
    ON CONFLICT (shard, team_id, attempt_id) DO UPDATE
    SET owner = excluded.owner, leased_until = excluded.leased_until, look_at = excluded.look_at,
        requested_at = excluded.requested_at, payment_intent_id = NULL, create_try = 0, ended_at = NULL
"""

LEASE = """
    UPDATE top_up_attempts SET owner = $3, leased_until = clock_timestamp() + make_interval(secs => $4)
    WHERE shard = $1 AND team_id = $2 AND ended_at IS NULL AND (owner = $3 OR leased_until <= clock_timestamp())
    RETURNING attempt_id, create_try, confirm_try, cancel_try, looks,
              coalesce(clock_timestamp() - asked_at > make_interval(secs => $5), false) AS waited_long,
              clock_timestamp() - requested_at > make_interval(secs => $6) AS too_old
"""

RENEW = """
    UPDATE top_up_attempts SET leased_until = clock_timestamp() + make_interval(secs => $5)
    WHERE shard = $1 AND team_id = $2 AND attempt_id = $3 AND owner = $4 AND ended_at IS NULL
"""

RELEASE = """
    UPDATE top_up_attempts
    SET leased_until = '-infinity', looks = looks + 1, look_at = clock_timestamp() + make_interval(secs => $5)
    WHERE shard = $1 AND team_id = $2 AND attempt_id = $3 AND owner = $4 AND ended_at IS NULL
"""

# How far an attempt has come: statements for `note`.
SENT = "UPDATE top_up_attempts SET create_try = $4 WHERE shard = $1 AND team_id = $2 AND attempt_id = $3"
NEW_CONFIRM = """
    UPDATE top_up_attempts SET confirm_try = confirm_try + 1 WHERE shard = $1 AND team_id = $2 AND attempt_id = $3
    RETURNING confirm_try
"""
NEW_CANCEL = "UPDATE top_up_attempts SET cancel_try = cancel_try + 1 WHERE (shard, team_id, attempt_id) = ($1, $2, $3)"
NOTE_REQUEST = (
    "UPDATE top_up_attempts SET asked_at = clock_timestamp() WHERE (shard, team_id, attempt_id) = ($1, $2, $3)"
)
# Written beside the facts that say so.
CREATED = (
    "UPDATE top_up_attempts SET payment_intent_id = $4 FROM appended WHERE (shard, team_id, attempt_id) = ($1, $2, $3)"
)
END = """
    UPDATE top_up_attempts SET ended_at = clock_timestamp() FROM appended
    WHERE shard = $1 AND team_id = $2 AND attempt_id = $3 AND ended_at IS NULL
"""

# By the log these are over, whatever the rows say.
END_OTHERS = """
    UPDATE top_up_attempts SET ended_at = clock_timestamp()
    WHERE shard = $1 AND team_id = $2 AND attempt_id IS DISTINCT FROM $3 AND ended_at IS NULL
"""
# An open row is no conflict to be found by ON CONFLICT: while its worker moves it on, that may miss it, and then the
# other unique index, of open attempts, would refuse the insert.
REOPEN = """
    INSERT INTO top_up_attempts (shard, team_id, attempt_id, payment_intent_id, owner, leased_until, look_at, requested_at)
    SELECT $1::smallint, $2::text, $3::uuid, $4::text, '', '-infinity', $5::timestamptz, $5
    WHERE NOT EXISTS (
        SELECT FROM top_up_attempts WHERE shard = $1 AND team_id = $2 AND attempt_id = $3 AND ended_at IS NULL
    )
    ON CONFLICT (shard, team_id, attempt_id) DO UPDATE SET ended_at = NULL, create_try = 1
    WHERE top_up_attempts.ended_at IS NOT NULL
"""

# By the attempt's name as well: Stripe may be quicker than the record of the intent's id.
WAKE = """
    UPDATE top_up_attempts SET look_at = clock_timestamp(), looks = 0
    WHERE ended_at IS NULL AND (payment_intent_id = $1 OR attempt_id::text = $2)
"""

# The unique index on intents finds it.
ENDED = "SELECT team_id, attempt_id FROM top_up_attempts WHERE payment_intent_id = $1 AND ended_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Lease:
    """An open attempt that this worker may work on, and how far its requests have come."""

    team_id: str
    attempt_id: UUID
    create_try: int
    confirm_try: int
    cancel_try: int
    looks: int
    waited_long: bool
    too_old: bool


async def begin_attempt(
    connection: Connection, team_id: str, request: TopUpRequested, owner: str, now: datetime
) -> Beside:
    """What opens the attempt, to be written with the fact that requests it. By the log no other is open, so none is."""
    shard, attempt_id = shard_of(team_id), UUID(request.attempt_id)
    await connection.execute(END_OTHERS, shard, team_id, attempt_id)
    return Beside(BEGIN, (shard, team_id, attempt_id, owner, LEASE_SECONDS, now))


async def lease(
    connection: Connection, team_id: str, owner: str, owner_waits: timedelta, ends_after: timedelta
) -> Lease | None:
    """The team's open attempt, to work on for a while; None when there is none or somebody else works on it."""
    row = await connection.fetchrow(
        LEASE, shard_of(team_id), team_id, owner, LEASE_SECONDS, owner_waits.total_seconds(), ends_after.total_seconds()
    )
    return None if row is None else Lease(team_id, *row)


async def renew(connection: Connection, held: Lease, owner: str) -> bool:
    """Hold an attempt for as long again; False where somebody else has it, or it is over."""
    done = await connection.execute(RENEW, shard_of(held.team_id), held.team_id, held.attempt_id, owner, LEASE_SECONDS)
    return done != "UPDATE 0"


async def put_right(connection: Connection, state: TopUps) -> None:
    """The rows of a team's attempts say what its facts say: the open attempt is open, and no other is.

    `state` is at the head of the log, whose shard the caller has locked.
    """
    shard, attempt = shard_of(state.team_id), state.open
    attempt_id = UUID(attempt.attempt_id) if attempt is not None else None
    await connection.execute(END_OTHERS, shard, state.team_id, attempt_id)
    if attempt is not None:
        await connection.execute(
            REOPEN, shard, state.team_id, attempt_id, attempt.payment_intent_id, attempt.requested_at
        )


async def note(connection: Connection, held: Lease, statement: str, *values: object) -> None:
    """Write down how far a lease's attempt has come; nothing if it is over."""
    await connection.execute(statement, shard_of(held.team_id), held.team_id, held.attempt_id, *values)


def ended(team_id: str, attempt_id: UUID) -> Beside:
    """Nobody works on this attempt any more: written with the fact that says how it ended; nothing if it is over."""
    return Beside(END, (shard_of(team_id), team_id, attempt_id))


def created(held: Lease, intent_id: str) -> Beside:
    """The attempt has this intent: written with the fact that says so."""
    return Beside(CREATED, (shard_of(held.team_id), held.team_id, held.attempt_id, intent_id))


async def next_confirm(connection: Connection, team_id: str, attempt_id: UUID) -> int:
    """The number of the next request to confirm an attempt's intent, which nobody else has."""
    number: int = await connection.fetchval(NEW_CONFIRM, shard_of(team_id), team_id, attempt_id)
    return number


async def release(connection: Connection, held: Lease, owner: str, wait_seconds: float) -> None:
    """Let go of an attempt, and say when to look again; nothing if it is over."""
    await note(connection, held, RELEASE, owner, wait_seconds)


async def wake(connection: Connection, intent_id: str | None, attempt_id: str | None) -> bool:
    """Have the attempt looked at that Stripe has news of; whoever looks asks Stripe for the truth.

    False if there is none.
    """
    return await connection.execute(WAKE, intent_id, attempt_id) != "UPDATE 0"


async def reopen(connection: Connection, intent_id: str | None) -> bool:
    """Put the row of an attempt right that somebody has set to ended, though the log has it open.

    `intent_id` is that of its intent, of which Stripe has news. False if the attempt is over.
    """
    row = await connection.fetchrow(ENDED, intent_id)
    if row is None or not _is_open(await read_top_ups(connection, row["team_id"]), row["attempt_id"]):
        return False
    state, _ = await lock_top_ups(connection, row["team_id"])
    await put_right(connection, state)
    return await wake(connection, intent_id, None)


def _is_open(state: TopUps, attempt_id: UUID) -> bool:
    return state.open is not None and state.open.attempt_id == str(attempt_id)
