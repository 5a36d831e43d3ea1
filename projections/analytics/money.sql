-- Money that was answered by credits: purchases and top-ups, with what went back since.
CREATE VIEW analytics.payments AS
SELECT
    s.team_id, -- Who paid.
    s.kind, -- purchase or top_up.
    s.pack, -- The pack that was bought; null for a top-up.
    s.shard || ':' || s.position AS lot, -- The lot that it brought.
    s.recorded_at AS credited_at, -- When its credits were stored.
    s.occurred_at AS paid_at, -- When it was paid.
    s.credits * 0.000001 AS credits, -- How many credits it brought.
    s.charge_cents / (:minor_units) AS gross, -- What was paid, in units of the currency.
    s.tax_cents / (:minor_units) AS tax, -- Of it, tax.
    s.net_cents / (:minor_units) AS net, -- What was paid, without tax.
    s.currency, -- The currency of all amounts.
    coalesce(r.refunded_cents, 0) / (:minor_units) AS refunded, -- What was refunded so far.
    coalesce(d.disputed_cents, 0) / (:minor_units) AS disputed, -- What a bank holds or keeps because of disputes.
    CASE
        WHEN d.is_open THEN 'disputed'
        WHEN d.disputed_cents > 0 THEN 'dispute_lost'
        WHEN r.refunded_cents >= s.charge_cents AND r.refunded_cents > 0 THEN 'refunded'
        WHEN r.refunded_cents > 0 THEN 'partly_refunded'
        ELSE 'paid'
    END AS outcome -- paid, partly_refunded, refunded, disputed or dispute_lost.
FROM :sales s
LEFT JOIN (
    SELECT DISTINCT ON (f.shard, said.lot) f.shard, said.lot, said.refunded_cents
    FROM facts f
    CROSS JOIN LATERAL json_to_record(convert_from(f.body, 'UTF8')::json) AS said (lot bigint, refunded_cents bigint)
    WHERE f.type = 'charge.refunded.v1' AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
    ORDER BY f.shard, said.lot, f.position DESC
) r ON r.shard = s.shard AND r.lot = s.position
LEFT JOIN (
    SELECT one.shard, one.lot, sum(one.cents) AS disputed_cents, bool_or(one.outcome = 'open') AS is_open
    FROM (
        SELECT
            f.shard, said.lot,
            (array_agg(said.disputed_cents ORDER BY f.position DESC) FILTER (WHERE said.disputed_cents IS NOT NULL))[1] AS cents,
            (array_agg(coalesce(said.outcome, 'open') ORDER BY f.position DESC))[1] AS outcome
        FROM facts f
        CROSS JOIN LATERAL json_to_record(convert_from(f.body, 'UTF8')::json) AS said (
            lot bigint, dispute_id text, disputed_cents bigint, outcome text
        )
        WHERE f.type IN ('charge.disputed.v1', 'dispute.closed.v1')
          AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
        GROUP BY f.shard, said.lot, said.dispute_id
    ) one
    WHERE one.outcome <> 'won'
    GROUP BY one.shard, one.lot
) d ON d.shard = s.shard AND d.lot = s.position;

-- What was decided about automatic top-ups: each charge, and each one that was not made.
CREATE VIEW analytics.top_ups AS
SELECT
    f.team_id, -- Whose top-up it is.
    f.recorded_at AS decided_at, -- When it was decided.
    CASE
        WHEN f.type = 'top_up.skipped.v1' THEN 'skipped'
        WHEN ended.type = 'credits.topped_up.v1' THEN 'charged'
        WHEN ended.type IS NOT NULL THEN 'failed'
        ELSE 'open'
    END AS outcome, -- charged, failed, open or skipped.
    coalesce(said.reason, ended.reason) AS reason, -- Why it failed or was skipped.
    said.credits * 0.000001 AS credits, -- The credits that were asked for; null where it was skipped.
    said.charge_cents / (:minor_units) AS gross, -- The amount that was asked for.
    said.currency, -- The currency of gross.
    said.attempt -- Which attempt of the same low balance it is, from 1.
FROM facts f
CROSS JOIN LATERAL json_to_record(convert_from(f.body, 'UTF8')::json) AS said (
    attempt_id text, reason text, credits bigint, charge_cents bigint, currency text, attempt integer
)
LEFT JOIN (
    SELECT DISTINCT ON (e.shard, e.team_id, outcome.attempt_id)
        e.shard, e.team_id, outcome.attempt_id, e.type, outcome.reason
    FROM facts e
    CROSS JOIN LATERAL json_to_record(convert_from(e.body, 'UTF8')::json) AS outcome (attempt_id text, reason text)
    WHERE e.type IN ('credits.topped_up.v1', 'top_up.failed.v1')
      AND e.type NOT LIKE 'usage.%' AND e.type NOT LIKE 'hold.%'
    ORDER BY e.shard, e.team_id, outcome.attempt_id, e.type
) ended ON ended.shard = f.shard AND ended.team_id = f.team_id AND ended.attempt_id = said.attempt_id
WHERE f.type IN ('top_up.requested.v1', 'top_up.skipped.v1') AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%';
