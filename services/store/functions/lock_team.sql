-- What a decision about a team must know, in the one round trip that locks the head of its shard: see take_heads.

CREATE OR REPLACE FUNCTION lock_team(of_shard smallint, of_team text, seen bigint, most integer)
RETURNS TABLE (
    shard smallint, next bigint, head bytea, recorded_at timestamptz, by_insert boolean, refills_due boolean,
    limited boolean, plan_now text, plan_assigned_id text, anchor timestamptz, zone_now text, allowance_credits bigint,
    cycle integer, open_until timestamptz, positions bigint[], recorded timestamptz[], occurred timestamptz[],
    sources text[], ids text[], types text[], bodies bytea[]
)
LANGUAGE plpgsql AS $$
BEGIN
    -- A statement of its own: what the next one reads was committed before this one had the lock.
    PERFORM FROM shard_heads AS h WHERE h.shard = of_shard FOR UPDATE;
    RETURN QUERY
        SELECT h.*, EXISTS (SELECT FROM member_limits AS l WHERE l.shard = of_shard AND l.team_id = of_team),
               t.plan, t.plan_assigned_id, t.anchor, t.zone, t.allowance_credits, t.cycle, t.cycle_ends_at,
               n.positions, n.recorded, n.occurred, n.sources, n.ids, n.types, n.bodies
        FROM take_heads(ARRAY[of_shard], ARRAY[of_shard], ARRAY[of_team]) AS h
        LEFT JOIN teams AS t ON t.shard = of_shard AND t.team_id = of_team
        CROSS JOIN (
            SELECT array_agg(f.position) AS positions, array_agg(f.recorded_at) AS recorded,
                   array_agg(f.occurred_at) AS occurred, array_agg(f.source) AS sources, array_agg(f.id) AS ids,
                   array_agg(f.type) AS types, array_agg(f.body) AS bodies
            FROM (
                SELECT * FROM facts WHERE facts.shard = of_shard AND facts.team_id = of_team AND facts.position > seen
                ORDER BY facts.position LIMIT most
            ) AS f
        ) AS n;
END $$;
COMMENT ON FUNCTION lock_team IS 'Locks the head of a team''s shard until COMMIT, and tells what a decision about the team needs beside what was read before: its cycle, whether its members have limits, and its facts after a position.';
