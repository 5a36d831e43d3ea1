-- Right after midnight of the 1st the cycles of all teams have ended: whoever appends asks for its own teams, each by its key, and
-- does not walk over all of those that the refill worker has yet to come to. The function of two parameters stays for processes
-- that were started before.

CREATE FUNCTION take_heads(wanted smallint[], of_shards smallint[], of_teams text[])
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
               EXISTS (
                   SELECT FROM unnest(of_shards, of_teams) AS w (shard, team_id)
                   JOIN teams AS t ON t.shard = w.shard AND t.team_id = w.team_id
                   WHERE t.cycle_ends_at <= latest
               )
        FROM shard_heads AS h WHERE h.shard = ANY (wanted) ORDER BY h.shard;
END $$;
COMMENT ON FUNCTION take_heads(smallint[], smallint[], text[]) IS 'Locks the heads of shards until COMMIT. recorded_at is the same in every row: the time of what is appended now. refills_due tells whether a cycle of one of the teams, given with their shards, has begun by then whose refill is not in the log.';

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
