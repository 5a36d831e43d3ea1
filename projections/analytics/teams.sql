-- The teams that exist, and the cycle that each is in.
CREATE VIEW analytics.teams AS
SELECT
    t.team_id, -- The team's id; its name is no part of analytics.
    t.plan, -- Its plan.
    (
        SELECT p.occurred_at FROM facts p
        WHERE p.shard = t.shard AND p.team_id = t.team_id
          AND p.type IN ('plan.assigned.v1', 'credits.refilled.v1') AND p.type = 'plan.assigned.v1'
        ORDER BY p.position LIMIT 1
    ) AS since, -- When it got its first plan.
    t.zone, -- The zone of its days and cycles.
    (
        SELECT max(l.starts_at) FROM :lots l
        WHERE l.shard = t.shard AND l.team_id = t.team_id AND l.kind = 'included' AND l.ends_at = t.cycle_ends_at
    ) AS cycle_starts_at, -- When its open cycle began; null until its refill is folded.
    t.cycle_ends_at, -- When its open cycle ends.
    (SELECT min(u.day) FROM :usage_table u WHERE u.shard = t.shard AND u.team_id = t.team_id) AS first_use, -- The first day of usage, in its zone.
    (SELECT max(u.day) FROM :usage_table u WHERE u.shard = t.shard AND u.team_id = t.team_id) AS last_use -- The last day of usage, in its zone.
FROM teams t;

-- Which plan a team had from when until when. It only grows, save for until.
CREATE VIEW analytics.plans_over_time AS
SELECT
    f.team_id, -- Whose plan it is.
    said.plan, -- The plan.
    said.version, -- Its version in the catalog, where it has one.
    said.allowance_credits * 0.000001 AS allowance, -- Included credits of a cycle.
    f.occurred_at AS since, -- From when it was the team's.
    lead(f.occurred_at) OVER (PARTITION BY f.shard, f.team_id ORDER BY f.position) AS until, -- Until when; null while it is.
    f.recorded_at -- When it was stored.
FROM facts f
CROSS JOIN LATERAL json_to_record(convert_from(f.body, 'UTF8')::json) AS said (
    plan text, version integer, allowance_credits bigint
)
WHERE f.type IN ('plan.assigned.v1', 'credits.refilled.v1') AND f.type = 'plan.assigned.v1';

-- Credits that are set aside for work that runs, or were.
CREATE VIEW analytics.holds AS
SELECT
    h.team_id, -- Whose credits they are.
    h.hold_id, -- The hold's id.
    h.member_id, -- For whose work.
    h.credits * 0.000001 AS credits, -- What is set aside, or was when it ended.
    h.placed_at, -- When it was placed.
    h.expires_at, -- When it ends by itself.
    CASE WHEN h.state = 'open' AND h.expires_at <= now() THEN 'expired' ELSE h.state END AS state -- open, settled, released or expired.
FROM holds h;

-- How much usage was refused, by hour, source and reason.
CREATE VIEW analytics.refusals AS
SELECT
    date_trunc('hour', r.refused_at, 'UTC') AS hour, -- The beginning of the hour in which it was refused.
    r.source, -- The feature service that reported it; null where that could not be read.
    r.reason, -- Why, as docs/errors.md lists it.
    count(*) AS refused -- How many reports.
FROM refused r
GROUP BY 1, 2, 3;

-- What one unit of a feature costs, by rate card and attributes.
CREATE VIEW analytics.rate_card_lines AS
SELECT
    (card.data ->> 'version')::integer AS rate_card, -- The version of the card.
    (card.data ->> 'effective_from')::timestamptz AS effective_from, -- From when it holds, until the next card does.
    category ->> 'id' AS category, -- The heading of the feature.
    feature ->> 'feature' AS feature, -- The feature.
    coalesce(feature ->> 'unit', feature ->> 'per') AS unit, -- What a quantity of it counts.
    rate -> 'attributes' AS attributes, -- Usage with these attributes has this rate; the most specific line counts.
    (rate ->> 'credits')::numeric AS credits, -- The credits of one unit.
    c.recorded_at -- When the card was published.
FROM facts c
CROSS JOIN LATERAL (SELECT convert_from(c.body, 'UTF8')::jsonb -> 'card' AS data) card
CROSS JOIN LATERAL jsonb_array_elements(card.data -> 'categories') AS category
CROSS JOIN LATERAL jsonb_array_elements(category -> 'features') AS feature
CROSS JOIN LATERAL jsonb_array_elements(feature -> 'rates') AS rate
WHERE c.shard = :rate_card_shard AND c.team_id = 'creditwell' AND c.type = 'rate_card.published.v1';

-- How far each reader of the log is.
CREATE VIEW analytics.freshness AS
SELECT
    CASE c.reader WHEN :projector THEN 'projector' ELSE c.reader END AS reader, -- projector feeds the balances and activity, relay the topics, days what is counted by day.
    sum(greatest(h.next - 1 - c.position, 0)) AS facts_behind, -- Facts that it has not finished yet.
    coalesce(extract(epoch FROM now() - min(f.recorded_at)), 0) AS seconds_behind -- The age of the oldest of them; 0 when there is none.
FROM checkpoints c
JOIN shard_heads h USING (shard)
LEFT JOIN facts f ON f.shard = c.shard AND f.position = c.position + 1
GROUP BY c.reader;
