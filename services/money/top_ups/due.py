"""Whom the top-up worker looks at: decisions that are due, attempts to go on with. No money moves by these tables."""

from collections.abc import Sequence

from projections.versions import live
from services.store.connect import Connection

# Low by the log, and something happened since the last decision, or its time has come. A balance that was found above
# the threshold (`enough_at`) is looked at again once it has moved. Where top-ups are off nothing is due, but that they
# were switched off; teams that run low without them may be many.
DECISIONS_DUE = live("""
    SELECT b.team_id FROM balance_v0 b LEFT JOIN top_ups t USING (shard, team_id)
    WHERE b.low AND b.team_id <> ALL($2) AND (b.top_up_enabled OR t.enabled) AND (
        (t.due_at <= statement_timestamp() AND (b.position > t.enough_at OR b.next_end <= statement_timestamp()))
        OR EXISTS (
            SELECT FROM facts f
            WHERE f.shard = b.shard AND f.team_id = b.team_id AND f.position > coalesce(t.position, 0)
              AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
        )
    )
    ORDER BY t.due_at NULLS FIRST LIMIT $1
""")

ATTEMPTS_DUE = """
    SELECT team_id, attempt_id FROM top_up_attempts
    WHERE ended_at IS NULL AND look_at <= statement_timestamp() AND leased_until <= statement_timestamp()
      AND team_id <> ALL($2)
    ORDER BY look_at LIMIT $1
"""

# Whoever is asked to confirm at the bank may take their time; everybody else should be quick.
OLDEST = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(requested_at)), 0)::float8
    FROM top_up_attempts WHERE ended_at IS NULL AND asked_at IS NULL
"""


async def teams_due(connection: Connection, limit: int, but: Sequence[str] = ()) -> set[str]:
    """Teams, `but` these, with a decision that is due or may be, or with an attempt to go on with."""
    decisions = await connection.fetch(DECISIONS_DUE, limit, list(but))
    under_way = await connection.fetch(ATTEMPTS_DUE, limit, list(but))
    return {row["team_id"] for row in (*decisions, *under_way)}


async def oldest_seconds(connection: Connection) -> float:
    """For how long the oldest attempt has been under way that waits for nobody's confirmation.

    0 where there is none.
    """
    seconds: float = await connection.fetchval(OLDEST)
    return seconds
