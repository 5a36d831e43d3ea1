"""Usage by day as analysts count it: worked out anew from all facts before its checkpoint, and compared.

What was counted piece by piece, by whoever came, must be what one look at the log says.
"""

from collections.abc import Callable

import asyncpg

from services.read_models.days import READER
from services.store.connect import Connection

PAGE = 5_000

Differs = Callable[[str, str, str, str, object, object], None]  # team, table, row, column, should be, is

# Each as text: what it is of, and its uses, quantity and credits.
HAS = """
    SELECT team_id, concat_ws(', ', day, day_utc, coalesce(c.member, '-'), coalesce(c.feature, '-'), coalesce(c.tier, '-'), c.source) AS name,
           concat_ws(' ', c.uses, coalesce(c.quantity::text, '-'), c.credits) AS value
    FROM usage_days d
    CROSS JOIN LATERAL unnest(members, features, tiers, sources, uses, quantities, credits)
        AS c (member, feature, tier, source, uses, quantity, credits)
    WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
    UNION ALL
    SELECT team_id, concat_ws(', ', day, day_utc, 'hour ' || h.hour), concat_ws(' ', h.uses, h.credits)
    FROM usage_days d CROSS JOIN LATERAL unnest(hours, uses_by_hour, credits_by_hour) AS h (hour, uses, credits)
    WHERE shard = $1 AND ($2::text IS NULL OR team_id = $2)
"""
SHOULD_HAVE = """
    SELECT team_id,
           CASE grouping(hour) WHEN 1 THEN concat_ws(', ', day, day_utc, member, feature, tier, source)
                               ELSE concat_ws(', ', day, day_utc, 'hour ' || hour) END AS name,
           CASE grouping(hour) WHEN 1 THEN concat_ws(' ', count(*), coalesce(sum(quantity)::text, '-'), sum(credits))
                               ELSE concat_ws(' ', count(*), sum(credits)) END AS value
    FROM (
        SELECT f.team_id, (f.occurred_at AT TIME ZONE t.zone)::date AS day, (f.occurred_at AT TIME ZONE 'UTC')::date AS day_utc,
               extract(hour FROM f.occurred_at AT TIME ZONE t.zone) AS hour,
               coalesce(body.said ->> 'member_id', '-') AS member, coalesce(body.said ->> 'feature', '-') AS feature,
               coalesce(body.said -> 'attributes' ->> 'tier', '-') AS tier, f.source,
               (body.said ->> 'quantity')::numeric AS quantity, (body.said ->> 'credits')::bigint AS credits
        FROM checkpoints c
        JOIN facts f ON f.shard = c.shard AND f.position <= c.position
        JOIN teams t ON t.shard = f.shard AND t.team_id = f.team_id
        CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
        WHERE c.reader = $3 AND c.shard = $1 AND ($2::text IS NULL OR f.team_id = $2)
          AND f.type IN ('usage.recorded.v1', 'hold.captured.v1')
    ) AS used
    GROUP BY GROUPING SETS ((team_id, day, day_utc, member, feature, tier, source), (team_id, day, day_utc, hour))
"""
DIFFERENCES = f"""
    SELECT team_id, name, should.value AS should, has.value AS has
    FROM ({SHOULD_HAVE}) AS should FULL JOIN ({HAS}) AS has USING (team_id, name)
    WHERE should.value IS DISTINCT FROM has.value
    ORDER BY team_id, name
"""


async def compare_days(connection: Connection, shard: int, team_id: str | None, differs: Differs) -> None:
    """Say where rows of a shard, or of one team, are not what the log gives."""
    try:
        async with connection.transaction():
            async for row in connection.cursor(DIFFERENCES, shard, team_id, READER, prefetch=PAGE):
                differs(
                    row["team_id"], "usage_days", row["name"], "uses, quantity and credits",
                    row["should"] or "nothing", row["has"] or "missing",
                )  # fmt: skip
    except asyncpg.DataError as wrong:  # a body that nobody can read, which is told by whoever folds it
        differs(team_id or "every team", "usage_days", f"shard {shard}", "what the log gives", "readable", str(wrong))
