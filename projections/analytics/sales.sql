-- No view: the payments that were answered by credits, of which several views are made.
SELECT
    f.shard, f.position, f.team_id, f.recorded_at, f.occurred_at, said.credits, said.pack, said.currency,
    CASE f.type WHEN 'credits.purchased.v1' THEN 'purchase' ELSE 'top_up' END AS kind,
    said.charge_cents, coalesce(said.tax_cents, 0) AS tax_cents, said.charge_cents - coalesce(said.tax_cents, 0) AS net_cents
FROM facts f
CROSS JOIN LATERAL json_to_record(convert_from(f.body, 'UTF8')::json) AS said (
    credits bigint, pack text, currency text, charge_cents bigint, tax_cents bigint
)
WHERE f.type IN ('credits.purchased.v1', 'credits.topped_up.v1') AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
