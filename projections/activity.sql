-- One row per entry: what each fact did to a team's balance. The view `activity` shows these and the runs.
CREATE TABLE activity_rows_v0 (
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
CREATE INDEX activity_rows_v0_beside_usage ON activity_rows_v0 (shard, team_id, position, part) WHERE kind <> 'usage';
COMMENT ON TABLE activity_rows_v0 IS 'The credit activity of each team, in micro-credits; credits = included + additional.';
COMMENT ON COLUMN activity_rows_v0.paid IS 'Which lots paid: lot, credits, lot, credits and so on; lot 0 is debt.';
COMMENT ON COLUMN activity_rows_v0.late IS 'It arrived after its cycle was sealed and counts in the open one.';

-- Usage of a team that one lot paid, many to a row: the arrays have an element for each entry. Runs of a team do not overlap.
CREATE TABLE activity_runs_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    lot bigint NOT NULL,
    is_included boolean NOT NULL,
    members text [] COLLATE "C" NOT NULL,
    features text [] COLLATE "C" NOT NULL,
    positions bigint [] STORAGE PLAIN NOT NULL,
    recorded timestamptz [] STORAGE PLAIN NOT NULL,
    occurred timestamptz [] STORAGE PLAIN NOT NULL,
    by_member smallint [] STORAGE PLAIN NOT NULL,
    of_feature smallint [] STORAGE PLAIN NOT NULL,
    credits bigint [] STORAGE PLAIN NOT NULL,
    balances bigint [] STORAGE PLAIN NOT NULL,
    PRIMARY KEY (shard, team_id, first)
) WITH (toast_tuple_target = 8160); -- names stay in the row, too: who looks for a member's reads nothing beside it
COMMENT ON TABLE activity_runs_v0 IS 'Plain usage in the activity, in micro-credits: runs of one team that one lot paid.';
COMMENT ON COLUMN activity_runs_v0.is_included IS 'The lot is of the plan''s monthly allowance.';
COMMENT ON COLUMN activity_runs_v0.members IS 'Whose usage is in it, each once: a run without a member need not be read for that one.';
COMMENT ON COLUMN activity_runs_v0.by_member IS 'Which of members, from 1.';
COMMENT ON COLUMN activity_runs_v0.of_feature IS 'Which of features, from 1.';
COMMENT ON COLUMN activity_runs_v0.balances IS 'The balance after each entry.';
