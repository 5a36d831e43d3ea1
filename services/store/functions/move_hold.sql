-- A capture, an extension or the end of a hold that was decided on before the lock, as `place_hold` has it. It rests on the
-- hold alone: its row must be as it was seen, and its time not over.

CREATE OR REPLACE FUNCTION move_hold(
    of_shard smallint, of_team text, of_sub text, of_route text, of_key text, of_request bytea,
    of_hold text, seen_credits bigint, seen_until timestamptz, decided_at timestamptz, true_until timestamptz,
    to_credits bigint, to_until timestamptz, to_state text,
    of_source text, of_id text, of_type text, of_body bytea, of_trace text, of_request_id text,
    of_status smallint, answer_before bytea, answer_behind bytea
) RETURNS TABLE ("position" bigint, recorded_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    is_moved boolean := false;
BEGIN
    IF NOT claim_key(of_shard, of_team, of_sub, of_route, of_key, of_request) THEN
        RETURN;
    END IF;
    SELECT h.next, h.head, h.recorded_at, h.refills_due INTO locked
    FROM take_heads(ARRAY[of_shard], ARRAY[of_shard], ARRAY[of_team]) AS h;
    IF NOT locked.refills_due AND locked.recorded_at >= decided_at AND locked.recorded_at < true_until THEN
        UPDATE holds AS o SET credits = to_credits, expires_at = to_until, state = to_state
        WHERE o.shard = of_shard AND o.team_id = of_team AND o.hold_id = of_hold
          AND o.state = 'open' AND o.credits = seen_credits AND o.expires_at = seen_until AND o.expires_at > locked.recorded_at;
        is_moved := FOUND;
    END IF;
    IF NOT is_moved THEN
        PERFORM give_key_back(of_shard, of_team, of_sub, of_route, of_key);
        RETURN;
    END IF;
    PERFORM append_fact(
        of_shard, locked.next, locked.head, locked.recorded_at, of_team, of_source, of_id, of_type, of_body, of_trace,
        of_request_id
    );
    PERFORM keep_answer(
        of_shard, of_team, of_sub, of_route, of_key, of_status,
        answer_before || convert_to(locked.next::text, 'UTF8') || answer_behind
    );
    RETURN QUERY SELECT locked.next, locked.recorded_at;
END $$;
COMMENT ON FUNCTION move_hold IS 'Moves a hold as it was decided, if it stands as it was seen; where its fact stands in the log, or no row and nothing done.';
