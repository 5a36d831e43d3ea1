-- What a command about a hold must know, in the one round trip that locks the head of its shard: see take_heads.

CREATE OR REPLACE FUNCTION lock_hold(of_shard smallint, of_team text, of_hold text)
RETURNS TABLE (
    shard smallint, next bigint, head bytea, recorded_at timestamptz, by_insert boolean, refills_due boolean,
    hold_id text, member_id text, credits bigint, placed_at timestamptz, expires_at timestamptz, state text
)
LANGUAGE plpgsql AS $$
BEGIN
    -- A statement of its own: what the next one reads was committed before this one had the lock.
    PERFORM FROM shard_heads AS h WHERE h.shard = of_shard FOR UPDATE;
    RETURN QUERY
        SELECT h.*, o.hold_id, o.member_id, o.credits, o.placed_at, o.expires_at, o.state
        FROM take_heads(ARRAY[of_shard], ARRAY[of_shard], ARRAY[of_team]) AS h
        LEFT JOIN holds AS o ON o.shard = of_shard AND o.team_id = of_team AND o.hold_id = of_hold;
END $$;
COMMENT ON FUNCTION lock_hold IS 'Locks the head of a team''s shard until COMMIT, and tells how a hold of the team stands.';
