-- Whoever has claimed an Idempotency-Key and does nothing lets go of it, in the transaction that claimed it.

CREATE OR REPLACE FUNCTION give_key_back(of_shard smallint, of_team text, of_sub text, of_route text, of_key text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM command_answers AS a
    WHERE a.shard = of_shard AND a.team_id = of_team AND a.sub = of_sub AND a.route = of_route AND a.key = of_key;
END $$;
COMMENT ON FUNCTION give_key_back IS 'Nobody has claimed this key, in a transaction that had and did nothing.';
