-- Each use that stands behind the checkpoint of the reader `days`, with what it says. Ordered by position: so no plan
-- looks for them by team, which would read the whole log.
SELECT f.team_id, f.source, f.occurred_at AT TIME ZONE t.zone AS local, (f.occurred_at AT TIME ZONE 'UTC')::date AS day_utc, body.said
FROM shard_heads h
LEFT JOIN checkpoints c ON c.shard = h.shard AND c.reader = 'days'
CROSS JOIN LATERAL (
    SELECT o.* FROM facts o WHERE o.shard = h.shard AND o.position > coalesce(c.position, 0) ORDER BY o.position OFFSET 0
) f
JOIN teams t ON t.shard = f.shard AND t.team_id = f.team_id
CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
WHERE f.type IN ('usage.recorded.v1', 'hold.captured.v1')
