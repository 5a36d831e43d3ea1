"""Holds that end without a command: usage that names one settles it, and the clock ends the others.

The holds of a batch of usage are settled in the transaction of the batch. `hold` says what a hold is.
"""

from collections.abc import Collection
from datetime import datetime

from schemas.facts import HoldExpired, HoldReleased, NewFact
from services.credits.holds.hold import HOLDS, HoldKey, HoldState, end_of
from services.store.append import AlreadyStored, append, lock_shard
from services.store.connect import Connection
from services.store.identities import Identity, find
from services.store.shards import shard_of

# At the moment of the last append, where that is later than now: a shard's time never goes back, though the clock may.
# Dead holds are not told apart from holds that never were: neither can be settled.
LIVE_OR_SETTLED = """
    SELECT h.team_id, h.hold_id, h.state
    FROM unnest($1::smallint[], $2::text[], $3::text[]) AS named (shard, team_id, hold_id)
    JOIN holds h USING (shard, team_id, hold_id)
    WHERE h.state = 'settled' OR h.state = 'open' AND h.expires_at > greatest(clock_timestamp(), $4)
"""

SETTLE = """
    UPDATE holds SET state = 'settled'
    FROM unnest($1::smallint[], $2::text[], $3::text[]) AS named (shard, team_id, hold_id)
    WHERE holds.shard = named.shard AND holds.team_id = named.team_id AND holds.hold_id = named.hold_id
      AND holds.state = 'open' AND holds.expires_at > $4
    RETURNING holds.hold_id
"""

LASTING = """
    SELECT FROM unnest($1::smallint[], $2::text[], $3::text[]) AS named (shard, team_id, hold_id)
    JOIN holds h USING (shard, team_id, hold_id) WHERE h.state = 'open' AND h.expires_at > $4
"""

ENDED = """
    SELECT hold_id, expires_at FROM holds
    WHERE shard = $1 AND team_id = $2 AND state = 'open' AND expires_at <= $3 ORDER BY expires_at, hold_id LIMIT $4
"""

END = """
    UPDATE holds SET state = ended.state
    FROM unnest($3::text[], $4::text[]) AS ended (hold_id, state)
    WHERE holds.shard = $1 AND holds.team_id = $2 AND holds.hold_id = ended.hold_id AND holds.state = 'open'
"""

ENDED_AS = {HoldReleased.type: HoldState.RELEASED, HoldExpired.type: HoldState.EXPIRED}  # else by a capture


async def live_or_settled(
    connection: Connection, holds: Collection[HoldKey], appended_at: datetime | None = None
) -> dict[HoldKey, HoldState]:
    """Which of these holds usage would settle, and which were settled; asked before the lock, by batches that name any.

    `appended_at` is when the batch was recorded, had it not been in vain: the same heads will give it no earlier time.
    """
    if not holds:
        return {}
    rows = await connection.fetch(LIVE_OR_SETTLED, *_named(holds), appended_at)
    return {HoldKey(row["team_id"], row["hold_id"]): HoldState(row["state"]) for row in rows}


async def settle_holds(
    connection: Connection, holds: Collection[HoldKey], ended: Collection[HoldKey], recorded_at: datetime
) -> None:
    """Settle the holds of usage just appended, in the same transaction and so under the shards' locks.

    `ended` are those that the usage names and that were taken for over: a fold goes by `recorded_at`, and must find
    them so.

    Raises:
        AlreadyStored: one of them has ended meanwhile, or lasts longer now; judge the batch again.
    """
    if holds:
        settled = await connection.fetch(SETTLE, *_named(holds), recorded_at)
        if len(settled) < len(holds):
            raise AlreadyStored(f"{len(holds) - len(settled)} of {len(holds)} holds have ended meanwhile")
    if ended and (lasting := await connection.fetch(LASTING, *_named(ended), recorded_at)):
        raise AlreadyStored(f"{len(lasting)} of {len(ended)} holds have been made longer meanwhile")


def _named(holds: Collection[HoldKey]) -> tuple[list[int], list[str], list[str]]:
    teams, ids = map(list, zip(*holds, strict=True))
    return [shard_of(team) for team in teams], teams, ids


async def expire_holds(connection: Connection, team_id: str, most: int) -> int:
    """Append the end of a team's holds whose time is over, at most so many, in the caller's transaction; how many."""
    now = await lock_shard(connection, team_id)
    rows = await connection.fetch(ENDED, shard_of(team_id), team_id, now, most)
    if not rows:
        return 0
    facts = [
        NewFact(team_id, HOLDS, end_of(row["hold_id"]), row["expires_at"], HoldExpired(hold_id=row["hold_id"]))
        for row in rows
    ]
    # A row that was set back moves on to what the log says of its hold.
    stored = await find(connection, [Identity(new.team_id, new.source, new.id) for new in facts])
    if missing := [new for new in facts if Identity(new.team_id, new.source, new.id) not in stored]:
        await append(connection, missing)
    states = {end.id: ENDED_AS.get(end.type, HoldState.SETTLED) for end in stored.values()}
    ended = [states.get(new.id, HoldState.EXPIRED).value for new in facts]
    await connection.execute(END, shard_of(team_id), team_id, [row["hold_id"] for row in rows], ended)
    return len(missing)
