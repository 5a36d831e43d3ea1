-- Purchases and saved cards: what each page of Stripe's was opened for, in our own words. Amounts and credits are
-- decided here, before anybody pays; what Stripe says later is compared with them and never taken for them.

CREATE TABLE stripe_customers (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    customer_id text NOT NULL,
    payment_method_id text,
    card_created_at timestamptz,
    PRIMARY KEY (shard, team_id)
);
CREATE UNIQUE INDEX stripe_customers_by_id ON stripe_customers (customer_id);
CREATE INDEX stripe_customers_by_card ON stripe_customers (payment_method_id);
COMMENT ON TABLE stripe_customers IS 'What Stripe calls each team, and the card that its top-ups are charged to.';
COMMENT ON COLUMN stripe_customers.card_created_at IS 'When that card was saved, by Stripe''s clock: news of an older card does not replace it.';

CREATE TABLE checkouts (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL,
    customer_id text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    return_url text NOT NULL,
    pack text,
    name text,
    credits bigint,
    charge_cents bigint,
    currency text,
    keeps_card boolean NOT NULL,
    taxed boolean NOT NULL,
    create_try integer NOT NULL DEFAULT 1,
    session_id text,
    url text,
    expires_at timestamptz,
    state text NOT NULL DEFAULT 'open',
    detail text,
    payment_intent_id text,
    receipt_url text,
    card_state text,
    brand text,
    last4 text,
    position bigint,
    look_at timestamptz,
    PRIMARY KEY (shard, team_id, id),
    CONSTRAINT checkouts_mode CHECK (
        mode = CASE WHEN num_nonnulls(pack, name, credits, charge_cents, currency) = 5 THEN 'payment' ELSE 'setup' END
    ),
    CONSTRAINT checkouts_state CHECK (
        state IN ('open', 'processing', 'credited', 'saved', 'superseded', 'expired', 'failed', 'differs')
    ),
    CONSTRAINT checkouts_card_state CHECK (card_state IN ('saved', 'superseded', 'none'))
);
CREATE UNIQUE INDEX checkouts_by_id ON checkouts (id);
CREATE UNIQUE INDEX checkouts_by_session ON checkouts (session_id);
CREATE INDEX checkouts_waiting ON checkouts (look_at) WHERE look_at IS NOT NULL;
COMMENT ON TABLE checkouts IS 'Each page of Stripe''s that an admin was sent to: to buy a pack (mode payment) or to save a card (setup).';
COMMENT ON COLUMN checkouts.id IS 'Derived from the Idempotency-Key, so that a repeated request meets this row.';
COMMENT ON COLUMN checkouts.create_try IS 'Which idempotency key the page is asked for with; another one once Stripe would only repeat a failure.';
COMMENT ON COLUMN checkouts.card_state IS 'What became of the card that was to be kept for top-ups; none: something else than a card paid.';
COMMENT ON COLUMN checkouts.position IS 'Where the fact stands that came of it.';
COMMENT ON COLUMN checkouts.look_at IS 'When to ask Stripe again, should nobody tell us before; null when there is nothing left to do.';

-- The inbox: whose an event is, and what became of it. Waiting events are worked on in the order in which they come due.
ALTER TABLE stripe_inbox
ADD COLUMN charge_id text,
ADD COLUMN customer_id text,
ADD COLUMN checkout_id text,
ADD COLUMN tries integer NOT NULL DEFAULT 0,
ADD COLUMN look_at timestamptz NOT NULL DEFAULT '-infinity',
ADD COLUMN outcome text;
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX stripe_inbox_waiting;
CREATE INDEX stripe_inbox_waiting ON stripe_inbox (look_at) WHERE done_at IS NULL;
COMMENT ON COLUMN stripe_inbox.look_at IS 'When to work on it; ahead of now while somebody does, and after Stripe did not answer.';
COMMENT ON COLUMN stripe_inbox.outcome IS 'What it led to, or why it led to nothing.';

SELECT keep_teams_apart(of_teams) FROM unnest('{stripe_customers,checkouts}'::regclass[]) AS of_teams;
GRANT SELECT, INSERT, UPDATE ON stripe_customers, checkouts TO creditwell_api;
GRANT SELECT, UPDATE ON checkouts TO creditwell_worker;
GRANT SELECT, INSERT, UPDATE ON stripe_customers TO creditwell_worker;
GRANT SELECT ON stripe_customers, checkouts TO creditwell_reader;
