-- The lines of a log, for verifiers that share no code with Creditwell: docs/log-format.md. With the role that may read
-- everything: psql -AtX -f lines.sql "$CREDITWELL_DATABASE" > log.jsonl
WITH grown AS (
    SELECT number, json_object_agg(shard, json_build_array(last, encode(head, 'base64'), encode(blocks, 'base64'))) AS shards
    FROM signed_shards GROUP BY number
), line AS (
    SELECT -1 AS shard, 0::bigint AS place, 0 AS kind,
        json_build_object('format', 'creditwell log 1', 'log', 'creditwell/' || value) AS line
    FROM store_constants WHERE name = 'log'
    UNION ALL
    SELECT shard, first, 1, json_build_object('block', json_build_object(
        'shard', shard, 'first', first, 'last', last, 'root', encode(root, 'base64'), 'hash', encode(hash, 'base64')))
    FROM blocks
    UNION ALL
    SELECT shard, position, 2, json_build_object('fact', json_build_object(
        'shard', shard, 'position', position, 'recorded_at', recorded_at, 'occurred_at', occurred_at, 'team_id', team_id,
        'source', source, 'id', id, 'type', type, 'body', replace(encode(body, 'base64'), E'\n', ''),
        'leaf', encode(leaf, 'base64')))
    FROM facts
    UNION ALL
    SELECT shard, next, 3, json_build_object('head', json_build_object(
        'shard', shard, 'last', next - 1, 'hash', encode(head, 'base64')))
    FROM shard_heads WHERE next > 1
    UNION ALL
    SELECT 64, number, 4, json_build_object('note', json_build_object(
        'number', number, 'time', to_char(signed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'unpublished', unpublished, 'shards', coalesce(shards, '{}'), 'text', note))
    FROM signed_checkpoints LEFT JOIN grown USING (number)
)
SELECT line::text FROM line ORDER BY shard, place, kind;
