-- Each use that stands behind the checkpoint of the reader `days`, with what it says.
SELECT f.team_id, f.source, f.occurred_at AT TIME ZONE t.zone AS local, (f.occurred_at AT TIME ZONE 'UTC')::date AS day_utc, body.said
FROM shard_heads h
LEFT JOIN checkpoints c ON c.shard = h.shard AND c.reader = 'days'
JOIN facts f ON f.shard = h.shard AND f.position > coalesce(c.position, 0)
JOIN teams t ON t.shard = f.shard AND t.team_id = f.team_id
CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
WHERE f.type IN ('usage.recorded.v1', 'hold.captured.v1')
