-- The ledger when rows, or the table, are gone: the warning, forget_loads(), and a later table with the same OID.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA load_g;
SET search_path = load_g;
CREATE SERVER load_g_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'load_g_lake';
CREATE TABLE "T 1" (id int, name text, amount numeric);
SELECT files, rows FROM datamill.load('s3://load/forget/*.csv', '"T 1"');
TRUNCATE "T 1";
-- skipped, as ever, but not in silence
SELECT files, files_skipped, rows FROM datamill.load('s3://load/forget/*.csv', '"T 1"');
-- one object, then all others
SELECT datamill.forget_loads('"T 1"', 's3://load/forget/a.csv');
SELECT datamill.forget_loads('"T 1"', 's3://load/forget/a.csv');
SELECT datamill.forget_loads('"T 1"', 's3://other/**');
SELECT files, files_skipped FROM datamill.load('s3://load/forget/*.csv', '"T 1"');
SELECT datamill.forget_loads('"T 1"', 's3://load/**');
SELECT files, files_skipped FROM datamill.load('s3://load/forget/*.csv', '"T 1"');
SELECT datamill.forget_loads('"T 1"');
SELECT count(*) FROM datamill.loaded_objects WHERE target = '"T 1"'::regclass;
SELECT datamill.forget_loads('"T 1"', 'no url');
SELECT datamill.forget_loads(NULL);
SELECT datamill.forget_loads(1);

-- undone with its transaction
SELECT files FROM datamill.load('s3://load/forget/*.csv', '"T 1"');
BEGIN;
SELECT datamill.forget_loads('"T 1"');
ROLLBACK;
SELECT objects FROM datamill.load_status('"T 1"');

-- a rewrite of the table is none of its rows' business
VACUUM FULL "T 1";
ALTER TABLE "T 1" ALTER name TYPE varchar(100);
SELECT files, files_skipped FROM datamill.load('s3://load/forget/*.csv', '"T 1"');

-- a table that got the OID of one that was dropped starts anew: stood in for by another row type
UPDATE datamill.load_catalog SET target_type = 'pg_class'::regtype WHERE target = '"T 1"'::regclass;
SELECT count(*) FROM datamill.loaded_objects WHERE target = '"T 1"'::regclass;
SELECT files, files_skipped FROM datamill.load('s3://load/forget/*.csv', '"T 1"');

-- for the owner only
CREATE ROLE load_g_other;
GRANT USAGE ON SCHEMA load_g TO load_g_other;
GRANT ALL ON "T 1" TO load_g_other;
SET ROLE load_g_other;
SELECT datamill.forget_loads('"T 1"');
RESET ROLE;
\set VERBOSITY terse
DROP SCHEMA load_g CASCADE;
DROP OWNED BY load_g_other;
DROP ROLE load_g_other;
DROP SERVER load_g_lake;
