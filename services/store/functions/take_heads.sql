-- What must be known as soon as the heads of shards are locked, in the one round trip that locks them: the fewer
-- round trips there are until COMMIT, the shorter everybody else waits who writes to these shards. It is a function
-- because each statement in a function sees what was committed before that statement began: the second one runs under
-- the lock that the first one took.
--
-- Right after midnight of the 1st the cycles of all teams have ended: whoever appends asks for its own teams, each by
-- its key, and does not walk over all of those that the refill worker has yet to come to.

CREATE OR REPLACE FUNCTION take_heads(wanted smallint[], of_shards smallint[], of_teams text[])
RETURNS TABLE (shard smallint, next bigint, head bytea, recorded_at timestamptz, by_insert boolean, refills_due boolean)
LANGUAGE plpgsql AS $$
DECLARE
    latest timestamptz;
BEGIN
    -- Ascending, so that two writers of the same shards never wait for each other in a circle. Locked to COMMIT.
    PERFORM FROM shard_heads AS h WHERE h.shard = ANY (wanted) ORDER BY h.shard FOR UPDATE;
    -- Under the lock: whoever ends a life has had every head.
    PERFORM check_life();
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
