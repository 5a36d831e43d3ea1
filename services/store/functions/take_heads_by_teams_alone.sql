-- As take_heads(smallint[], smallint[], text[]), for processes of builds that don't say the shards of their teams.

CREATE OR REPLACE FUNCTION take_heads(wanted smallint[], of_teams text[])
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
COMMENT ON FUNCTION take_heads(smallint[], text[]) IS 'Locks the heads of shards until COMMIT. recorded_at is the same in every row: the time of what is appended now. refills_due tells whether a cycle of one of the teams has begun by then whose refill is not in the log.';
