-- Usage per member and day (in the team's zone), for the charts; the view `usage` shows each feature by itself.
CREATE TABLE usage_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    features jsonb NOT NULL,
    PRIMARY KEY (shard, team_id, day, member_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE usage_v0 IS 'What each member used on each day; voided usage is taken off the day it happened.';
COMMENT ON COLUMN usage_v0.member_id IS 'Empty where the work was nobody''s in particular.';
COMMENT ON COLUMN usage_v0.features IS 'By feature: micro-credits and uses, as in {"ai_image.generate": [1500000, 3]}.';

-- The same by the values of attributes, for the names that these tables count: none unless the catalog says so.
CREATE TABLE usage_attributes_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    features jsonb NOT NULL,
    PRIMARY KEY (shard, team_id, name, day, member_id, value)
) WITH (fillfactor = 50);
COMMENT ON TABLE usage_attributes_v0 IS 'What each member used on each day with which value of an attribute that is counted; as in usage, voided usage is taken off.';
COMMENT ON COLUMN usage_attributes_v0.name IS 'Of the attribute: one of usage_counted.';
COMMENT ON COLUMN usage_attributes_v0.features IS 'By feature: micro-credits and uses.';

CREATE TABLE usage_counted_v0 (
    name text COLLATE "C" PRIMARY KEY
);
COMMENT ON TABLE usage_counted_v0 IS 'The attributes that usage_attributes counts: what the catalog listed when these tables were made.';
