-- Whoever claims an Idempotency-Key carries its command out; whoever comes meanwhile waits for that one's COMMIT. From here
-- on the transaction sees the team. What is too old of the team goes with the claim, so nobody has to sweep; the same key may
-- be claimed again then.

CREATE OR REPLACE FUNCTION claim_key(
    of_shard smallint, of_team text, of_sub text, of_route text, of_key text, of_body bytea
) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('creditwell.team', of_team, true);
    DELETE FROM command_answers AS old
    WHERE old.shard = of_shard AND old.team_id = of_team AND old.answered_at < statement_timestamp() - interval '30 days'
      AND (old.sub, old.route, old.key) <> (of_sub, of_route, of_key);
    INSERT INTO command_answers AS known (shard, team_id, sub, route, key, body_sha256)
    VALUES (of_shard, of_team, of_sub, of_route, of_key, of_body)
    ON CONFLICT (shard, team_id, sub, route, key) DO UPDATE
    SET body_sha256 = excluded.body_sha256, answered_at = excluded.answered_at
    WHERE known.answered_at < clock_timestamp() - interval '30 days';
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION claim_key IS 'True for whoever is to carry a command out; false where its answer is kept. Answers are kept for 30 days.';
