-- The balance of each team after `position`, and its lots. A read folds the facts after `position` on top.
CREATE TABLE balance_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    as_of timestamptz NOT NULL,
    included bigint NOT NULL,
    additional bigint NOT NULL,
    debt bigint NOT NULL,
    debt_payers jsonb NOT NULL,
    next_end timestamptz NOT NULL,
    plan text COLLATE "C" NOT NULL,
    plan_position bigint NOT NULL,
    zone text COLLATE "C" NOT NULL,
    allowance bigint NOT NULL,
    cycle_ends_at timestamptz NOT NULL,
    sealed_until timestamptz NOT NULL,
    notice_threshold bigint NOT NULL,
    top_up_enabled boolean NOT NULL,
    top_up_threshold bigint NOT NULL,
    low boolean NOT NULL,
    "out" boolean NOT NULL,
    alarm boolean NOT NULL,
    holds jsonb NOT NULL,
    true_from timestamptz NOT NULL,
    stretch jsonb NOT NULL,
    PRIMARY KEY (shard, team_id)
) WITH (fillfactor = 50);
CREATE INDEX balance_v0_alarm ON balance_v0 (shard, team_id) WHERE alarm;
CREATE INDEX balance_v0_low ON balance_v0 (shard, team_id) WHERE low;
CREATE INDEX balance_v0_held ON balance_v0 (shard, team_id) WHERE holds <> '{}';
CREATE INDEX balance_v0_next_end ON balance_v0 (next_end);
COMMENT ON TABLE balance_v0 IS 'What each team owns after its last folded fact, in micro-credits.';
COMMENT ON COLUMN balance_v0.included IS 'Left of the plan''s monthly allowance.';
COMMENT ON COLUMN balance_v0.additional IS 'All that is not included; negative where usage went past zero.';
COMMENT ON COLUMN balance_v0.debt IS 'Usage that no lot paid for; part of additional.';
COMMENT ON COLUMN balance_v0.debt_payers IS 'Which lots have paid debt since, the newest last: lot and micro-credits.';
COMMENT ON COLUMN balance_v0.true_from IS 'As of any instant from here on, the facts up to position come to this row.';
COMMENT ON COLUMN balance_v0.stretch IS 'The facts since the last snapshot, as far as the next one speaks of them.';
COMMENT ON COLUMN balance_v0.alarm IS 'The log has not said yet that this balance ran low, ran out or recovered.';

CREATE TABLE lots_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    lot bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    gained bigint NOT NULL,
    remaining bigint NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    ended boolean NOT NULL,
    settled boolean NOT NULL,
    PRIMARY KEY (shard, team_id, lot)
) WITH (fillfactor = 50);
CREATE INDEX lots_v0_open ON lots_v0 (shard, team_id) WHERE NOT settled;
COMMENT ON TABLE lots_v0 IS 'Credits gained at one time, with what is left of them; lot is the position of the fact that brought them.';
COMMENT ON COLUMN lots_v0.lot IS 'Below zero for the second lot that one void brought.';
COMMENT ON COLUMN lots_v0.settled IS 'Nothing but a void can change it any more.';

CREATE TABLE balance_snapshots_v0 (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    true_from timestamptz NOT NULL,
    after bigint NOT NULL,
    late_before timestamptz NOT NULL,
    late_positions bigint [] NOT NULL,
    late_times timestamptz [] NOT NULL,
    state jsonb NOT NULL,
    fold smallint NOT NULL,
    PRIMARY KEY (shard, team_id, position)
);
COMMENT ON TABLE balance_snapshots_v0 IS 'The balance of a team after each thousandth of its facts: where reads of the past begin.';
COMMENT ON COLUMN balance_snapshots_v0.true_from IS 'As of any instant from here on, the facts up to position come to this state.';
COMMENT ON COLUMN balance_snapshots_v0.after IS 'The position of the snapshot before.';
COMMENT ON COLUMN balance_snapshots_v0.late_before IS 'Of the facts since then, those that occurred before this instant are listed.';
COMMENT ON COLUMN balance_snapshots_v0.fold IS 'The number of the fold that made it.';
