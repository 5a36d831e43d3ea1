"""Top-ups in PostgreSQL: what the log says about a team's, and who works on which charge.

Whatever charges or gives credits is decided from the team's facts alone, folded anew (`lock_top_ups`): a saved fold
could have been edited. It only says whom to look at, and shows people how things are. What is appended is folded on in
the same transaction, and a charge that begins gets its row there, so that one attempt at most is open for a team.

Who works on an attempt holds a lease by the database's clock. It only saves Stripe the trouble: two workers on one
attempt confirm the same intent, which is paid once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from projections.top_ups.fold import evolve
from projections.top_ups.state import VERSION, TopUps
from schemas.facts import NewFact, Stored, TopUpRequested
from schemas.places import Place
from services.store.append import Beside, LockedHead, append, take_head
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

TOP_UPS = "creditwell:top_ups"
STRIPE = "creditwell:stripe"
LEASE_SECONDS = 30  # more than two of the longest requests

SAVED = "SELECT state FROM top_ups WHERE shard = $1 AND team_id = $2 AND version = $3"

# The condition is the index's own.
TAIL = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND position > $3 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
    ORDER BY position
"""

# Of the newest low episode: what made the balance low made its charges, too. The condition is the index's own.
TRACE = """
    SELECT traces.traceparent
    FROM (
        SELECT shard, position FROM facts
        WHERE shard = $1 AND team_id = $2 AND type = 'balance.ran_low.v1'
          AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
        ORDER BY position DESC LIMIT 1
    ) AS low JOIN traces USING (shard, position)
"""

SAVE = """
    INSERT INTO top_ups (shard, team_id, position, version, state, enabled, due_at, enough_at)
    SELECT $1::smallint, $2::text, $3::bigint, $4::integer, $5::text, $6::boolean, $7::timestamptz, $8::bigint {source}
    ON CONFLICT (shard, team_id) DO UPDATE
    SET position = excluded.position, version = excluded.version, state = excluded.state, enabled = excluded.enabled,
        due_at = excluded.due_at, enough_at = excluded.enough_at
"""

BEGIN = """
    INSERT INTO top_up_attempts (shard, team_id, attempt_id, owner, leased_until, look_at, requested_at)
    VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $6)
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


async def lock_top_ups(connection: Connection, team_id: str) -> tuple[TopUps, LockedHead]:
    """A team's top-ups at the head of the log, by its facts alone, and that head, locked until COMMIT.

    The facts are read before the lock, and under it only those that came meanwhile.
    """
    state = await fold_top_ups(connection, team_id)
    head = await take_head(connection, team_id)
    return await catch_up(connection, state), head


async def fold_top_ups(connection: Connection, team_id: str) -> TopUps:
    """A team's top-ups by its facts alone, as they are this moment."""
    return await catch_up(connection, TopUps(team_id=team_id))


async def read_top_ups(connection: Connection, team_id: str) -> TopUps:
    """A team's top-ups by the saved fold and the facts after it: quick, and for showing; no money moves by it."""
    saved = await connection.fetchval(SAVED, shard_of(team_id), team_id, VERSION)
    return await catch_up(connection, TopUps(team_id=team_id) if saved is None else TopUps.model_validate_json(saved))


async def catch_up(connection: Connection, state: TopUps) -> TopUps:
    """A state, taken over the facts that came after it."""
    for row in await connection.fetch(TAIL, shard_of(state.team_id), state.team_id, state.position):
        stored = stored_of(row)
        state = evolve(state, stored, stored.fact())
    return state


async def trace_of_episode(connection: Connection, team_id: str) -> str | None:
    """The trace of what made a team's balance low the last time, where it is known."""
    trace: str | None = await connection.fetchval(TRACE, shard_of(team_id), team_id)
    return trace


async def save_top_ups(connection: Connection, state: TopUps, *, enough_at: int = 0) -> None:
    """Remember the fold, so that the next read is short.

    `enough_at` is the position at which the balance was not low.
    """
    await connection.execute(SAVE.format(source=""), *_saved(state, enough_at))


def _saved(state: TopUps, enough_at: int = 0) -> tuple[object, ...]:
    due_at = state.point.at if state.point is not None else None
    return (
        shard_of(state.team_id), state.team_id, state.position, VERSION, state.model_dump_json(), state.enabled, due_at,
        enough_at,
    )  # fmt: skip


async def append_top_up(
    connection: Connection,
    state: TopUps,
    facts: Sequence[NewFact],
    head: LockedHead | None = None,
    beside: Sequence[Beside] = (),
) -> TopUps:
    """Append facts about a team's top-ups, fold them on and save the fold, in one statement, with what is `beside`.

    The caller holds the shard's head. It gives the head where nothing was appended since it was taken, which saves a
    round trip.
    """
    head = head or await take_head(connection, state.team_id)
    after = state

    def folded_on(places: Sequence[Place]) -> Sequence[Beside]:
        nonlocal after
        for new, place in zip(facts, places, strict=True):
            stored = Stored(
                place.shard, place.position, head.recorded_at, new.occurred_at, new.team_id, new.source, new.id,
                new.fact.type, new.fact.body(),
            )  # fmt: skip
            after = evolve(after, stored, new.fact)
        return (*beside, Beside(SAVE.format(source="FROM appended"), _saved(after)))

    await append(connection, facts, head, folded_on)
    return after


async def begin_attempt(
    connection: Connection, team_id: str, request: TopUpRequested, owner: str, now: datetime
) -> None:
    """Open the attempt in the transaction that appends its request. By the log no other is open, so none is."""
    await connection.execute(END_OTHERS, shard_of(team_id), team_id, UUID(request.attempt_id))
    await connection.execute(BEGIN, shard_of(team_id), team_id, UUID(request.attempt_id), owner, LEASE_SECONDS, now)


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


async def is_stored(connection: Connection, team_id: str, fact_id: str) -> bool:
    """True if this fact about a team's top-ups is in the log."""
    identity = Identity(team_id, TOP_UPS, fact_id)
    return identity in await find(connection, [identity])


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
