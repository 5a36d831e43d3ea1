-- The directory: names of teams and members, and who is an admin. Not facts: they can be changed and erased.
-- And the answers to commands that may come twice.

CREATE TABLE team_names (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (shard, team_id)
);
COMMENT ON TABLE team_names IS 'What each team is called.';

CREATE TABLE members (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    member_id text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, team_id, member_id),
    CONSTRAINT members_role CHECK (role IN ('member', 'admin'))
);
COMMENT ON TABLE members IS 'The people of each team; facts know them by member_id alone.';
COMMENT ON COLUMN members.role IS 'An admin may spend; whoever is not one is told whom to ask.';

-- A command and its answer, written by the transaction that did what the command says: both happened, or neither.
CREATE TABLE command_answers (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    sub text NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    body_sha256 bytea NOT NULL,
    status smallint NOT NULL DEFAULT 0,
    answer bytea NOT NULL DEFAULT '',
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, team_id, sub, route, key)
);
CREATE INDEX command_answers_by_age ON command_answers (shard, team_id, answered_at);
COMMENT ON TABLE command_answers IS 'Idempotency-Key: the same command gets the same answer for 30 days.';

SELECT keep_teams_apart(of_teams) FROM unnest('{team_names,members,command_answers}'::regclass[]) AS of_teams;
GRANT SELECT, INSERT, UPDATE, DELETE ON team_names, members, command_answers TO creditwell_api;
GRANT SELECT ON team_names, members TO creditwell_worker;
-- Old balances are folded anew, and a fold must know which usages were taken back.
GRANT SELECT ON voided_usages TO creditwell_api;
