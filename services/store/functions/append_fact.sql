-- One fact that happens now, appended to a shard whose head the transaction has locked: it is a block of its own. Leaf and
-- block are those of services/store/proofs.py; here, because place and time are known under the lock alone, and the way to
-- whoever could work them out and back is longer than all the rest. Beside it lies of which
-- request and in which trace it came, where somebody has said so.

CREATE OR REPLACE FUNCTION append_fact(
    of_shard smallint, place bigint, hash_before bytea, at timestamptz,
    of_team text, of_source text, of_id text, of_type text, of_body bytea, of_trace text, of_request_id text
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    of_leaf bytea;
    of_block bytea;
BEGIN
    of_leaf := sha256(
        '\x00'::bytea || int4send(2) || int2send(of_shard) || int4send(8) || int8send(place)
        || int4send(8) || timestamptz_send(at) || int4send(8) || timestamptz_send(at)
        || int4send(octet_length(of_team)) || convert_to(of_team, 'UTF8')
        || int4send(octet_length(of_source)) || convert_to(of_source, 'UTF8')
        || int4send(octet_length(of_id)) || convert_to(of_id, 'UTF8')
        || int4send(octet_length(of_type)) || convert_to(of_type, 'UTF8')
        || int4send(octet_length(of_body)) || of_body
    );
    of_block := sha256(
        '\x02'::bytea || int2send(of_shard) || int8send(place) || int8send(place) || hash_before || of_leaf
    );
    INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf)
    VALUES (of_shard, place, at, at, of_team, of_source, of_id, of_type, of_body, of_leaf);
    INSERT INTO blocks (shard, first, last, root, hash) VALUES (of_shard, place, place, of_leaf, of_block);
    UPDATE shard_heads AS h SET next = place + 1, head = of_block, recorded_at = at WHERE h.shard = of_shard;
    IF of_trace IS NOT NULL OR of_request_id IS NOT NULL THEN
        INSERT INTO traces (shard, position, traceparent, request_id) VALUES (of_shard, place, of_trace, of_request_id);
    END IF;
END $$;
COMMENT ON FUNCTION append_fact IS 'Appends one fact that happens now, behind a head that the transaction has locked, and moves the head.';
