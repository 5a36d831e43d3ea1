-- No view: the payments that were answered by credits, of which several views are made. One row for each fact, which the
-- planner sees: who asks for nothing of a payment does not look for it.
SELECT
    f.shard, f.position, f.team_id, f.recorded_at, f.occurred_at, (f.said ->> 'credits')::bigint AS credits,
    f.said ->> 'pack' AS pack, f.said ->> 'currency' AS currency,
    CASE f.type WHEN 'credits.purchased.v1' THEN 'purchase' ELSE 'top_up' END AS kind,
    (f.said ->> 'charge_cents')::bigint AS charge_cents, coalesce((f.said ->> 'tax_cents')::bigint, 0) AS tax_cents,
    (f.said ->> 'charge_cents')::bigint - coalesce((f.said ->> 'tax_cents')::bigint, 0) AS net_cents
FROM (SELECT o.*, convert_from(o.body, 'UTF8')::json AS said FROM facts o) f
WHERE f.type IN ('credits.purchased.v1', 'credits.topped_up.v1') AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
