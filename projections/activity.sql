-- One row per entry: what each fact did to a team's balance.
CREATE TABLE activity_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    part smallint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    recorded_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    member_id text COLLATE "C",
    feature text COLLATE "C",
    included bigint NOT NULL,
    additional bigint NOT NULL,
    balance_after bigint NOT NULL,
    paid bigint[] NOT NULL,
    late boolean NOT NULL,
    PRIMARY KEY (shard, team_id, position, part)
);
-- What is not usage is rare among a team's millions, and asked for by its type.
CREATE INDEX activity_v0_beside_usage ON activity_v0 (shard, team_id, position, part) WHERE kind <> 'usage';
COMMENT ON TABLE activity_v0 IS 'The credit activity of each team, in micro-credits; credits = included + additional.';
COMMENT ON COLUMN activity_v0.paid IS 'Which lots paid: lot, credits, lot, credits and so on; lot 0 is debt.';
COMMENT ON COLUMN activity_v0.late IS 'It arrived after its cycle was sealed and counts in the open one.';
