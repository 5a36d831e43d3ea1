-- What a command was answered, for whoever sends it again: in the transaction that claimed its key.

CREATE OR REPLACE FUNCTION keep_answer(
    of_shard smallint, of_team text, of_sub text, of_route text, of_key text, of_status smallint, of_answer bytea
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE command_answers AS a SET status = of_status, answer = of_answer
    WHERE a.shard = of_shard AND a.team_id = of_team AND a.sub = of_sub AND a.route = of_route AND a.key = of_key;
END $$;
COMMENT ON FUNCTION keep_answer IS 'Keeps the answer of a command whose key the transaction has claimed.';
