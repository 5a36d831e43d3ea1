-- Logins and the database, for production. Run by a superuser, before the first `creditwell migrate` and again to change a password:
--
--     psql -v migrator_password=… -v recorder_password=… -v projector_password=… -v worker_password=… -v api_password=…
--          -v reader_password=… -v analyst_password=… -v signer_password=… -v database=creditwell -f deploy/roles.sql postgresql://postgres@db/postgres
--
-- A password that is not given is a syntax error: there is no default. What each role may do is said by the store's migrations.
\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I', name)
FROM unnest('{creditwell_owner,creditwell_migrator,creditwell_recorder,creditwell_projector,creditwell_worker,creditwell_api,creditwell_reader,creditwell_analyst,creditwell_signer}'::text[]) AS name
WHERE to_regrole(name) IS NULL
\gexec

-- Owns the tables and does not log in. Whoever migrates becomes it; projections it makes as the projector, whose tables they are.
ALTER ROLE creditwell_owner NOLOGIN;
GRANT creditwell_projector TO creditwell_owner;
GRANT creditwell_owner TO creditwell_migrator;
ALTER ROLE creditwell_migrator LOGIN PASSWORD :'migrator_password';
ALTER ROLE creditwell_migrator SET role = 'creditwell_owner';

ALTER ROLE creditwell_recorder LOGIN BYPASSRLS PASSWORD :'recorder_password';
ALTER ROLE creditwell_projector LOGIN PASSWORD :'projector_password';
ALTER ROLE creditwell_worker LOGIN PASSWORD :'worker_password';
ALTER ROLE creditwell_api LOGIN PASSWORD :'api_password';
ALTER ROLE creditwell_signer LOGIN PASSWORD :'signer_password';
ALTER ROLE creditwell_reader LOGIN PASSWORD :'reader_password';
ALTER ROLE creditwell_reader SET default_transaction_read_only = on;
ALTER ROLE creditwell_analyst LOGIN PASSWORD :'analyst_password';
ALTER ROLE creditwell_analyst SET default_transaction_read_only = on;

-- What a session of ours rests on. Each process asks for the same when it connects, and looks whether it got it; a pooler keeps that
-- from passing, and a role brings it along all the same. Time-outs are for a lease of 10 s: see CREDITWELL_LEASE_SECONDS.
SELECT format('ALTER ROLE %I SET %I = %L', role, name, value)
FROM unnest('{creditwell_migrator,creditwell_recorder,creditwell_projector,creditwell_worker,creditwell_api,creditwell_reader,creditwell_analyst,creditwell_signer}'::text[]) AS role,
     (VALUES ('timezone', 'UTC'), ('search_path', 'public'), ('default_transaction_isolation', 'read committed'), ('jit', 'off')) AS everywhere (name, value)
UNION ALL
SELECT format('ALTER ROLE %I SET %I = %L', role, name, value)
FROM unnest('{creditwell_recorder,creditwell_projector,creditwell_worker,creditwell_api,creditwell_signer}'::text[]) AS role,
     (VALUES ('statement_timeout', '30s'), ('lock_timeout', '15s'), ('idle_in_transaction_session_timeout', '5s')) AS of_processes (name, value)
\gexec
ALTER ROLE creditwell_api SET statement_timeout = '10s';
ALTER ROLE creditwell_api SET enable_bitmapscan = off;
ALTER ROLE creditwell_api SET enable_sort = off;

-- People, and what they run, take no session from those who record, and hold up neither vacuum nor a migration.
ALTER ROLE creditwell_reader CONNECTION LIMIT 20;
ALTER ROLE creditwell_reader SET statement_timeout = '15min';
ALTER ROLE creditwell_reader SET idle_in_transaction_session_timeout = '1min';
ALTER ROLE creditwell_reader SET idle_session_timeout = '1h';
ALTER ROLE creditwell_analyst CONNECTION LIMIT 10;
ALTER ROLE creditwell_analyst SET search_path = analytics;
ALTER ROLE creditwell_analyst SET statement_timeout = '1min';
ALTER ROLE creditwell_analyst SET idle_in_transaction_session_timeout = '1min';
ALTER ROLE creditwell_analyst SET idle_session_timeout = '1h';
-- A question has one core and no more: with the usual helpers of a scan it takes three, and those who record get what is left.
ALTER ROLE creditwell_analyst SET max_parallel_workers_per_gather = 0;
-- Only a superuser may raise this one: a query that sorts the log does not fill the disk of those who record.
ALTER ROLE creditwell_analyst SET temp_file_limit = '10GB';
ALTER ROLE creditwell_migrator CONNECTION LIMIT 5;
ALTER ROLE creditwell_signer CONNECTION LIMIT 10;

SELECT format('CREATE DATABASE %I OWNER creditwell_owner', :'database') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
\gexec
-- One that was there already, as services that rent PostgreSQL make it, is given to the owner: else nobody could migrate.
SELECT format('ALTER DATABASE %I OWNER TO creditwell_owner', datname) FROM pg_database
WHERE datname = :'database' AND datdba <> 'creditwell_owner'::regrole
\gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database"
TO creditwell_migrator, creditwell_recorder, creditwell_projector, creditwell_worker, creditwell_api, creditwell_reader, creditwell_analyst,
creditwell_signer;
