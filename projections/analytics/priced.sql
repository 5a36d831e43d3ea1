-- No view: by rate card and feature its heading and unit, as one JSON object. A query works it out once, however many
-- uses it reads.
SELECT jsonb_object_agg(card.version, card.features)
FROM (
    SELECT
        data ->> 'version' AS version,
        jsonb_object_agg(
            feature ->> 'feature', jsonb_build_array(category ->> 'id', coalesce(feature ->> 'unit', feature ->> 'per'))
        ) AS features
    FROM facts c
    CROSS JOIN LATERAL (SELECT convert_from(c.body, 'UTF8')::jsonb -> 'card' AS data) said
    CROSS JOIN LATERAL jsonb_array_elements(said.data -> 'categories') AS category
    CROSS JOIN LATERAL jsonb_array_elements(category -> 'features') AS feature
    WHERE c.shard = :rate_card_shard AND c.team_id = 'creditwell' AND c.type = 'rate_card.published.v1'
    GROUP BY data ->> 'version'
) card
