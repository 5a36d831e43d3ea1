"""Usage by day as analysts count it: worked out anew from all facts before its checkpoint, and compared.

What was counted piece by piece, by whoever came, must be what one look at the log says.
"""

from collections.abc import Callable

from services.read_models.days import READER
from services.store.connect import Connection

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
    SELECT team_id, concat_ws(', ', local::date, utc::date, coalesce(said ->> 'member_id', '-'), coalesce(said ->> 'feature', '-'),
                              coalesce(said -> 'attributes' ->> 'tier', '-'), source) AS name,
           concat_ws(' ', count(*), coalesce(sum((said ->> 'quantity')::numeric)::text, '-'),
                     sum((said ->> 'credits')::bigint)) AS value
    FROM use GROUP BY 1, 2
    UNION ALL
    SELECT team_id, concat_ws(', ', local::date, utc::date, 'hour ' || extract(hour FROM local)),
           concat_ws(' ', count(*), sum((said ->> 'credits')::bigint))
    FROM use GROUP BY 1, 2
"""
DIFFERENCES = f"""
    WITH use AS MATERIALIZED (
        SELECT f.team_id, f.source, f.occurred_at AT TIME ZONE t.zone AS local, f.occurred_at AT TIME ZONE 'UTC' AS utc,
               body.said
        FROM checkpoints c
        JOIN facts f ON f.shard = c.shard AND f.position <= c.position
        JOIN teams t ON t.shard = f.shard AND t.team_id = f.team_id
        CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
        WHERE c.reader = $3 AND c.shard = $1 AND ($2::text IS NULL OR f.team_id = $2)
          AND f.type IN ('usage.recorded.v1', 'hold.captured.v1')
    )
    SELECT team_id, name, should.value AS should, has.value AS has
    FROM ({SHOULD_HAVE}) AS should FULL JOIN ({HAS}) AS has USING (team_id, name)
    WHERE should.value IS DISTINCT FROM has.value
    ORDER BY team_id, name
"""


async def compare_days(connection: Connection, shard: int, team_id: str | None, differs: Differs) -> None:
    """Say where rows of a shard, or of one team, are not what the log gives."""
    for row in await connection.fetch(DIFFERENCES, shard, team_id, READER):
        differs(
            row["team_id"], "usage_days", row["name"], "uses, quantity and credits",
            row["should"] or "nothing", row["has"] or "missing",
        )  # fmt: skip
