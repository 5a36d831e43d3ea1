-- A hold that was decided on before the lock: the command's key, its fact, its row and its answer in one statement, which is
-- its own transaction. What was read must still be true under the lock, or come to no less:
--
-- * No cycle, lot or day has ended since: `decided_at` and `true_until` say from when and until when the decision holds.
-- * Of the team's facts after `seen` each is work. Work takes at most its credits from what is available: usage may settle a
--   hold, and a capture frees what it had set aside. An extension is none of these: to a read before its COMMIT the hold's
--   time may have been over. `spare` is what the decision leaves; NULL where any newer fact is one too many.
-- * The log has got as far as `seen`, and has not gone back behind it.
--
-- Otherwise nothing is written, no row is returned, and the caller decides under the lock.

CREATE OR REPLACE FUNCTION place_hold(
    of_shard smallint, of_team text, of_sub text, of_route text, of_key text, of_request bytea,
    seen bigint, decided_at timestamptz, true_until timestamptz, spare bigint, newer_max integer,
    of_hold text, of_member text, of_credits bigint, until timestamptz,
    of_source text, of_id text, of_type text, of_body bytea, of_trace text, of_request_id text,
    of_status smallint, answer_before bytea, answer_behind bytea
) RETURNS TABLE ("position" bigint, recorded_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    locked record;
    newer record;
BEGIN
    -- Before the head, as everywhere: whoever holds the key may wait for the head.
    IF NOT claim_key(of_shard, of_team, of_sub, of_route, of_key, of_request) THEN
        RETURN;
    END IF;
    SELECT h.next, h.head, h.recorded_at, h.refills_due INTO locked
    FROM take_heads(ARRAY[of_shard], ARRAY[of_shard], ARRAY[of_team]) AS h;
    SELECT count(*) AS facts, coalesce(bool_and(f.is_work), true) AS are_work, coalesce(sum(f.credits), 0) AS credits INTO newer
    FROM (
        SELECT n.is_work, CASE WHEN n.is_work THEN (convert_from(n.body, 'UTF8')::jsonb ->> 'credits')::bigint END AS credits
        FROM (
            SELECT facts.body, facts.type IN (
                'usage.recorded.v1', 'hold.placed.v1', 'hold.captured.v1', 'hold.released.v1', 'hold.expired.v1'
            ) AS is_work
            FROM facts WHERE facts.shard = of_shard AND facts.team_id = of_team AND facts.position > seen
            ORDER BY facts.position LIMIT newer_max + 1
        ) AS n
    ) AS f;
    -- What is unknown is not true: where an argument is missing, nothing is written.
    IF (
        NOT locked.refills_due AND seen < locked.next AND locked.recorded_at >= decided_at AND locked.recorded_at < true_until
        AND (newer.facts = 0 OR newer.facts <= newer_max AND newer.are_work AND newer.credits <= spare)
    ) IS NOT TRUE THEN
        PERFORM give_key_back(of_shard, of_team, of_sub, of_route, of_key);
        RETURN;
    END IF;
    PERFORM append_fact(
        of_shard, locked.next, locked.head, locked.recorded_at, of_team, of_source, of_id, of_type, of_body, of_trace,
        of_request_id
    );
    INSERT INTO holds (shard, team_id, hold_id, member_id, credits, placed_at, expires_at)
    VALUES (of_shard, of_team, of_hold, of_member, of_credits, locked.recorded_at, until);
    PERFORM keep_answer(
        of_shard, of_team, of_sub, of_route, of_key, of_status,
        answer_before || convert_to(locked.next::text, 'UTF8') || answer_behind
    );
    RETURN QUERY SELECT locked.next, locked.recorded_at;
END $$;
COMMENT ON FUNCTION place_hold IS 'Places a hold as it was decided, if the decision still holds; where it stands in the log, or no row and nothing done.';
