-- Holds and limits of members: how they stand after the last fact about them. The log alone decides; both tables can be
-- made from it, and move in the transaction that appends the fact, under the lock of the team's shard.

CREATE TABLE holds (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    hold_id text NOT NULL,
    member_id text,
    credits bigint NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open',
    PRIMARY KEY (shard, team_id, hold_id),
    CONSTRAINT holds_state CHECK (state IN ('open', 'settled', 'released', 'expired'))
) WITH (fillfactor = 70);
CREATE INDEX holds_open_of_member ON holds (shard, team_id, member_id) WHERE state = 'open';
CREATE INDEX holds_ending ON holds (expires_at) WHERE state = 'open';
COMMENT ON TABLE holds IS 'Credits set aside for work that runs. A hold ends once: settled, released or expired.';
COMMENT ON COLUMN holds.credits IS 'What is set aside, or was when the hold ended; in micro-credits.';
COMMENT ON COLUMN holds.state IS 'An open hold past expires_at has ended, too, whether or not the log says so yet.';

CREATE TABLE member_limits (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    member_id text NOT NULL,
    number integer NOT NULL,
    position bigint NOT NULL,
    daily bigint,
    monthly bigint,
    hard boolean NOT NULL,
    PRIMARY KEY (shard, team_id, member_id)
);
COMMENT ON TABLE member_limits IS 'What each member may use per day and per month of the team''s zone, in micro-credits; null is no limit, 0 is nothing.';
COMMENT ON COLUMN member_limits.number IS 'How often it was set; position is the fact that set it last.';
COMMENT ON COLUMN member_limits.hard IS 'A hard limit refuses quotes and holds, a soft one only marks them. Recorded usage is never refused.';

SELECT keep_teams_apart(of_teams) FROM unnest('{holds,member_limits}'::regclass[]) AS of_teams;
GRANT SELECT, UPDATE (state) ON holds TO creditwell_recorder, creditwell_worker;
GRANT SELECT, INSERT, UPDATE (credits, expires_at, state) ON holds TO creditwell_api;
GRANT SELECT, INSERT, UPDATE (number, position, daily, monthly, hard) ON member_limits TO creditwell_api;
GRANT SELECT ON holds, member_limits TO creditwell_reader;
