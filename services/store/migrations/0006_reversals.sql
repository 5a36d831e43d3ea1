-- Reconciliation with Stripe: when each comparison is due, and what the last one found. Refunds and disputes themselves need no
-- table: they are facts of a source of their own for each payment.

CREATE TABLE reconciliations (
    name text PRIMARY KEY,
    due_at timestamptz NOT NULL,
    began_at timestamptz,
    ended_at timestamptz,
    payments bigint NOT NULL DEFAULT 0,
    healed bigint NOT NULL DEFAULT 0,
    breaks jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE reconciliations IS 'The comparisons of the log with Stripe that run by themselves, hourly over a day and daily over five weeks.';
COMMENT ON COLUMN reconciliations.due_at IS 'By the database''s clock; ahead of now while a process works on it, so that one that died is followed by another.';
COMMENT ON COLUMN reconciliations.breaks IS 'What the last one left: how many breaks of each type.';
INSERT INTO reconciliations (name, due_at)
VALUES ('hourly', clock_timestamp() + interval '1 hour'), ('daily', clock_timestamp() + interval '1 day');

GRANT SELECT, UPDATE ON reconciliations TO creditwell_worker;
GRANT SELECT ON reconciliations TO creditwell_reader;
