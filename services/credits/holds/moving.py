"""A hold is captured, extended or released, under the lock of the team's shard.

This is how a hold moves by definition; `at_once` comes to the same without waiting for the lock first.
"""

from collections.abc import Callable

from schemas.facts import NewFact
from schemas.places import Place
from services.credits.holds.hold import HOLDS, CurrentHold, Decide, end_of, open_hold
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Refused
from services.store.append import AlreadyStored, Beside, LockedHead, append
from services.store.connect import Connection
from services.store.shards import shard_of

LOCK = "SELECT * FROM lock_hold($1, $2, $3)"

MOVE = """
    UPDATE holds SET credits = $4, expires_at = $5, state = $6 FROM appended
    WHERE shard = $1 AND team_id = $2 AND hold_id = $3
"""

# What the caller has to remember of a command, written with its fact, in the same statement.
Keep = Callable[[CurrentHold, Place], Beside]


async def move(
    connection: Connection, team_id: str, hold_id: str, decide: Decide, *, keep: Keep | None = None
) -> tuple[CurrentHold, Place]:
    """Extend, capture or release a hold, in the caller's transaction.

    Raises:
        Refused: unknown_hold, hold_settled, hold_released, hold_expired, or what `decide` raises.
    """
    row = await connection.fetchrow(LOCK, shard_of(team_id), team_id, hold_id)
    assert row is not None, "a function that answers with one row"
    head = LockedHead(*row[:6])
    hold = open_hold(hold_id, row[6:], head.recorded_at)
    moved, facts = decide(hold, head.recorded_at)
    new = [NewFact(team_id, HOLDS, id_, head.recorded_at, fact) for id_, fact in facts]
    to = (shard_of(team_id), team_id, hold_id, moved.credits, moved.expires_at, moved.state.value)
    beside = Beside(MOVE, to)
    try:
        appended = await append(
            connection, new, head, lambda at: (beside,) if keep is None else (beside, keep(moved, at[-1]))
        )
    except AlreadyStored as ended:
        if new[-1].id != end_of(hold_id):
            raise
        # By the log, whatever its row says.
        raise Refused("hold_settled", f"hold {hold_id!r:.140} has ended already") from ended
    crashpoint("hold:moved")
    return moved, appended.places[-1]
