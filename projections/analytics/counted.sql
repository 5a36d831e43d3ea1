-- Uses with what is counted of each alike: days that are counted, each use behind the checkpoint of the reader `days`, and what was taken back.
SELECT d.team_id, d.day, d.day_utc, c.*, 0::bigint AS uses_back, 0::numeric AS quantity_back, 0::bigint AS credits_back
FROM usage_days d
CROSS JOIN LATERAL unnest(d.members, d.features, d.tiers, d.sources, d.uses, d.quantities, d.credits)
    AS c (member_id, feature, tier, source, uses, quantity, credits)
UNION ALL
SELECT r.team_id, r.local::date, r.day_utc, r.said ->> 'member_id', r.said ->> 'feature', r.said -> 'attributes' ->> 'tier', r.source,
    1, (r.said ->> 'quantity')::numeric, (r.said ->> 'credits')::bigint, 0, 0, 0
FROM (:not_counted) r
UNION ALL
SELECT f.team_id, (f.occurred_at AT TIME ZONE t.zone)::date, (f.occurred_at AT TIME ZONE 'UTC')::date,
    body.said ->> 'member_id', body.said ->> 'feature', body.said -> 'attributes' ->> 'tier', f.source,
    0, NULL, 0, 1, (body.said ->> 'quantity')::numeric, (body.said ->> 'credits')::bigint
FROM voided_usages v
JOIN facts f ON f.shard = v.shard AND f.position = v.usage_position
JOIN teams t ON t.shard = f.shard AND t.team_id = f.team_id
CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
