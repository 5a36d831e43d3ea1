-- Everything that the store of 0.1.0 is made of, by subject: the log, who may do what, the directory, holds and
-- limits, top-ups, purchases, what Stripe tells, reversals, notices. A table stands here whole, with its indexes; who
-- may use it stands at the end of its subject. The functions of the hot path are files of their own: see
-- `../functions`.


-- The log: one append-only table of facts in 64 shards, and what must commit together with it.

CREATE TABLE store_constants (
    name text COLLATE "C" PRIMARY KEY,
    value text COLLATE "C" NOT NULL
);
COMMENT ON TABLE store_constants IS 'What may never change once facts exist: the number of shards, the name of the log.';
INSERT INTO store_constants (name, value) VALUES ('shards', '64'), ('log', gen_random_uuid()::text);

CREATE TABLE store_secrets (
    name text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL
);
COMMENT ON TABLE store_secrets IS 'Keys that come back with the store: ''payments'' proves that what stands upon an intent of Stripe''s is ours.';
INSERT INTO store_secrets (name, value)
VALUES ('payments', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

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
    team_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    leaf bytea NOT NULL,
    CONSTRAINT facts_pkey PRIMARY KEY (shard, position),
    CONSTRAINT facts_identity UNIQUE (shard, team_id, source, id)
);
CREATE INDEX facts_of_team ON facts (shard, team_id, position);
-- A team's facts other than its work, for folds that need few of very many. Usage and holds cost it nothing.
CREATE INDEX facts_but_work ON facts (shard, team_id, position)
WHERE type NOT LIKE 'usage.%' AND type NOT LIKE 'hold.%';
-- Plans and refills, two a month for a team: who refills needs the newest of each.
CREATE INDEX facts_of_cycles ON facts (shard, team_id, position)
WHERE type IN ('plan.assigned.v1', 'credits.refilled.v1');
-- Usage that an operator corrected, alone or after another person approved it: a few a year, among all that people decide.
CREATE INDEX facts_of_corrections ON facts (shard, team_id, position)
WHERE source IN ('creditwell:corrections', 'creditwell:requests') AND type LIKE 'usage.%';
-- What payments brought and took, by its time: reconciliation looks each hour at what is new. The list is OF_MONEY in
-- services/money/reconcile/reads.py.
CREATE INDEX facts_of_money ON facts (recorded_at)
WHERE type IN (
    'credits.purchased.v1', 'credits.topped_up.v1', 'charge.refunded.v1', 'charge.disputed.v1', 'dispute.closed.v1',
    'credits.adjusted.v1'
);
-- What a host is told of, found without reading the usage between. The list is that of schemas/notices.py.
CREATE INDEX facts_to_tell ON facts (shard, position)
WHERE type IN (
    'balance.ran_low.v1', 'balance.ran_out.v1', 'balance.recovered.v1', 'top_up.failed.v1',
    'top_up.action_required.v1', 'top_up.suspended.v1', 'top_up.resumed.v1', 'top_up.skipped.v1'
);
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

-- What the signer signed: a tree of RFC 6962 with one leaf for each note.
CREATE TABLE signed_checkpoints (
    number bigint PRIMARY KEY,
    signed_at timestamptz NOT NULL,
    unpublished boolean NOT NULL,
    hashes bytea NOT NULL,
    note text COLLATE "C" NOT NULL
);
COMMENT ON TABLE signed_checkpoints IS 'Signed notes (C2SP tlog-checkpoint): note n signs the root over the leaves of notes 1 to n.';
COMMENT ON COLUMN signed_checkpoints.unpublished IS 'It reaches beyond what the relay had published, because Kafka was away.';
COMMENT ON COLUMN signed_checkpoints.hashes IS 'Its leaf, and the nodes of the tree that it completes: 32 bytes each, upwards.';

-- The vector of a note: for each shard the newest row up to its number.
CREATE TABLE signed_shards (
    shard smallint NOT NULL,
    number bigint NOT NULL,
    last bigint NOT NULL,
    head bytea NOT NULL,
    blocks bytea NOT NULL,
    CONSTRAINT signed_shards_pkey PRIMARY KEY (shard, number),
    CONSTRAINT signed_shards_last UNIQUE (shard, last)
);
COMMENT ON TABLE signed_shards IS 'Which shards had grown at each signed checkpoint, and how far.';
COMMENT ON COLUMN signed_shards.blocks IS 'Root (RFC 6962) over the hashes of the blocks by which the shard grew.';

-- Where the recorder goes on in Kafka. Kafka's own commits are for lag dashboards and never read back.
CREATE TABLE kafka_cursors (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    next_offset bigint NOT NULL,
    through bigint NOT NULL DEFAULT 0,
    last_hash bytea,
    passed_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON COLUMN kafka_cursors.epoch IS 'Each new owner raises it: whoever holds an older one is fenced.';
COMMENT ON COLUMN kafka_cursors.through IS
'Between next_offset and here was nothing to record: Kafka''s own markers, and what was taken back with its transaction.';
COMMENT ON COLUMN kafka_cursors.last_hash IS 'SHA-256 of the record before next_offset: tells a truncated or remade topic.';
COMMENT ON COLUMN kafka_cursors.passed_at IS 'Everything that Kafka received before this moment is in the log.';

CREATE TABLE refused (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    refused_at timestamptz NOT NULL,
    reason text COLLATE "C" NOT NULL,
    team_id text COLLATE "C",
    source text COLLATE "C",
    event_id text COLLATE "C",
    sha256 bytea NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX refused_of_event ON refused (team_id, source, event_id) WHERE event_id IS NOT NULL;
COMMENT ON TABLE refused IS 'Usage that can not be stored: where it stood, why, and the SHA-256 of its value. For ever.';

-- Nobody knows what is in a record that is no usage: a name, a mail, a prompt. So its bytes, and the sentence that quotes
-- them, have an end, and can be erased before it.
CREATE TABLE refused_bytes (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    refused_at timestamptz NOT NULL,
    team_id text COLLATE "C",
    detail text COLLATE "C",
    key bytea,
    value bytea,
    headers jsonb NOT NULL DEFAULT '[]',
    erased_at timestamptz,
    erased_by text COLLATE "C",
    erased_why text COLLATE "C",
    PRIMARY KEY (topic, partition, "offset")
);
CREATE INDEX refused_bytes_by_age ON refused_bytes (refused_at);
COMMENT ON TABLE refused_bytes IS 'Refused usage as it arrived (of more than 1 MiB: its first 64 KiB), for CREDITWELL_REFUSED_BYTES_DAYS.';
COMMENT ON COLUMN refused_bytes.detail IS 'What is wrong with it, in words that quote it.';
COMMENT ON COLUMN refused_bytes.erased_at IS 'When somebody erased it; until its time is over the row says who, and why.';

-- Whoever may call it can not destroy what is younger than a day.
CREATE FUNCTION forget_refused_bytes(older_than interval, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    WITH over AS (
        SELECT b.topic, b.partition, b."offset" FROM refused_bytes AS b
        WHERE b.refused_at < statement_timestamp() - greatest(older_than, interval '1 day')
        ORDER BY b.refused_at LIMIT most
    ), gone AS (
        DELETE FROM refused_bytes AS b USING over AS o
        WHERE (b.topic, b.partition, b."offset") = (o.topic, o.partition, o."offset") RETURNING true
    )
    SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION forget_refused_bytes IS 'Deletes the oldest bytes whose time is over, at most so many; how many it were.';
REVOKE ALL ON FUNCTION forget_refused_bytes FROM PUBLIC;

CREATE FUNCTION erase_refused_bytes(of_topic text, of_partition integer, of_offset bigint, by_whom text, why text)
RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    UPDATE refused_bytes AS b
    SET detail = NULL, key = NULL, value = NULL, headers = '[]',
        erased_at = clock_timestamp(), erased_by = by_whom, erased_why = why
    WHERE (b.topic, b.partition, b."offset") = (of_topic, of_partition, of_offset) AND b.erased_at IS NULL
    RETURNING true
$$;
COMMENT ON FUNCTION erase_refused_bytes IS 'Empties the bytes of one refused record; NULL where there are none any more.';
REVOKE ALL ON FUNCTION erase_refused_bytes FROM PUBLIC;

-- What came again after it was stored: the receipt says how often.
CREATE TABLE repeats (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    duplicates bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, team_id, source, id)
);

-- Beside the log and not in it: a fact has the same bytes with a trace and without.
CREATE TABLE traces (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    traceparent text COLLATE "C",
    request_id text COLLATE "C",
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, position),
    CHECK (traceparent IS NOT NULL OR request_id IS NOT NULL)
);
CREATE INDEX traces_by_age ON traces (noted_at);
COMMENT ON TABLE traces IS 'In which trace (W3C) and of which request to the API a fact came to be, where that is known; for 30 days, and nothing is decided by it.';

CREATE TABLE voided_usages (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    usage_position bigint NOT NULL,
    void_position bigint NOT NULL,
    PRIMARY KEY (shard, team_id, usage_position)
);
COMMENT ON TABLE voided_usages IS 'Each usage is taken back once at most.';

-- Usage as analysts count it, decoded once: a row for a team and a day, arrays for what was used on it. The log up to the
-- checkpoint of the reader `days` is in it; views decode the rest. Each part of the log is counted once, and never again:
-- what is taken back later is looked up by whoever asks.
CREATE TABLE usage_days (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    day_utc date NOT NULL,
    members text [] COLLATE "C" NOT NULL,
    features text [] COLLATE "C" NOT NULL,
    tiers text [] COLLATE "C" NOT NULL,
    sources text [] COLLATE "C" NOT NULL,
    uses bigint [] NOT NULL,
    quantities numeric [] NOT NULL,
    credits bigint [] NOT NULL,
    hours smallint [] NOT NULL,
    uses_by_hour bigint [] NOT NULL,
    credits_by_hour bigint [] NOT NULL,
    PRIMARY KEY (shard, team_id, day, day_utc)
);
COMMENT ON TABLE usage_days IS 'What each team used on each day, for analysts: counted from the log up to the checkpoint of the reader days.';
COMMENT ON COLUMN usage_days.day IS 'Of the work, in the team''s zone; it is one key with day_utc.';
COMMENT ON COLUMN usage_days.members IS 'An element for each member, feature, tier and source, in this order, as in the next six columns.';
COMMENT ON COLUMN usage_days.credits IS 'In micro-credits.';
COMMENT ON COLUMN usage_days.hours IS 'Hours of the day in the team''s zone, ascending, each with its uses and micro-credits.';

-- What goes wrong for one team while it goes on for all others. Written by whoever halted, deleted when it went well.
CREATE TABLE halted (
    work text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    shard smallint,
    position bigint,
    why text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    tried_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (work, name)
);
COMMENT ON TABLE halted IS 'Work that is halted for one team, shard or event of Stripe, and why; it is tried again each minute.';

-- The teams that exist and the cycle that each is in: whoever appends first appends the refills that are due.
CREATE TABLE teams (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    plan text COLLATE "C" NOT NULL,
    plan_assigned_id text COLLATE "C" NOT NULL,
    anchor timestamptz NOT NULL,
    zone text COLLATE "C" NOT NULL,
    allowance_credits bigint NOT NULL,
    cycle integer NOT NULL,
    cycle_ends_at timestamptz NOT NULL,
    sealed_cycle integer NOT NULL DEFAULT -1,
    PRIMARY KEY (shard, team_id)
);
CREATE INDEX teams_by_cycle_end ON teams (cycle_ends_at);
CREATE INDEX teams_to_seal ON teams (shard, team_id) WHERE sealed_cycle < cycle - 1;
COMMENT ON TABLE teams IS 'The plan and the open cycle of each team, moved on by the transaction that appends the fact.';

-- Where each reader of the log goes on; claimed shard by shard, fenced by the epoch.
CREATE TABLE checkpoints (
    reader text COLLATE "C" NOT NULL,
    shard smallint NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    owner text COLLATE "C" NOT NULL DEFAULT '',
    seen_at timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (reader, shard)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE checkpoints IS 'Positions that a reader has finished, a vector over shards.';

-- Who reads: the shards are shared out among these.
CREATE TABLE readers (
    reader text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (reader, owner)
);
COMMENT ON TABLE readers IS 'The processes that live, by their last sign of life.';

-- Which version of each projection is filled and read, for each build: those of two builds stand side by side. The digest
-- tells a build from another, before a statement finds out by a column that is missing.
CREATE TABLE projections (
    sha256 text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    previous_version integer,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    switched_at timestamptz,
    PRIMARY KEY (sha256, name)
);
COMMENT ON TABLE projections IS 'The version of each projection that a build reads and fills; its tables carry the version in their names.';
COMMENT ON COLUMN projections.sha256 IS 'SHA-256 of the build''s fold and of the DDL of its projections, without comments.';
COMMENT ON COLUMN projections.switched_at IS 'Since when it is read; NULL: its projector has not caught up with the log yet.';

-- Nothing that happened is changed or taken away: not by role, and not by the owner either. ALWAYS, because other
-- triggers sleep while session_replication_role is `replica`; CREATE TRIGGER can't say it.
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

CREATE TRIGGER signed_shards_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signed_shards
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE signed_shards ENABLE ALWAYS TRIGGER signed_shards_append_only;

CREATE TRIGGER refused_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON refused
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE refused ENABLE ALWAYS TRIGGER refused_append_only;

-- That a usage was taken back stays so.
CREATE TRIGGER voided_usages_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON voided_usages
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE voided_usages ENABLE ALWAYS TRIGGER voided_usages_append_only;

-- Rows that go one way. The condition stands in the trigger, so that a change which is right calls no function.
CREATE FUNCTION refuse_way_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% go one way: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Correct with a new fact.';
END $$;

-- A shard grows by what was appended and by nothing else: its last position is a block's. Its time is at most now, or that of a
-- head that was moved with it: refills fall due by it. The minute is for a clock that is set back in the middle of an append.
-- Asked once for all heads that an append moves.
CREATE FUNCTION refuse_empty_heads() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    wrong smallint;
BEGIN
    SELECT n.shard INTO wrong
    FROM new_heads AS n
    LEFT JOIN old_heads AS o USING (shard)
    WHERE o.shard IS NULL OR n.next < o.next OR n.recorded_at < o.recorded_at
      OR n.recorded_at > greatest(
          (SELECT max(old_heads.recorded_at) FROM old_heads), clock_timestamp() + interval '1 minute'
      )
      OR NOT EXISTS (SELECT FROM blocks AS b WHERE b.shard = n.shard AND b.last = n.next - 1 AND b.hash = n.head)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the head of shard % moves with the facts that are appended, and with the clock', wrong
            USING ERRCODE = 'restrict_violation', HINT = 'A head moves with an append alone.';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER shard_heads_full AFTER UPDATE ON shard_heads
    REFERENCING OLD TABLE AS old_heads NEW TABLE AS new_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_empty_heads();
ALTER TABLE shard_heads ENABLE ALWAYS TRIGGER shard_heads_full;

-- The number of shards is part of every position that anybody has written down.
CREATE FUNCTION refuse_constant_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'store constants never change: the log was written with them'
        USING ERRCODE = 'restrict_violation', HINT = 'Export the log and import it into a new store.';
END $$;
CREATE TRIGGER store_constants_fixed BEFORE UPDATE OR DELETE OR TRUNCATE ON store_constants
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_constant_change();
ALTER TABLE store_constants ENABLE ALWAYS TRIGGER store_constants_fixed;


-- Who may do what: one role for each kind of process, nothing for anybody else.
--
-- Roles belong to the whole cluster, so they are made where they are missing; `deploy/roles.sql` gives them passwords.
-- Nobody may UPDATE, DELETE or TRUNCATE facts, blocks, refused records and signed checkpoints. Whoever reads rows of
-- teams does so under row-level security, save the recorder: COPY is refused under it.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['recorder', 'projector', 'worker', 'api', 'reader', 'analyst', 'signer', 'owner'] LOOP
        IF to_regrole('creditwell_' || wanted) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE ROLE %I NOLOGIN %s',
                    'creditwell_' || wanted, CASE wanted WHEN 'recorder' THEN 'BYPASSRLS' ELSE '' END
                );
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this cluster is migrated at the same moment
            END;
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader, creditwell_signer, creditwell_owner;

-- What everybody may read: places, never anybody's rows.
GRANT SELECT ON store_constants, migrations, shard_heads, checkpoints, projections
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader, creditwell_signer;

-- Appending: the same function for whoever has something to say.
GRANT SELECT, INSERT ON facts TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT INSERT ON blocks TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT UPDATE (next, head, recorded_at) ON shard_heads
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT INSERT ON traces TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT SELECT ON traces TO creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader;
GRANT DELETE ON traces TO creditwell_worker;
GRANT SELECT ON teams TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT UPDATE (cycle, cycle_ends_at, sealed_cycle) ON teams
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;

-- The recorder: from Kafka into the log.
GRANT SELECT, INSERT, UPDATE ON kafka_cursors, repeats TO creditwell_recorder;
GRANT SELECT, INSERT ON refused, refused_bytes, voided_usages TO creditwell_recorder;

-- The projector: from the log into tables of its own, which it makes, replaces and drops.
GRANT CREATE ON SCHEMA public TO creditwell_projector;
GRANT INSERT, UPDATE, DELETE ON checkpoints TO creditwell_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON readers TO creditwell_projector, creditwell_worker;
GRANT INSERT, UPDATE, DELETE ON projections TO creditwell_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON halted TO creditwell_projector, creditwell_worker;
GRANT SELECT ON halted TO creditwell_reader;

-- The workers: relay, top-ups, refills and sealing.
GRANT INSERT, UPDATE ON checkpoints TO creditwell_worker;
GRANT SELECT ON kafka_cursors, refused, refused_bytes TO creditwell_worker;
GRANT EXECUTE ON FUNCTION forget_refused_bytes TO creditwell_worker;
-- And tells how far the log is signed.
GRANT SELECT ON signed_shards TO creditwell_worker;
-- And of which block each fact is.
GRANT SELECT ON blocks TO creditwell_worker;

-- The API: also brings teams into being and changes their plans. It folds old balances anew, and a fold must know which
-- usages were taken back.
GRANT INSERT ON teams TO creditwell_api;
GRANT UPDATE (plan, plan_assigned_id, allowance_credits) ON teams TO creditwell_api;
GRANT SELECT ON refused, repeats, kafka_cursors, voided_usages TO creditwell_api;
-- And takes usage back that operators correct.
GRANT INSERT ON voided_usages TO creditwell_api;
GRANT SELECT (topic, partition, "offset", team_id, detail) ON refused_bytes TO creditwell_api;
-- And proves single entries: hashes of the log, never anybody's rows.
GRANT SELECT ON blocks, signed_checkpoints, signed_shards TO creditwell_api;

-- Finance, verification: reads everything, writes nothing.
GRANT SELECT ON facts, blocks, signed_checkpoints, signed_shards, kafka_cursors, refused, refused_bytes, repeats,
voided_usages, teams TO creditwell_reader;

-- Analysts: commented views in a schema of their own, and nothing of what those are made of. The projector makes the
-- views, for they stand on the tables of a version: see `projections/analytics`. Each view reads by its maker's rights.
CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'Usage, credits and money in views for analysts; docs/analytics.md has questions with their SQL.';
GRANT USAGE ON SCHEMA analytics TO creditwell_analyst, creditwell_reader;
GRANT USAGE, CREATE ON SCHEMA analytics TO creditwell_projector;
GRANT SELECT ON voided_usages, usage_days TO creditwell_projector;
GRANT SELECT, INSERT, UPDATE ON usage_days TO creditwell_worker;
GRANT SELECT ON usage_days TO creditwell_reader;
GRANT SELECT (refused_at, reason, source) ON refused TO creditwell_projector;

-- The signer: sees the chain and not what is in it.
GRANT SELECT ON blocks, signed_checkpoints, signed_shards TO creditwell_signer;
GRANT INSERT ON signed_checkpoints, signed_shards TO creditwell_signer;

CREATE FUNCTION keep_teams_apart(of_teams regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', of_teams);
    EXECUTE format('DROP POLICY IF EXISTS every_team ON %1$s; DROP POLICY IF EXISTS one_team ON %1$s', of_teams);
    EXECUTE format(
        'CREATE POLICY every_team ON %s TO creditwell_projector, creditwell_worker, creditwell_reader USING (true)', of_teams
    );
    -- The subquery is worked out once for a statement. Unset, or spent with its transaction, it matches no team.
    EXECUTE format(
        $policy$
        CREATE POLICY one_team ON %s TO creditwell_api
        USING (team_id = (SELECT current_setting('creditwell.team', true)))
        $policy$, of_teams
    );
END $$;
COMMENT ON FUNCTION keep_teams_apart IS 'Called for each table with a column team_id: the API sees one team at a time, that of the setting creditwell.team.';

SELECT keep_teams_apart(of_teams) FROM unnest('{facts,teams,refused,refused_bytes,repeats,voided_usages,usage_days}'::regclass[]) AS of_teams;

-- What features cost is nobody's secret: whoever speaks for a team may read the rate cards.
CREATE POLICY rate_cards ON facts FOR SELECT TO creditwell_api
USING (team_id = 'creditwell' AND (SELECT current_setting('creditwell.team', true)) <> '');

-- The proof of an entry needs the leaves beside it, and those may be of other teams: hashes, which tell nothing of them.
CREATE FUNCTION leaves_of_block(of_shard smallint, of_last bigint) RETURNS TABLE (place bigint, leaf bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT f.position, f.leaf FROM blocks AS b JOIN facts AS f ON f.shard = b.shard AND f.position BETWEEN b.first AND b.last
    WHERE b.shard = of_shard AND b.last = of_last
$$;
REVOKE ALL ON FUNCTION leaves_of_block FROM PUBLIC;
GRANT EXECUTE ON FUNCTION leaves_of_block TO creditwell_api, creditwell_reader;

CREATE FUNCTION share_projection(projection regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.oid = projection AND c.relkind = 'r' AND a.attname = 'team_id'
    ) THEN
        PERFORM keep_teams_apart(projection);
    END IF;
    EXECUTE format(
        'GRANT SELECT ON %s TO creditwell_recorder, creditwell_worker, creditwell_api, creditwell_reader', projection
    );
END $$;
COMMENT ON FUNCTION share_projection IS 'Called for each table and view of a projection when it is made, as creditwell_projector: not shared means readable by nobody.';


-- The directory: names of teams and members, and who is an admin. Not facts: they can be changed and erased.
-- And the answers to commands that may come twice.

CREATE TABLE team_names (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (shard, team_id)
);
COMMENT ON TABLE team_names IS 'What each team is called.';

CREATE TABLE members (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, team_id, member_id),
    CONSTRAINT members_role CHECK (role IN ('member', 'admin'))
);
COMMENT ON TABLE members IS 'The people of each team; facts know them by member_id alone.';
COMMENT ON COLUMN members.role IS 'An admin may spend; whoever is not one is told whom to ask.';

-- A command and its answer, written by the transaction that did what the command says: both happened, or neither.
CREATE TABLE command_answers (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    sub text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    body_sha256 bytea NOT NULL,
    status smallint NOT NULL DEFAULT 0,
    answer bytea NOT NULL DEFAULT '',
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, team_id, sub, route, key)
);
CREATE INDEX command_answers_by_age ON command_answers (shard, team_id, answered_at);
COMMENT ON TABLE command_answers IS 'Idempotency-Key: the same command gets the same answer for 30 days.';

-- Whose names are gone: it follows from the facts `member.erased`.
CREATE TABLE erased_members (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    wholly_at bigint,
    erased_by text COLLATE "C",
    why text COLLATE "C",
    PRIMARY KEY (shard, team_id, member_id)
);
COMMENT ON TABLE erased_members IS 'Members whom pages and downloads call "erased member", unless the directory knows them again.';
COMMENT ON COLUMN erased_members.position IS 'The newest fact that says so. Who did it and why stand here alone, and in no log.';
COMMENT ON COLUMN erased_members.wholly_at IS 'The newest fact that ended their limits as well.';

SELECT keep_teams_apart(of_teams)
FROM unnest('{team_names,members,command_answers,erased_members}'::regclass[]) AS of_teams;
GRANT SELECT, INSERT, UPDATE, DELETE ON team_names, members, command_answers TO creditwell_api;
GRANT SELECT ON team_names, members TO creditwell_worker;
GRANT SELECT ON erased_members TO creditwell_api, creditwell_worker, creditwell_reader;

-- Finance and operators of every team ask which there are. A session that speaks for one team is told of none.
CREATE FUNCTION teams_after(after_shard smallint, after_team text, most integer)
RETURNS TABLE (shard smallint, team_id text, name text, plan text, zone text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT t.shard, t.team_id, n.name, t.plan, t.zone FROM teams AS t LEFT JOIN team_names AS n USING (shard, team_id)
    WHERE current_setting('creditwell.team', true) = '*' AND (t.shard, t.team_id) > (after_shard, after_team)
    ORDER BY t.shard, t.team_id LIMIT most
$$;
REVOKE ALL ON FUNCTION teams_after FROM PUBLIC;
GRANT EXECUTE ON FUNCTION teams_after TO creditwell_api;

-- And what people decided: so many facts that are no work, with the bodies of those types alone, and so much usage that
-- an operator corrected. Right before a usage that replaces another one stands who did it.
CREATE FUNCTION changes_after(after_shard smallint, after_team text, after_position bigint, of_types text [], most integer)
RETURNS TABLE (
    shard smallint, team_id text, "position" bigint, recorded_at timestamptz, type text, body bytea, taken_back bytea
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT c.* FROM (
        (
            SELECT f.shard, f.team_id, f.position, f.recorded_at, f.type,
                CASE WHEN f.type = ANY(of_types) THEN f.body END, NULL::bytea
            FROM facts AS f
            WHERE current_setting('creditwell.team', true) = '*' AND f.type NOT LIKE 'usage.%' AND f.type NOT LIKE 'hold.%'
              AND (f.shard, f.team_id, f.position) > (after_shard, after_team, after_position)
            ORDER BY f.shard, f.team_id, f.position LIMIT most
        ) UNION ALL (
            SELECT f.shard, f.team_id, f.position, f.recorded_at, f.type, f.body, b.body
            FROM facts AS f
            LEFT JOIN facts AS b ON f.type = 'usage.recorded.v1' AND b.shard = f.shard AND b.position = f.position - 1
            WHERE current_setting('creditwell.team', true) = '*'
              AND f.source IN ('creditwell:corrections', 'creditwell:requests') AND f.type LIKE 'usage.%'
              AND (f.shard, f.team_id, f.position) > (after_shard, after_team, after_position)
            ORDER BY f.shard, f.team_id, f.position LIMIT most
        )
    ) AS c (shard, team_id, "position", recorded_at, type, body, taken_back)
    ORDER BY c.shard, c.team_id, c.position LIMIT most
$$;
REVOKE ALL ON FUNCTION changes_after FROM PUBLIC;
GRANT EXECUTE ON FUNCTION changes_after TO creditwell_api;


-- Holds and limits of members: how they stand after the last fact about them. The log alone decides; both tables can be
-- made from it, and move in the transaction that appends the fact, under the lock of the team's shard.

CREATE TABLE holds (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    hold_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C",
    credits bigint NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'open',
    PRIMARY KEY (shard, team_id, hold_id),
    CONSTRAINT holds_state CHECK (state IN ('open', 'settled', 'released', 'expired')),
    CONSTRAINT holds_a_day_at_most CHECK (expires_at <= placed_at + interval '24 hours')
) WITH (fillfactor = 70);
CREATE INDEX holds_open_of_member ON holds (shard, team_id, member_id) WHERE state = 'open';
CREATE INDEX holds_ending ON holds (expires_at) WHERE state = 'open';
COMMENT ON TABLE holds IS 'Credits set aside for work that runs. A hold ends once: settled, released or expired.';
COMMENT ON COLUMN holds.credits IS 'What is set aside, or was when the hold ended; in micro-credits.';
COMMENT ON COLUMN holds.state IS 'An open hold past expires_at has ended, too, whether or not the log says so yet.';

CREATE TABLE member_limits (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    position bigint NOT NULL,
    daily bigint,
    monthly bigint,
    hard boolean NOT NULL,
    PRIMARY KEY (shard, team_id, member_id)
);
-- A hold ends once, takes no more than was set aside, and never lasts longer than a day.
CREATE TRIGGER holds_one_way BEFORE UPDATE ON holds
    FOR EACH ROW WHEN (
        OLD.state <> 'open' OR NEW.credits > OLD.credits
        OR (NEW.shard, NEW.team_id, NEW.hold_id, NEW.placed_at) IS DISTINCT FROM (OLD.shard, OLD.team_id, OLD.hold_id, OLD.placed_at)
        OR NEW.member_id IS DISTINCT FROM OLD.member_id
    ) EXECUTE FUNCTION refuse_way_back();
ALTER TABLE holds ENABLE ALWAYS TRIGGER holds_one_way;
CREATE TRIGGER holds_stay BEFORE DELETE OR TRUNCATE ON holds FOR EACH STATEMENT EXECUTE FUNCTION refuse_way_back();
ALTER TABLE holds ENABLE ALWAYS TRIGGER holds_stay;

-- A limit is set anew, and its number says how often.
CREATE TRIGGER member_limits_one_way BEFORE UPDATE ON member_limits
    FOR EACH ROW WHEN (NEW.number <= OLD.number) EXECUTE FUNCTION refuse_way_back();
ALTER TABLE member_limits ENABLE ALWAYS TRIGGER member_limits_one_way;

COMMENT ON TABLE member_limits IS 'What each member may use per day and per month of the team''s zone, in micro-credits; null is no limit, 0 is nothing.';
COMMENT ON COLUMN member_limits.number IS 'How often it was set; position is the fact that set it last.';
COMMENT ON COLUMN member_limits.hard IS 'A hard limit refuses quotes and holds, a soft one only marks them. Recorded usage is never refused.';

-- What follows from a fact `member.erased`, and from nothing else; the same again changes nothing. It may be called long
-- after its fact, where a store went back in time: whatever is newer than the fact stays.
CREATE FUNCTION follow_erasure(of_shard smallint, of_position bigint, by_whom text DEFAULT NULL, because text DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    erased record;
BEGIN
    SELECT f.team_id, f.recorded_at, b.body ->> 'member_id' AS member_id, coalesce((b.body ->> 'wholly')::boolean, false) AS wholly
    INTO erased
    FROM facts AS f CROSS JOIN LATERAL (SELECT convert_from(f.body, 'UTF8')::jsonb AS body OFFSET 0) AS b
    WHERE f.shard = of_shard AND f.position = of_position AND f.type = 'member.erased.v1';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no member is erased by the fact at %:%', of_shard, of_position USING ERRCODE = 'restrict_violation';
    END IF;
    INSERT INTO erased_members AS e (shard, team_id, member_id, position, wholly_at, erased_by, why)
    VALUES (
        of_shard, erased.team_id, erased.member_id, of_position, CASE WHEN erased.wholly THEN of_position END, by_whom, because
    )
    ON CONFLICT (shard, team_id, member_id) DO UPDATE
    SET position = excluded.position, wholly_at = coalesce(excluded.wholly_at, e.wholly_at),
        erased_by = excluded.erased_by, why = excluded.why
    WHERE e.position < excluded.position;
    DELETE FROM members AS m
    WHERE m.shard = of_shard AND m.team_id = erased.team_id AND m.member_id = erased.member_id AND m.since <= erased.recorded_at;
    IF erased.wholly THEN
        DELETE FROM member_limits AS l
        WHERE l.shard = of_shard AND l.team_id = erased.team_id AND l.member_id = erased.member_id AND l.position < of_position;
        -- The row stays, so that the command is not carried out again; even the hash of its body may tell a name. An answer
        -- names somebody where a field says their id: a member may be called `open` or `grant`, as other fields say of
        -- others. Answers are JSON without blanks, and a quote within a text of it is never bare. So bytes are compared.
        UPDATE command_answers AS a SET answer = '', body_sha256 = ''
        WHERE a.shard = of_shard AND a.team_id = erased.team_id AND a.status <> 0 AND a.answered_at <= erased.recorded_at
          AND (
              a.sub = erased.member_id OR position('/members/' || erased.member_id || '/' IN a.route || '/') > 0
              OR EXISTS (
                  SELECT FROM unnest(ARRAY['"id":', '"member_id":', '"by":', '_by":']) AS field
                  WHERE position(convert_to(field || to_json(erased.member_id)::text, 'UTF8') IN a.answer) > 0
              )
          );
    END IF;
END $$;
COMMENT ON FUNCTION follow_erasure IS 'Takes out of the tables whom the log erased: the directory''s row and, where wholly, limits and answers.';
REVOKE ALL ON FUNCTION follow_erasure FROM PUBLIC;
GRANT EXECUTE ON FUNCTION follow_erasure TO creditwell_api;

SELECT keep_teams_apart(of_teams) FROM unnest('{holds,member_limits}'::regclass[]) AS of_teams;
GRANT SELECT, UPDATE (state) ON holds TO creditwell_recorder, creditwell_worker;
GRANT SELECT, INSERT, UPDATE (credits, expires_at, state) ON holds TO creditwell_api;
GRANT SELECT, INSERT, UPDATE (number, position, daily, monthly, hard) ON member_limits TO creditwell_api;
GRANT SELECT ON holds, member_limits TO creditwell_reader;
GRANT SELECT ON holds TO creditwell_projector; -- for the analysts' view
-- Whoever reads a balance is told whether members of the team have limits.
GRANT SELECT ON member_limits TO creditwell_worker, creditwell_projector;


-- Top-ups: what must commit together with the facts about them. The log alone decides; everything here can be made from
-- it, save who works on what at the moment.

CREATE TABLE top_ups (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    version integer NOT NULL,
    state text COLLATE "C" NOT NULL,
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
    team_id text COLLATE "C" NOT NULL,
    attempt_id uuid NOT NULL,
    payment_intent_id text COLLATE "C",
    create_try integer NOT NULL DEFAULT 0,
    confirm_try integer NOT NULL DEFAULT 1,
    cancel_try integer NOT NULL DEFAULT 1,
    owner text COLLATE "C" NOT NULL,
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

SELECT keep_teams_apart(of_teams) FROM unnest('{top_ups,top_up_attempts}'::regclass[]) AS of_teams;
GRANT SELECT, INSERT, UPDATE ON top_ups, top_up_attempts TO creditwell_worker;
GRANT SELECT ON top_ups, top_up_attempts TO creditwell_api, creditwell_reader;
GRANT UPDATE (confirm_try, look_at, looks) ON top_up_attempts TO creditwell_api;
GRANT SELECT ON store_secrets TO creditwell_worker, creditwell_api;


-- Purchases and saved cards: what each page of Stripe's was opened for, in our own words. Amounts and credits are
-- decided here, before anybody pays; what Stripe says later is compared with them and never taken for them.

CREATE TABLE stripe_customers (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    payment_method_id text COLLATE "C",
    card_created_at timestamptz,
    PRIMARY KEY (shard, team_id)
);
CREATE UNIQUE INDEX stripe_customers_by_id ON stripe_customers (customer_id);
CREATE INDEX stripe_customers_by_card ON stripe_customers (payment_method_id);
COMMENT ON TABLE stripe_customers IS 'What Stripe calls each team, and the card that its top-ups are charged to.';
COMMENT ON COLUMN stripe_customers.card_created_at IS 'When that card was saved, by Stripe''s clock: news of an older card does not replace it.';

CREATE TABLE checkouts (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    mode text COLLATE "C" NOT NULL,
    customer_id text COLLATE "C" NOT NULL,
    asked_by text COLLATE "C" NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    return_url text COLLATE "C" NOT NULL,
    pack text COLLATE "C",
    name text COLLATE "C",
    credits bigint,
    charge_cents bigint,
    currency text COLLATE "C",
    keeps_card boolean NOT NULL,
    taxed boolean NOT NULL,
    create_try integer NOT NULL DEFAULT 1,
    session_id text COLLATE "C",
    url text COLLATE "C",
    expires_at timestamptz,
    state text COLLATE "C" NOT NULL DEFAULT 'open',
    detail text COLLATE "C",
    payment_intent_id text COLLATE "C",
    receipt_url text COLLATE "C",
    card_state text COLLATE "C",
    brand text COLLATE "C",
    last4 text COLLATE "C",
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

-- What people like to see of a payment, and decides nothing: it is no part of the log, for a person may be behind it.
CREATE TABLE payment_details (
    shard smallint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    stripe_id text COLLATE "C" NOT NULL,
    receipt_url text COLLATE "C",
    brand text COLLATE "C",
    last4 text COLLATE "C",
    PRIMARY KEY (shard, team_id, stripe_id)
);
COMMENT ON TABLE payment_details IS 'Receipts of payments, brand and last digits of cards, by Stripe''s id; what is missing is asked of Stripe again.';

SELECT keep_teams_apart(of_teams) FROM unnest('{stripe_customers,checkouts,payment_details}'::regclass[]) AS of_teams;
GRANT SELECT, INSERT, UPDATE ON payment_details TO creditwell_api, creditwell_worker;
GRANT SELECT ON payment_details TO creditwell_reader;
GRANT SELECT, INSERT, UPDATE ON stripe_customers, checkouts TO creditwell_api;
GRANT SELECT, UPDATE ON checkouts TO creditwell_worker;
GRANT SELECT, INSERT, UPDATE ON stripe_customers TO creditwell_worker;
GRANT SELECT ON stripe_customers, checkouts TO creditwell_reader;


-- What Stripe tells: whose an event is, and what became of it, stored before it is worked on. No body: whoever acts
-- on it asks Stripe how things are now. Waiting events are worked on in the order in which they come due.

CREATE TABLE stripe_inbox (
    event_id text COLLATE "C" PRIMARY KEY,
    type text COLLATE "C" NOT NULL,
    object_kind text COLLATE "C" NOT NULL,
    object_id text COLLATE "C" NOT NULL,
    intent_id text COLLATE "C",
    attempt_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deliveries integer NOT NULL DEFAULT 1,
    done_at timestamptz,
    charge_id text COLLATE "C",
    customer_id text COLLATE "C",
    checkout_id text COLLATE "C",
    tries integer NOT NULL DEFAULT 0,
    look_at timestamptz NOT NULL DEFAULT '-infinity',
    outcome text COLLATE "C"
);
CREATE INDEX stripe_inbox_waiting ON stripe_inbox (look_at) WHERE done_at IS NULL;
COMMENT ON TABLE stripe_inbox IS 'Webhooks of Stripe: each event once, however often it comes. Kept for 90 days after it is done.';
COMMENT ON COLUMN stripe_inbox.look_at IS 'When to work on it; ahead of now while somebody does, and after Stripe did not answer.';
COMMENT ON COLUMN stripe_inbox.outcome IS 'What it led to, or why it led to nothing.';

GRANT SELECT, INSERT, UPDATE, DELETE ON stripe_inbox TO creditwell_worker;
GRANT INSERT, UPDATE (deliveries), SELECT (event_id, deliveries) ON stripe_inbox TO creditwell_api;
GRANT SELECT ON stripe_inbox TO creditwell_reader;


-- Reversals: refunds and disputes need no table, they are facts of a source of their own for each payment.
-- Reconciliation with Stripe finds those that nobody told: when each comparison is due, and what the last one found.

CREATE TABLE reconciliations (
    name text COLLATE "C" PRIMARY KEY,
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


-- Notices to the host product. The log says what there is to tell; here stands what became of each.

CREATE TABLE notices (
    shard smallint NOT NULL,
    position bigint NOT NULL,
    team_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    notice_id text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'waiting',
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_answer text COLLATE "C",
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


-- Lives: whether the server is the one on which this log last went on. A standby that was behind, a restored backup and a
-- copy of production hold a log, but maybe not the newest one. Until somebody has looked, nobody goes on with it.

CREATE TABLE store_lives (
    number bigint PRIMARY KEY,
    system_identifier bigint,
    timeline text COLLATE "C",
    database oid NOT NULL,
    started_at timestamptz NOT NULL,
    synchronous boolean NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    how text COLLATE "C" NOT NULL,
    admitted_by text COLLATE "C",
    heads bigint[] NOT NULL,
    looked_at timestamptz,
    went_back text COLLATE "C",
    CONSTRAINT store_lives_how CHECK (how IN ('made', 'restarted', 'looked', 'resumed', 'forked'))
);
COMMENT ON TABLE store_lives IS 'The lives of the database''s server in which the log went on, the newest last; a life is known by when the server was started.';
COMMENT ON COLUMN store_lives.system_identifier IS 'Of the cluster; NULL where the server does not say it, and so with the timeline.';
COMMENT ON COLUMN store_lives.synchronous IS 'A synchronous standby was declared when this life began.';
COMMENT ON COLUMN store_lives.heads IS 'The last position of each shard when this life began.';
COMMENT ON COLUMN store_lives.looked_at IS 'When the log was compared with what had been published.';
COMMENT ON COLUMN store_lives.went_back IS 'What was published and the log lacks: nobody goes on until `creditwell resume`.';

-- How far Kafka has acknowledged what this log published: whatever lies beyond is read when a new life begins.
CREATE TABLE published_offsets (
    partition integer PRIMARY KEY,
    next_offset bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE published_offsets IS 'For each partition of credits.events the offset behind the last acknowledged record.';

-- Two of them some managed servers refuse. What is not known is left out of the comparison.
CREATE FUNCTION this_life() RETURNS TABLE (
    system_identifier bigint, timeline text, database oid, started_at timestamptz, synchronous boolean
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    -- Between the end of a primary and the promotion there is only this; it takes no writes, and is waited for as such.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby answers that nobody has promoted yet' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    BEGIN
        SELECT s.system_identifier INTO system_identifier FROM pg_control_system() AS s;
    EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
        NULL;
    END;
    BEGIN
        timeline := left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
    EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
        NULL;
    END;
    SELECT d.oid INTO database FROM pg_database AS d WHERE d.datname = current_database();
    started_at := pg_postmaster_start_time();
    synchronous := current_setting('synchronous_standby_names') <> '';
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION this_life IS 'What tells this life of the server from any other.';

CREATE FUNCTION admit_life(how text, admitted_by text DEFAULT NULL, looked boolean DEFAULT false, went_back text DEFAULT NULL)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    INSERT INTO store_lives (
        number, system_identifier, timeline, database, started_at, synchronous, how, admitted_by, heads, looked_at, went_back
    )
    SELECT (SELECT coalesce(max(l.number), 0) + 1 FROM store_lives AS l), t.system_identifier, t.timeline, t.database,
           t.started_at, t.synchronous, admit_life.how, admit_life.admitted_by,
           (SELECT array_agg(h.next - 1 ORDER BY h.shard) FROM shard_heads AS h),
           CASE WHEN admit_life.looked THEN clock_timestamp() END, admit_life.went_back
    FROM this_life() AS t
    ON CONFLICT (number) DO NOTHING
    RETURNING number
$$;
COMMENT ON FUNCTION admit_life IS 'From now on this life of the server is the log''s, or with `went_back` it is known not to be.';
REVOKE ALL ON FUNCTION admit_life FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit_life TO creditwell_worker;

-- A restart of the same server lost nothing that was committed: it goes on at once, and the relay looks behind.
CREATE FUNCTION go_on_after_restart() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    newest store_lives;
    here record;
BEGIN
    SELECT * INTO newest FROM store_lives ORDER BY number DESC LIMIT 1;
    SELECT * INTO here FROM this_life();
    IF newest.went_back IS NOT NULL THEN
        RAISE EXCEPTION 'store_went_back: %', newest.went_back
            USING ERRCODE = 'CW001', HINT = 'Run `creditwell resume`.';
    ELSIF (here.system_identifier, here.timeline, here.database)
        IS NOT DISTINCT FROM (newest.system_identifier, newest.timeline, newest.database) THEN
        IF here.started_at <> newest.started_at THEN
            PERFORM admit_life('restarted');
        END IF;
        RETURN true;
    END IF;
    RAISE EXCEPTION 'store_unchecked: the log has come to another server or another of its lives'
        USING ERRCODE = 'CW001', HINT = 'The relay looks at what was published; where that needs a person, run `creditwell resume`.';
END $$;

CREATE FUNCTION check_life() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- By the start alone: a standby, a restored copy and a clone all have one of their own. The rest tells how they differ.
    PERFORM FROM store_lives AS l
    WHERE l.number = (SELECT max(m.number) FROM store_lives AS m) AND l.started_at = pg_postmaster_start_time()
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()) AND l.went_back IS NULL;
    RETURN FOUND OR go_on_after_restart();
END $$;
COMMENT ON FUNCTION check_life IS 'True, or refuses (CW001): called by whoever appends, moves a cursor or publishes.';

GRANT SELECT ON store_lives
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader, creditwell_signer;
GRANT UPDATE (looked_at, went_back) ON store_lives TO creditwell_worker;
GRANT SELECT, INSERT, UPDATE ON published_offsets TO creditwell_worker;
GRANT SELECT ON published_offsets TO creditwell_reader;

SELECT admit_life('made', looked => true);
