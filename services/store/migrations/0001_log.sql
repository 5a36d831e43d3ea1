-- The log: one append-only table of facts in 64 shards, and what must commit together with it.

CREATE TABLE store_constants (
    name text PRIMARY KEY,
    value text NOT NULL
);
COMMENT ON TABLE store_constants IS 'What may never change once facts exist: the number of shards, the name of the log.';
INSERT INTO store_constants (name, value) VALUES ('shards', '64'), ('log', gen_random_uuid()::text);

-- One row per shard, locked from the first position taken to COMMIT: positions are gapless and in commit order.
-- The fillfactor keeps every update of this tiny, hot table on its page.
CREATE TABLE shard_heads (
    shard smallint PRIMARY KEY,
    next bigint NOT NULL DEFAULT 1,
    head bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    recorded_at timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE shard_heads IS 'Where each shard goes on: the next position, the hash of its last block, and the time of its last fact.';
INSERT INTO shard_heads (shard) SELECT generate_series(0, 63);

CREATE TABLE facts (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    team_id text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    leaf bytea NOT NULL,
    CONSTRAINT facts_pkey PRIMARY KEY (shard, position),
    CONSTRAINT facts_identity UNIQUE (shard, team_id, source, id)
);
CREATE INDEX facts_of_team ON facts (shard, team_id, position);
COMMENT ON TABLE facts IS 'Everything that happened, in order, for ever.';
COMMENT ON COLUMN facts.position IS 'Place in the shard: from 1, without gaps, in commit order.';
COMMENT ON COLUMN facts.body IS 'The bytes of the fact as they were stored; jsonb would rewrite numbers and keys.';
COMMENT ON COLUMN facts.leaf IS 'SHA-256 over every other column: the leaf of the Merkle tree of its block.';

-- One row per shard and append: the Merkle root over its facts, chained to the block before.
CREATE TABLE blocks (
    shard smallint NOT NULL,
    last bigint NOT NULL,
    first bigint NOT NULL,
    root bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT blocks_pkey PRIMARY KEY (shard, last)
);
COMMENT ON TABLE blocks IS 'Chain of the log: hash = SHA-256(2, shard, first, last, previous hash, root).';

CREATE TABLE signed_checkpoints (
    number bigint PRIMARY KEY,
    size bigint NOT NULL,
    note text NOT NULL,
    signed_at timestamptz NOT NULL
);
COMMENT ON TABLE signed_checkpoints IS 'Signed notes (C2SP form) over all shard heads, each naming the one before.';

-- Where the recorder goes on in Kafka. Kafka''s own commits are for lag dashboards and never read back.
CREATE TABLE kafka_cursors (
    topic text NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    owner text NOT NULL,
    next_offset bigint NOT NULL,
    last_hash bytea,
    passed_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN kafka_cursors.epoch IS 'Each new owner raises it: whoever holds an older one is fenced.';
COMMENT ON COLUMN kafka_cursors.last_hash IS 'SHA-256 of the record before next_offset: tells a truncated or remade topic.';
COMMENT ON COLUMN kafka_cursors.passed_at IS 'Everything that Kafka received before this moment is in the log.';

CREATE TABLE refused (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    refused_at timestamptz NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    team_id text,
    source text,
    event_id text,
    key bytea,
    value bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    sha256 bytea NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX refused_of_event ON refused (team_id, source, event_id) WHERE event_id IS NOT NULL;
COMMENT ON TABLE refused IS 'Usage that can not be stored, as it arrived (of more than 1 MiB: its first 64 KiB), with the reason.';

-- What came again after it was stored: the receipt says how often.
CREATE TABLE repeats (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    duplicates bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, team_id, source, id)
);

CREATE TABLE voided_usages (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    usage_position bigint NOT NULL,
    void_position bigint NOT NULL,
    PRIMARY KEY (shard, team_id, usage_position)
);
COMMENT ON TABLE voided_usages IS 'Each usage is taken back once at most.';

-- The teams that exist and the cycle that each is in: whoever appends first appends the refills that are due.
CREATE TABLE teams (
    shard smallint NOT NULL,
    team_id text NOT NULL,
    plan text NOT NULL,
    plan_assigned_id text NOT NULL,
    anchor timestamptz NOT NULL,
    zone text NOT NULL,
    allowance_credits bigint NOT NULL,
    cycle integer NOT NULL,
    cycle_ends_at timestamptz NOT NULL,
    sealed_cycle integer NOT NULL DEFAULT -1,
    PRIMARY KEY (shard, team_id)
);
CREATE INDEX teams_by_cycle_end ON teams (cycle_ends_at);
COMMENT ON TABLE teams IS 'The plan and the open cycle of each team, moved on by the transaction that appends the fact.';

-- Where each reader of the log goes on; claimed shard by shard, fenced by the epoch.
CREATE TABLE checkpoints (
    reader text NOT NULL,
    shard smallint NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    seen_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (reader, shard)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE checkpoints IS 'Positions that a reader has finished, a vector over shards.';

-- Who reads: the shards are shared out among these.
CREATE TABLE readers (
    reader text NOT NULL,
    owner text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (reader, owner)
);
COMMENT ON TABLE readers IS 'The processes that live, by their last sign of life.';

-- Which version of each projection is read; a rebuild switches it in one transaction.
CREATE TABLE projections (
    name text PRIMARY KEY,
    version integer NOT NULL,
    previous_version integer,
    switched_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE projections IS 'The live version of each projection; its tables carry the version in their names.';

-- Nothing that happened is changed or taken away: not by role, and not by the owner either.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct with a new fact.';
END $$;

CREATE TRIGGER facts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON facts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE facts ENABLE ALWAYS TRIGGER facts_append_only;

CREATE TRIGGER blocks_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON blocks
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE blocks ENABLE ALWAYS TRIGGER blocks_append_only;

CREATE TRIGGER signed_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signed_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE signed_checkpoints ENABLE ALWAYS TRIGGER signed_checkpoints_append_only;

CREATE TRIGGER refused_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON refused
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE refused ENABLE ALWAYS TRIGGER refused_append_only;

-- The number of shards is part of every position that anybody has written down.
CREATE FUNCTION refuse_constant_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'store constants never change: the log was written with them'
        USING ERRCODE = 'restrict_violation', HINT = 'Export the log and import it into a new store.';
END $$;
CREATE TRIGGER store_constants_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON store_constants
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_constant_change();
ALTER TABLE store_constants ENABLE ALWAYS TRIGGER store_constants_fixed;
