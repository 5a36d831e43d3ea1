-- Notices to the host product. The log says what there is to tell; here stands what became of each.

-- What a host is told of, found without reading the usage between. The list is that of schemas/notices.py.
CREATE INDEX facts_to_tell ON facts (shard, position)
WHERE type IN (
    'balance.ran_low.v1', 'balance.ran_out.v1', 'balance.recovered.v1', 'top_up.failed.v1',
    'top_up.action_required.v1', 'top_up.suspended.v1', 'top_up.resumed.v1', 'top_up.skipped.v1'
);

CREATE TABLE notices (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    team_id text NOT NULL,
    type text NOT NULL,
    notice_id text NOT NULL,
    body text NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_answer text,
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    PRIMARY KEY (shard, position),
    CONSTRAINT notices_state CHECK (state IN ('waiting', 'delivered', 'given_up'))
) WITH (fillfactor = 70);
CREATE INDEX notices_due ON notices (due_at) WHERE state = 'waiting';
CREATE INDEX notices_open ON notices (shard, team_id, position) WHERE state <> 'delivered';
CREATE INDEX notices_ended ON notices (ended_at) WHERE state <> 'waiting';
COMMENT ON TABLE notices IS 'Each notice once: the place of the fact that it tells of is its key. Kept for 30 days after its end.';
COMMENT ON COLUMN notices.notice_id IS 'The webhook-id: the same at every try.';
COMMENT ON COLUMN notices.body IS 'The text that is signed and sent, the same at every try.';
COMMENT ON COLUMN notices.due_at IS 'Not tried before; nor before the earlier notices of its team have ended.';
COMMENT ON COLUMN notices.last_answer IS 'What came of the last try: an HTTP status, or why there was none.';

SELECT keep_teams_apart('notices');
GRANT SELECT, INSERT, UPDATE, DELETE ON notices TO creditwell_worker;
GRANT SELECT ON notices TO creditwell_reader;
