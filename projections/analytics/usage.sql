-- One use of a feature, as it was recorded: also what was taken back, or settled a hold. It only grows.
CREATE VIEW analytics.usage AS
SELECT
    f.team_id, -- Whose credits paid.
    body.said ->> 'member_id' AS member_id, -- Who did the work; null where no member is named.
    body.said ->> 'feature' AS feature, -- What was used; null for a captured hold that named no feature.
    (:priced) -> (body.said ->> 'rate_card') -> (body.said ->> 'feature') ->> 0 AS category, -- The heading of the feature on the rate card that priced the use.
    body.said -> 'attributes' ->> 'tier' AS tier, -- The attribute tier, as the feature service reported it.
    body.said -> 'attributes' AS attributes, -- All reported attributes, as a JSON object of texts.
    (body.said ->> 'quantity')::numeric AS quantity, -- How much was used, in units.
    (:priced) -> (body.said ->> 'rate_card') -> (body.said ->> 'feature') ->> 1 AS unit, -- What the quantity counts.
    (body.said ->> 'credits')::bigint * 0.000001 AS credits, -- What the use cost, in credits.
    (body.said ->> 'rate_card')::integer AS rate_card, -- The version of the rate card that priced it.
    f.occurred_at, -- When the work was done.
    f.recorded_at, -- When it was stored: recorded_at <= K is what was known at K.
    coalesce(
        (
            SELECT a.late FROM :activity_rows a
            WHERE a.shard = f.shard AND a.team_id = f.team_id AND a.position = f.position AND a.kind = 'usage'
        ),
        (
            SELECT false FROM :activity_runs r
            WHERE r.shard = f.shard AND r.team_id = f.team_id AND r.first <= f.position AND r.first > f.position - :run_span
              AND f.position = ANY(r.positions)
            ORDER BY r.first DESC LIMIT 1
        )
    ) AS late, -- It came after its cycle was sealed and counts in the open one; null until it is folded.
    w.recorded_at AS taken_back_at, -- When it was taken back; null where it was not.
    body.said ->> 'hold_id' AS hold_id, -- The hold that it settled.
    f.source, -- The feature service that reported it.
    f.id AS event_id, -- The id of the report: team, source and id are one use, for ever.
    f.shard || ':' || f.position AS position, -- Its place in the log, as the API says it.
    body.said -> 'quantities' AS quantities, -- By name, where it has several quantities: a JSON object of decimals.
    f.shard || ':' || (body.said ->> 'corrects') AS corrects -- The place of the use that it replaces, which was taken back.
FROM facts f
CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS said OFFSET 0) body
LEFT JOIN voided_usages v ON v.shard = f.shard AND v.team_id = f.team_id AND v.usage_position = f.position
LEFT JOIN facts w ON w.shard = v.shard AND w.position = v.void_position
WHERE f.type IN ('usage.recorded.v1', 'hold.captured.v1');

-- Uses by team, member, feature, tier, source and day: counted a minute behind the log, and exact, for the rest of it is decoded.
CREATE VIEW analytics.usage_daily AS
SELECT
    u.day, -- The day of the work in the team's zone.
    u.day_utc, -- The day of the work in UTC.
    u.team_id, -- Whose credits paid.
    u.member_id, -- Who did the work; null where no member is named.
    u.feature, -- What was used.
    u.tier, -- The attribute tier.
    sum(u.uses) AS uses, -- How many uses, those taken back among them.
    sum(u.quantity) AS quantity, -- How much was used, in units of the feature.
    sum(u.credits) * 0.000001 AS credits, -- What they cost, those taken back among them.
    sum(u.credits_back) * 0.000001 AS taken_back, -- Credits of them that were taken back.
    u.source, -- The feature service that reported them.
    sum(u.uses_back) AS uses_taken_back, -- How many of them were taken back.
    sum(u.quantity_back) AS quantity_taken_back -- How much of the quantity was taken back.
FROM (:counted) u
GROUP BY u.day, u.day_utc, u.team_id, u.member_id, u.feature, u.tier, u.source;

-- Uses by team, day and hour of the day, as the clock of the team's zone shows it: counted as usage_daily is.
CREATE VIEW analytics.usage_by_hour_of_day AS
SELECT
    u.day, -- The day of the work in the team's zone.
    u.hour_of_day, -- The hour of that day, from 0.
    u.team_id, -- Whose credits paid.
    sum(u.uses) AS uses, -- How many uses, those taken back among them.
    sum(u.credits) * 0.000001 AS credits -- What they cost, those taken back among them.
FROM (
    SELECT d.day, d.team_id, c.*
    FROM usage_days d
    CROSS JOIN LATERAL unnest(d.hours, d.uses_by_hour, d.credits_by_hour) AS c (hour_of_day, uses, credits)
    UNION ALL
    SELECT r.local::date, r.team_id, extract(hour FROM r.local)::smallint, 1, (r.said ->> 'credits')::bigint FROM (:not_counted) r
) u
GROUP BY u.day, u.hour_of_day, u.team_id;

-- Uses by team, member, feature, tier and hour. Every use is decoded for it: name a team or hours where the log is long.
CREATE VIEW analytics.usage_hourly AS
SELECT
    date_trunc('hour', u.occurred_at, 'UTC') AS hour, -- The beginning of the hour of the work.
    u.team_id, -- Whose credits paid.
    u.member_id, -- Who did the work; null where no member is named.
    u.feature, -- What was used.
    u.tier, -- The attribute tier.
    count(*) AS uses, -- How many uses, those taken back among them.
    sum(u.quantity) AS quantity, -- How much was used, in units of the feature.
    sum(u.credits) AS credits, -- What they cost, those taken back among them.
    coalesce(sum(u.credits) FILTER (WHERE u.taken_back_at IS NOT NULL), 0) AS taken_back -- Credits of them that were taken back.
FROM analytics.usage u
GROUP BY 1, 2, 3, 4, 5;

-- Uses by team, member, feature and day, counted while the log is folded: quick over all teams and years.
CREATE VIEW analytics.usage_folded AS
SELECT
    u.day, -- The day of the work in the team's zone.
    u.team_id, -- Whose credits paid.
    nullif(u.member_id, '') AS member_id, -- Who did the work; null where no member is named.
    nullif(u.feature, '') AS feature, -- What was used.
    u.uses, -- How many uses, without those taken back.
    u.credits * 0.000001 AS credits -- What they cost, without those taken back.
FROM :usage u
WHERE u.uses <> 0 OR u.credits <> 0;

-- Uses by the value of an attribute, for each that the catalog's count_by lists; a use counts once for each of them that it names.
CREATE VIEW analytics.usage_by_attribute AS
SELECT
    u.day, -- The day of the work in the team's zone.
    u.team_id, -- Whose credits paid.
    nullif(u.member_id, '') AS member_id, -- Who did the work; null where no member is named.
    nullif(f.key, '') AS feature, -- What was used.
    u.name AS attribute, -- The name of the attribute: choose one, or a use is there several times.
    u.value, -- Its value. Uses that do not name the attribute are not here.
    (f.value ->> 1)::bigint AS uses, -- How many uses, without those taken back.
    (f.value ->> 0)::bigint * 0.000001 AS credits -- What they cost, without those taken back.
FROM :usage_attributes u CROSS JOIN LATERAL jsonb_each(u.features) f
WHERE (f.value ->> 1)::bigint <> 0 OR (f.value ->> 0)::bigint <> 0;

-- One quantity of a use that has several, and its part of the price. The parts of a use, rounded once, are its credits.
CREATE VIEW analytics.usage_components AS
SELECT
    u.team_id, -- Whose credits paid.
    u.member_id, -- Who did the work; null where no member is named.
    u.feature, -- What was used.
    u.tier, -- The attribute tier.
    u.attributes, -- All reported attributes, as a JSON object of texts.
    q.key AS quantity_name, -- Which of its quantities, as the rate card names it.
    q.value::numeric AS quantity, -- How much was used of it.
    rate.credits * card.one AS rate, -- What one of it costs, in credits.
    q.value::numeric * rate.credits * card.one AS credits, -- Its part of the price, in credits: exact, so with more than six places.
    u.rate_card, -- The version of the rate card that priced it.
    u.occurred_at, -- When the work was done.
    u.recorded_at, -- When it was stored.
    u.taken_back_at, -- When the use was taken back; null where it was not.
    u.hold_id, -- The hold that it settled.
    u.source, -- The feature service that reported it.
    u.event_id, -- The id of the report.
    u.position -- The place of the use in the log, as the API says it.
FROM analytics.usage u
CROSS JOIN LATERAL jsonb_each_text(u.quantities) q
LEFT JOIN (
    SELECT
        (fact.data ->> 'version')::integer AS version, feature ->> 'feature' AS feature, feature -> 'rates' AS rates,
        CASE coalesce(feature ->> 'for_units', '1') WHEN '1' THEN 1 WHEN '1000' THEN 0.001 ELSE 0.000001 END AS one
    FROM facts c
    CROSS JOIN LATERAL (SELECT convert_from(c.body, 'UTF8')::jsonb -> 'card' AS data) fact
    CROSS JOIN LATERAL jsonb_array_elements(fact.data -> 'categories') AS category
    CROSS JOIN LATERAL jsonb_array_elements(category -> 'features') AS feature
    WHERE c.shard = :rate_card_shard AND c.team_id = 'creditwell' AND c.type = 'rate_card.published.v1'
) card ON card.version = u.rate_card AND card.feature = u.feature
LEFT JOIN LATERAL (
    SELECT (one_rate -> 'credits_by_quantity' ->> q.key)::numeric AS credits
    FROM jsonb_array_elements(card.rates) AS one_rate
    WHERE coalesce(u.attributes, '{}') @> coalesce(one_rate -> 'attributes', '{}')
    ORDER BY (SELECT count(*) FROM jsonb_object_keys(coalesce(one_rate -> 'attributes', '{}'))) DESC
    LIMIT 1
) rate ON true;
