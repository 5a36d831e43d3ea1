-- Usage per day (in the team's zone), feature and member, for the charts.
CREATE TABLE usage_v0 (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    day date NOT NULL,
    feature text NOT NULL,
    member_id text NOT NULL,
    credits bigint NOT NULL,
    uses bigint NOT NULL,
    PRIMARY KEY (shard, team_id, day, feature, member_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE usage_v0 IS 'Credits used per day, feature and member; voided usage is taken off the day it happened.';
COMMENT ON COLUMN usage_v0.member_id IS 'Empty where the work was nobody''s in particular.';
