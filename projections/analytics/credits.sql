-- One change of a balance. A fact has several parts where lots ended with it. It only grows.
CREATE VIEW analytics.entries AS
SELECT
    a.shard || ':' || a.position AS position, -- The place of its fact in the log.
    a.part, -- Which of the entries of that fact, from 0.
    a.team_id, -- Whose balance changed.
    a.kind AS type, -- usage, usage_voided, purchase, top_up, refill, grant, adjustment, expiry, refund, dispute, or a top-up that brought nothing.
    a.recorded_at, -- When it was stored: recorded_at <= K is what was known at K.
    a.occurred_at, -- When it happened.
    CASE WHEN a.late THEN a.recorded_at ELSE a.occurred_at END AS counts_at, -- When it counts: late usage where it was recorded.
    (
        SELECT max((convert_from(r.body, 'UTF8')::json ->> 'cycle')::integer)
        FROM facts r
        WHERE r.shard = a.shard AND r.team_id = a.team_id
          AND r.type IN ('plan.assigned.v1', 'credits.refilled.v1') AND r.type = 'credits.refilled.v1'
          AND (convert_from(r.body, 'UTF8')::json ->> 'starts_at')::timestamptz
              <= CASE WHEN a.late THEN a.recorded_at ELSE a.occurred_at END
    ) AS cycle, -- The cycle in which it counts, from 0; null before the first.
    a.late, -- It arrived after its cycle was sealed and counts in the open one.
    a.member_id, -- Who did it, where that is known.
    a.feature, -- What was used.
    (a.included + a.additional) * 0.000001 AS credits, -- The change of the balance, in credits; negative for usage.
    a.included * 0.000001 AS included, -- Of it, the change of the included credits.
    a.additional * 0.000001 AS additional, -- Of it, the change of the additional credits.
    a.balance_after * 0.000001 AS balance_after -- The balance of the team after this entry.
FROM :activity a;

-- Who paid an entry, or got credits back by it: a row for each lot.
CREATE VIEW analytics.entry_lots AS
SELECT
    a.shard || ':' || a.position AS position, -- The place of the entry's fact in the log.
    a.part, -- Which of the entries of that fact, from 0.
    a.team_id, -- Whose balance changed.
    a.kind AS type, -- The type of the entry.
    a.recorded_at, -- When the entry was stored.
    a.occurred_at, -- When it happened.
    a.member_id, -- Who did it, where that is known.
    a.feature, -- What was used.
    a.shard || ':' || nullif(a.paid[i.at], 0) AS lot, -- The lot; null for debt, which no lot paid.
    coalesce(l.kind, 'debt') AS lot_kind, -- included, purchased, topped_up, promotional, adjusted, reinstated; or debt.
    CASE a.kind WHEN 'usage_voided' THEN a.paid[i.at + 1] ELSE -a.paid[i.at + 1] END * 0.000001 AS credits, -- Negative where the lot paid, positive where it got credits back.
    CASE a.kind WHEN 'usage_voided' THEN a.paid[i.at + 1] ELSE -a.paid[i.at + 1] END * s.net_cents
    / nullif(l.gained, 0) / (:minor_units) AS value, -- What was paid for these credits, without tax; null for credits that were not sold.
    s.currency -- The currency of value.
FROM :activity a
CROSS JOIN LATERAL generate_series(1, coalesce(array_length(a.paid, 1), 0), 2) AS i (at)
LEFT JOIN :lots l ON l.shard = a.shard AND l.team_id = a.team_id AND l.lot = a.paid[i.at]
LEFT JOIN :sales s ON s.shard = a.shard AND s.position = a.paid[i.at];

-- How many credits of a lot each feature used on a day, less what was taken back: quick over all teams and years.
CREATE VIEW analytics.lots_used AS
SELECT
    e.day_utc, -- The day of the work in UTC.
    e.team_id, -- Whose balance changed.
    e.feature, -- What was used.
    e.shard || ':' || nullif(e.lot, 0) AS lot, -- The lot; null for debt, which no lot paid.
    sum(e.credits) * 0.000001 AS credits -- What it paid; negative where it got back more.
FROM (
    SELECT r.shard, r.team_id, r.lot, r.features[one.feature] AS feature, one.day_utc, one.credits
    FROM :activity_runs r
    CROSS JOIN LATERAL (
        SELECT e.feature, (e.occurred_at AT TIME ZONE 'UTC')::date AS day_utc, sum(e.credits) AS credits
        FROM (SELECT unnest(r.of_feature) AS feature, unnest(r.occurred) AS occurred_at, unnest(r.credits) AS credits) e
        GROUP BY 1, 2
    ) one
    UNION ALL
    SELECT
        a.shard, a.team_id, a.paid[i.at], a.feature, (a.occurred_at AT TIME ZONE 'UTC')::date,
        CASE a.kind WHEN 'usage_voided' THEN -a.paid[i.at + 1] ELSE a.paid[i.at + 1] END
    FROM :activity_rows a
    CROSS JOIN LATERAL generate_series(1, coalesce(array_length(a.paid, 1), 0), 2) AS i (at)
    WHERE a.kind IN ('usage', 'usage_voided')
) e
GROUP BY e.day_utc, e.team_id, e.feature, e.shard, e.lot;

-- Credits that a team gained at once, and what became of them: gained = used + expired + went_back + remaining.
CREATE VIEW analytics.lots AS
SELECT
    l.team_id, -- Whose credits they are.
    l.shard || ':' || l.lot AS lot, -- The place of the fact that brought them.
    l.kind, -- included, purchased, topped_up, promotional, adjusted or reinstated.
    l.gained * 0.000001 AS gained, -- How many credits it brought.
    (l.gained - l.remaining) * 0.000001 - back.went_back AS used, -- What was used of them, corrected away, or paid a debt.
    CASE WHEN l.ends_at <= now() THEN l.remaining ELSE 0 END * 0.000001 AS expired, -- What was left of them at their end.
    back.went_back, -- What refunds and disputes took of them.
    CASE WHEN l.ends_at <= now() THEN 0 ELSE l.remaining END * 0.000001 AS remaining, -- What is left of them to spend; a debt is not counted twice.
    l.starts_at, -- Usage from here on may be paid by them.
    nullif(l.ends_at, '9999-01-01T00:00:00Z') AS ends_at, -- Usage before may be paid by them; null where they never end.
    l.ends_at <= now() AS has_ended, -- Their end is over by the clock, whether or not the log says so yet.
    s.net_cents / (:minor_units) AS paid_net, -- What was paid for them, without tax; null for credits that were not sold.
    s.tax_cents / (:minor_units) AS tax, -- The tax that was paid with them.
    s.currency, -- The currency of all amounts.
    CASE WHEN l.ends_at <= now() THEN 0 ELSE l.remaining END * s.net_cents
    / nullif(l.gained, 0) / (:minor_units) AS value_left -- What was paid for the credits that are left, without tax.
FROM :lots l
LEFT JOIN :sales s ON s.shard = l.shard AND s.position = l.lot
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.paid[i.at + 1]), 0) * 0.000001 AS went_back
    FROM :activity_rows a CROSS JOIN LATERAL generate_series(1, coalesce(array_length(a.paid, 1), 0), 2) AS i (at)
    WHERE l.kind IN ('purchased', 'topped_up', 'reinstated') AND a.shard = l.shard AND a.team_id = l.team_id
      AND a.kind <> 'usage' AND a.kind IN ('refund', 'dispute') AND a.paid[i.at] = l.lot
) back;

-- What a team has after the last fact that is folded.
CREATE VIEW analytics.balances AS
SELECT
    b.team_id, -- Whose balance it is.
    (b.included + b.additional) * 0.000001 AS total, -- Included and additional credits.
    b.included * 0.000001 AS included, -- What is left of the credits of the plan.
    b.additional * 0.000001 AS additional, -- All other credits, less the debt; negative where usage went past zero.
    b.debt * 0.000001 AS debt, -- What was used and no lot paid; it is part of additional.
    held.credits AS held, -- What open holds set aside.
    (b.included + b.additional) * 0.000001 - held.credits AS available, -- What may be promised to new work.
    b.plan, -- The plan in force.
    b.cycle_ends_at AS next_refill_at, -- When the cycle ends and the next refill falls due.
    b.top_up_enabled AS top_ups, -- Automatic top-ups are on.
    b.as_of, -- When the last folded fact of the team was recorded: what came due since is not in it.
    b.shard || ':' || b.position AS position, -- The place of that fact in the log.
    greatest(h.next - 1 - c.position, 0) AS facts_behind -- Facts of the team's shard that are not folded yet.
FROM :balance b
JOIN shard_heads h USING (shard)
LEFT JOIN checkpoints c ON c.shard = b.shard AND c.reader = :projector
CROSS JOIN LATERAL (
    SELECT coalesce(sum((hold.value ->> 0)::bigint), 0) * 0.000001 AS credits FROM jsonb_each(b.holds) AS hold
    WHERE (hold.value ->> 1)::timestamptz > now()
) held;
