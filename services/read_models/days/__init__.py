"""Usage for analysts, decoded once: the log is counted by team and day into `usage_days`, piece by piece.

Who counts comes behind everybody: nobody waits for it, for views decode the rest of the log that is not counted yet. A
piece and the checkpoint behind it are one transaction. So each fact is counted once, whoever counts, and however often
it is killed. The arrays of a row are in order, so that a row follows from the facts before the checkpoint alone.
"""

from dataclasses import dataclass
from time import monotonic

import asyncpg

from services.runtime.logs import get_log
from services.store.connect import Connection
from services.store.halts import Halts
from services.store.shards import SHARDS

READER = "days"
FACTS_OF_A_SHARD = 500  # in one piece: 64 shards take a tenth of a second
EVERY_SECONDS = 60.0  # what comes meanwhile is decoded for whoever asks: a third of a second for 1,000 a second

PAUSE_SECONDS = 1.0  # from one piece of a backlog to the next: most of a core is left to everybody else

MAKE_ROWS = """
    INSERT INTO checkpoints (reader, shard) SELECT $1, generate_series(0, $2::integer - 1) ON CONFLICT DO NOTHING
"""

# Locked, so that the next statement, whose snapshot is younger, reads what any other has counted before.
BEHIND = """
    SELECT c.shard, c.position AS low, least(c.position + $2, h.next - 1) AS high
    FROM checkpoints c JOIN shard_heads h USING (shard)
    WHERE c.reader = $1 AND c.position < h.next - 1
    ORDER BY c.shard FOR UPDATE OF c SKIP LOCKED
"""

# Ordered by position, so that no plan looks for the facts by team, of which there are far more.
COUNT = """
    WITH piece AS (
        SELECT * FROM unnest($2::smallint[], $3::bigint[], $4::bigint[]) AS p (shard, low, high)
    ), moved AS (
        UPDATE checkpoints c SET position = p.high FROM piece p WHERE c.reader = $1 AND c.shard = p.shard
    ), used AS MATERIALIZED (
        SELECT f.shard, f.team_id, (f.occurred_at AT TIME ZONE t.zone)::date AS day,
               (f.occurred_at AT TIME ZONE 'UTC')::date AS day_utc,
               extract(hour FROM f.occurred_at AT TIME ZONE t.zone)::smallint AS hour,
               body.said ->> 'member_id' AS member, body.said ->> 'feature' AS feature,
               body.said -> 'attributes' ->> 'tier' AS tier, f.source,
               (body.said ->> 'quantity')::numeric AS quantity, (body.said ->> 'credits')::bigint AS credits
        FROM piece p
        CROSS JOIN LATERAL (
            SELECT * FROM facts o WHERE o.shard = p.shard AND o.position > p.low AND o.position <= p.high
            ORDER BY o.position OFFSET 0
        ) f
        JOIN teams t ON t.shard = f.shard AND t.team_id = f.team_id
        CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
        WHERE f.type IN ('usage.recorded.v1', 'hold.captured.v1')
    ), before AS MATERIALIZED (
        SELECT d.* FROM (SELECT DISTINCT shard, team_id, day, day_utc FROM used) u
        JOIN usage_days d USING (shard, team_id, day, day_utc)
    ), cell AS (
        SELECT shard, team_id, day, day_utc, member, feature, tier, source,
               sum(uses)::bigint AS uses, sum(quantity) AS quantity, sum(credits)::bigint AS credits
        FROM (
            SELECT shard, team_id, day, day_utc, member, feature, tier, source, 1 AS uses, quantity, credits FROM used
            UNION ALL
            SELECT b.shard, b.team_id, b.day, b.day_utc, c.*
            FROM before b
            CROSS JOIN LATERAL unnest(b.members, b.features, b.tiers, b.sources, b.uses, b.quantities, b.credits) AS c
        ) AS both_of_them
        GROUP BY shard, team_id, day, day_utc, member, feature, tier, source
    ), clock AS (
        SELECT shard, team_id, day, day_utc, hour, sum(uses)::bigint AS uses, sum(credits)::bigint AS credits
        FROM (
            SELECT shard, team_id, day, day_utc, hour, 1 AS uses, credits FROM used
            UNION ALL
            SELECT b.shard, b.team_id, b.day, b.day_utc, h.*
            FROM before b CROSS JOIN LATERAL unnest(b.hours, b.uses_by_hour, b.credits_by_hour) AS h
        ) AS both_of_them
        GROUP BY shard, team_id, day, day_utc, hour
    )
    INSERT INTO usage_days
    SELECT shard, team_id, day, day_utc, members, features, tiers, sources, uses, quantities, credits,
           hours, uses_by_hour, credits_by_hour
    FROM (
        SELECT shard, team_id, day, day_utc,
               array_agg(member ORDER BY member, feature, tier, source) AS members,
               array_agg(feature ORDER BY member, feature, tier, source) AS features,
               array_agg(tier ORDER BY member, feature, tier, source) AS tiers,
               array_agg(source ORDER BY member, feature, tier, source) AS sources,
               array_agg(uses ORDER BY member, feature, tier, source) AS uses,
               array_agg(quantity ORDER BY member, feature, tier, source) AS quantities,
               array_agg(credits ORDER BY member, feature, tier, source) AS credits
        FROM cell GROUP BY shard, team_id, day, day_utc
    ) AS by_cell
    JOIN (
        SELECT shard, team_id, day, day_utc, array_agg(hour ORDER BY hour) AS hours,
               array_agg(uses ORDER BY hour) AS uses_by_hour, array_agg(credits ORDER BY hour) AS credits_by_hour
        FROM clock GROUP BY shard, team_id, day, day_utc
    ) AS by_hour USING (shard, team_id, day, day_utc)
    ON CONFLICT (shard, team_id, day, day_utc) DO UPDATE
    SET members = excluded.members, features = excluded.features, tiers = excluded.tiers, sources = excluded.sources,
        uses = excluded.uses, quantities = excluded.quantities, credits = excluded.credits,
        hours = excluded.hours, uses_by_hour = excluded.uses_by_hour, credits_by_hour = excluded.credits_by_hour
"""


async def count_days(connection: Connection, facts_of_a_shard: int = FACTS_OF_A_SHARD) -> int:
    """Count the next facts of each shard; how many there were, of any kind. 0 when all is counted."""
    async with connection.transaction():
        behind = await connection.fetch(BEHIND, READER, facts_of_a_shard)
        if not behind:
            return 0
        shards, lows, highs = (list(column) for column in zip(*behind, strict=True))
        await connection.execute(COUNT, READER, shards, lows, highs)
    counted: int = sum(highs) - sum(lows)
    return counted


async def make_rows(connection: Connection) -> None:
    """A checkpoint at the beginning of each shard, where there is none."""
    await connection.execute(MAKE_ROWS, READER, SHARDS)


@dataclass(slots=True)
class DaysDue:
    """When the next piece is counted: soon while there is more, else after a minute."""

    halts: Halts
    due_at: float = float("-inf")
    facts_of_a_shard: int = FACTS_OF_A_SHARD

    async def count_when_due(self, connection: Connection) -> None:
        """Count a piece if it is time. What can't be counted halts nothing else: views decode it, or fail as we do."""
        if monotonic() < self.due_at or READER in self.halts.waiting():
            return
        counted = 0
        async with self.halts.guard(connection, READER):
            await make_rows(connection)
            counted = await self._count(connection)
        self.due_at = monotonic() + (PAUSE_SECONDS if counted else EVERY_SECONDS)

    async def _count(self, connection: Connection) -> int:
        """As `count_days`. A piece that takes longer than a statement may is half as large the next time."""
        try:
            return await count_days(connection, self.facts_of_a_shard)
        except asyncpg.QueryCanceledError as too_long:
            if self.facts_of_a_shard == 1:
                raise
            self.facts_of_a_shard //= 2
            get_log().warning("days are counted in smaller pieces", facts=self.facts_of_a_shard, why=str(too_long))
            return self.facts_of_a_shard
