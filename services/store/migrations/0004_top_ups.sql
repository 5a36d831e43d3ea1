-- Top-ups: what must commit together with the facts about them. The log alone decides; everything here can be made from it,
-- save who works on what at the moment.

-- A team's facts other than its work, for folds that need few of very many. Usage and holds cost it nothing.
CREATE INDEX facts_but_work ON facts (shard, team_id, position)
WHERE type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%';

CREATE INDEX teams_to_seal ON teams (shard, team_id) WHERE sealed_cycle < cycle - 1;

CREATE TABLE top_ups (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    position bigint NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    enabled boolean NOT NULL,
    due_at timestamptz,
    enough_at bigint NOT NULL,
    PRIMARY KEY (shard, team_id)
) WITH (fillfactor = 50);
CREATE INDEX top_ups_due ON top_ups (due_at) WHERE due_at IS NOT NULL;
COMMENT ON TABLE top_ups IS 'The fold of a team''s top-ups up to a position: a short cut, which may be deleted at any time.';
COMMENT ON COLUMN top_ups.due_at IS 'When the next decision falls, unless something happens before.';
COMMENT ON COLUMN top_ups.enough_at IS 'The position at which a due decision found the balance above the threshold; it waits until the balance moves.';

CREATE TABLE top_up_attempts (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    attempt_id uuid NOT NULL,
    payment_intent_id text,
    create_try integer NOT NULL DEFAULT 0,
    confirm_try integer NOT NULL DEFAULT 1,
    cancel_try integer NOT NULL DEFAULT 1,
    owner text NOT NULL,
    leased_until timestamptz NOT NULL,
    look_at timestamptz NOT NULL,
    looks integer NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL,
    asked_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (shard, team_id, attempt_id)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX top_up_attempts_open ON top_up_attempts (shard, team_id) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX top_up_attempts_intent ON top_up_attempts (payment_intent_id);
CREATE INDEX top_up_attempts_waiting ON top_up_attempts (look_at) WHERE ended_at IS NULL;
COMMENT ON TABLE top_up_attempts IS 'Charges under way, one at most for a team, and who works on each; afterwards whose intent was whose.';
COMMENT ON COLUMN top_up_attempts.create_try IS 'Which idempotency key was last used to create the intent; 0 before the first request was sent.';
COMMENT ON COLUMN top_up_attempts.leased_until IS 'By the database''s clock. A lost lease does no harm: Stripe pays an intent once.';
COMMENT ON COLUMN top_up_attempts.asked_at IS 'When the owner of the card was first asked to confirm.';

-- What Stripe says has happened, stored before it is worked on. No body: whoever acts on it asks Stripe how things are now.
CREATE TABLE stripe_inbox (
    event_id text PRIMARY KEY,
    type text NOT NULL,
    object_kind text NOT NULL,
    object_id text NOT NULL,
    intent_id text,
    attempt_id text,
    created_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deliveries integer NOT NULL DEFAULT 1,
    done_at timestamptz
);
CREATE INDEX stripe_inbox_waiting ON stripe_inbox (received_at) WHERE done_at IS NULL;
COMMENT ON TABLE stripe_inbox IS 'Webhooks of Stripe: each event once, however often it comes.';

SELECT keep_teams_apart(of_teams) FROM unnest('{top_ups,top_up_attempts}'::regclass[]) AS of_teams;
GRANT SELECT, INSERT, UPDATE ON top_ups, top_up_attempts, stripe_inbox TO creditwell_worker;
GRANT SELECT ON top_ups, top_up_attempts TO creditwell_api, creditwell_reader;
GRANT UPDATE (confirm_try, look_at, looks) ON top_up_attempts TO creditwell_api;
GRANT INSERT, UPDATE (deliveries), SELECT (event_id, deliveries) ON stripe_inbox TO creditwell_api;
GRANT SELECT ON stripe_inbox TO creditwell_reader;
