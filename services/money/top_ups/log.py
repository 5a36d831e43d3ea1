"""A team's top-ups as the log tells them, folded anew or on from the fold that is saved.

Whatever charges or gives credits is decided from the team's facts alone (`lock_top_ups`): a saved fold could have been
edited. It only says whom to look at, and shows people how things are. What is appended is folded on in the same
transaction.
"""

from collections.abc import Sequence

from projections.top_ups.fold import evolve
from projections.top_ups.state import VERSION, TopUps
from schemas.facts import NewFact, Stored
from schemas.places import Place
from services.runtime.tracing.context import NO_TRAIL, Trail
from services.store.append import Beside, LockedHead, append, take_head
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.read import FACT_COLUMNS, stored_of
from services.store.shards import shard_of

TOP_UPS = "creditwell:top_ups"
STRIPE = "creditwell:stripe"

SAVED = "SELECT state FROM top_ups WHERE shard = $1 AND team_id = $2 AND version = $3"

# The condition is the index's own.
TAIL = f"""
    SELECT {FACT_COLUMNS} FROM facts
    WHERE shard = $1 AND team_id = $2 AND position > $3 AND type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%'
    ORDER BY position
"""

# Of the newest low episode: what made the balance low made its charges, too. The condition is the index's own.
TRAIL = """
    SELECT traces.traceparent, traces.request_id
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


async def trail_of_episode(connection: Connection, team_id: str) -> Trail:
    """Of what made a team's balance low the last time, where it is known."""
    row = await connection.fetchrow(TRAIL, shard_of(team_id), team_id)
    return NO_TRAIL if row is None else Trail(*row)


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


async def is_stored(connection: Connection, team_id: str, fact_id: str) -> bool:
    """True if this fact about a team's top-ups is in the log."""
    identity = Identity(team_id, TOP_UPS, fact_id)
    return identity in await find(connection, [identity])
