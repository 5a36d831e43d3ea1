-- Who may do what: one role for each kind of process, nothing for anybody else.
--
-- Roles belong to the whole cluster, so they are made where they are missing; `deploy/roles.sql` gives them passwords.
-- Nobody may UPDATE, DELETE or TRUNCATE facts, blocks, refused records and signed checkpoints. Whoever reads rows of teams
-- does so under row-level security, save the recorder: COPY is refused under it.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['recorder', 'projector', 'worker', 'api', 'reader', 'signer', 'owner'] LOOP
        IF to_regrole('creditwell_' || wanted) IS NULL THEN
            BEGIN
                EXECUTE format(
                    'CREATE ROLE %I NOLOGIN %s', 'creditwell_' || wanted, CASE wanted WHEN 'recorder' THEN 'BYPASSRLS' ELSE '' END
                );
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of this cluster is migrated at the same moment
            END;
        END IF;
    END LOOP;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader, creditwell_signer;

-- What everybody may read: places, never anybody's rows.
GRANT SELECT ON store_constants, migrations, shard_heads, checkpoints, projections
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader, creditwell_signer;

-- Appending: the same function for whoever has something to say.
GRANT SELECT, INSERT ON facts TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT INSERT ON blocks TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT UPDATE (next, head, recorded_at) ON shard_heads
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT SELECT ON teams TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;
GRANT UPDATE (cycle, cycle_ends_at, sealed_cycle) ON teams
TO creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api;

-- The recorder: from Kafka into the log.
GRANT SELECT, INSERT, UPDATE ON kafka_cursors, repeats TO creditwell_recorder;
GRANT SELECT, INSERT ON refused, voided_usages TO creditwell_recorder;

-- The projector: from the log into tables of its own, which it makes, replaces and drops.
GRANT CREATE ON SCHEMA public TO creditwell_projector;
GRANT INSERT, UPDATE, DELETE ON checkpoints TO creditwell_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON readers TO creditwell_projector, creditwell_worker;
GRANT INSERT, UPDATE ON projections TO creditwell_projector;

-- The workers: relay, top-ups, refills and sealing.
GRANT INSERT, UPDATE ON checkpoints TO creditwell_worker;
GRANT SELECT ON kafka_cursors, refused TO creditwell_worker;

-- The API: also brings teams into being and changes their plans.
GRANT INSERT ON teams TO creditwell_api;
GRANT UPDATE (plan, plan_assigned_id, allowance_credits) ON teams TO creditwell_api;
GRANT SELECT ON refused, repeats, kafka_cursors, signed_checkpoints TO creditwell_api;

-- Finance, analytics, verification: reads everything, writes nothing.
GRANT SELECT ON facts, blocks, signed_checkpoints, kafka_cursors, refused, repeats, voided_usages, teams TO creditwell_reader;

-- The signer: sees the chain and not what is in it.
GRANT SELECT ON blocks, signed_checkpoints TO creditwell_signer;
GRANT INSERT ON signed_checkpoints TO creditwell_signer;

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
        USING ((SELECT current_setting('creditwell.team', true)) IN (team_id, '*'))
        $policy$, of_teams
    );
END $$;
COMMENT ON FUNCTION keep_teams_apart IS 'Called for each table with a column team_id: the API sees one team at a time, that of the setting creditwell.team, or all where that is *.';

SELECT keep_teams_apart(of_teams) FROM unnest('{facts,teams,refused,repeats,voided_usages}'::regclass[]) AS of_teams;

-- What features cost is nobody's secret: whoever speaks for a team may read the rate cards.
CREATE POLICY rate_cards ON facts FOR SELECT TO creditwell_api
USING (team_id = 'creditwell' AND (SELECT current_setting('creditwell.team', true)) <> '');

CREATE FUNCTION share_projection(projection regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = projection) = 'r' THEN
        PERFORM keep_teams_apart(projection);
    END IF;
    EXECUTE format(
        'GRANT SELECT ON %s TO creditwell_recorder, creditwell_worker, creditwell_api, creditwell_reader', projection
    );
END $$;
COMMENT ON FUNCTION share_projection IS 'Called for each table and view of a projection when it is made, as creditwell_projector: not shared means readable by nobody.';
