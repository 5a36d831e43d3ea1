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
