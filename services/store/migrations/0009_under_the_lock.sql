-- What must be known as soon as a shard's head is locked, in the one round trip that locks it: the fewer round trips there are
-- until COMMIT, the shorter everybody else waits who writes to that shard. They are functions because each statement in a function
-- sees what was committed before that statement began: the second one runs under the lock that the first one took.

CREATE FUNCTION take_heads(wanted smallint[], of_teams text[])
RETURNS TABLE (shard smallint, next bigint, head bytea, recorded_at timestamptz, by_insert boolean, refills_due boolean)
LANGUAGE plpgsql AS $$
DECLARE
    latest timestamptz;
BEGIN
    -- Ascending, so that two writers of the same shards never wait for each other in a circle. Locked to COMMIT.
    PERFORM FROM shard_heads AS h WHERE h.shard = ANY (wanted) ORDER BY h.shard FOR UPDATE;
    -- The database's clock, and never backwards within a shard.
    SELECT greatest(max(h.recorded_at), clock_timestamp()) INTO latest FROM shard_heads AS h WHERE h.shard = ANY (wanted);
    RETURN QUERY
        SELECT h.shard, h.next, h.head, latest, row_security_active('facts'),
               EXISTS (SELECT FROM teams AS t WHERE t.cycle_ends_at <= latest AND t.team_id = ANY (of_teams))
        FROM shard_heads AS h WHERE h.shard = ANY (wanted) ORDER BY h.shard;
END $$;
COMMENT ON FUNCTION take_heads IS 'Locks the heads of shards until COMMIT. recorded_at is the same in every row: the time of what is appended now. refills_due tells whether a cycle of one of the teams has begun by then whose refill is not in the log.';

CREATE FUNCTION lock_team(of_shard smallint, of_team text, seen bigint, most integer)
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
        FROM take_heads(ARRAY[of_shard], ARRAY[of_team]) AS h
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

-- Whoever reads a balance is told whether members of the team have limits.
GRANT SELECT ON member_limits TO creditwell_worker, creditwell_projector;
