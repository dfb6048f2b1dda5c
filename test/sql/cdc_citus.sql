-- Tables that Citus keeps and that a merge cannot run on, with a stand-in for Citus.
\getenv data DM_DATA
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
SET client_min_messages = warning;
CREATE SCHEMA cdc_citus;
SELECT inserted FROM datamill.cdc_merge('cdc_citus.here', $$SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, 'c'$$,
  keys => '{id}', effective => '2020-01-01');
SELECT inserted FROM datamill.cdc_merge('cdc_citus.away', $$SELECT 1 AS id, 'a' AS name$$, keys => '{id}', effective => '2020-01-01');
CREATE TABLE cdc_citus.bare (id int PRIMARY KEY, name text);
INSERT INTO cdc_citus.bare SELECT id, name FROM cdc_citus.here;
BEGIN;
\i :data/citus.sql
INSERT INTO pg_catalog.pg_dist_partition VALUES ('cdc_citus.away_history', 'h', 'id', 1, 's'), ('cdc_citus.bare', 'n', NULL, 2, 't');
SELECT inserted, unchanged FROM datamill.cdc_merge('cdc_citus.here', $$SELECT id, name FROM cdc_citus.here$$, effective => '2020-01-02');
SAVEPOINT s;
SELECT datamill.cdc_merge('cdc_citus.away', $$SELECT 2 AS id, 'a' AS name$$, effective => '2020-01-02');
ROLLBACK TO s;
SELECT * FROM datamill.cdc_plan('cdc_citus.away', $$SELECT 2 AS id, 'a' AS name$$, effective => '2020-01-02');
ROLLBACK TO s;
SELECT datamill.cdc_undo('cdc_citus.away');
ROLLBACK TO s;
SELECT * FROM datamill.check_dataset('cdc_citus.away');
ROLLBACK TO s;
SELECT datamill.create_dataset('cdc_citus.bare', '{id}');
ROLLBACK TO s;

-- what is distributed in a way, or has settings, that merges on shards do not know
CREATE VIEW cdc_citus.all_away AS SELECT 1 AS id, 'A' AS name UNION ALL SELECT 2, 'b';
CREATE FUNCTION cdc_citus.away_merge(options jsonb DEFAULT '{}', source text DEFAULT 'cdc_citus.all_away', day date DEFAULT '2020-01-02', mode text DEFAULT 'full')
  RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  m record;
  detail text;
  hint text;
BEGIN
  SELECT inserted, updated, deleted, unchanged, missing INTO m FROM datamill.cdc_merge('cdc_citus.away', source, effective => day, options => options, mode => mode);
  RETURN m;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN format(E'%s %s\n  %s\n  %s', sqlstate, sqlerrm, detail, hint);
END $$;
\pset tuples_only on
\pset format unaligned
DELETE FROM pg_catalog.pg_dist_partition;
INSERT INTO pg_catalog.pg_dist_partition VALUES ('cdc_citus.away', 'h', 'name', 1, 's');
SELECT cdc_citus.away_merge();
UPDATE pg_catalog.pg_dist_partition SET partkey = 'id', partmethod = 'a';
SELECT cdc_citus.away_merge();
UPDATE pg_catalog.pg_dist_partition SET partmethod = 'h';
INSERT INTO pg_catalog.pg_dist_partition VALUES ('cdc_citus.away_history', 'h', 'id', 2, 's');
SELECT cdc_citus.away_merge();
UPDATE pg_catalog.pg_dist_partition SET colocationid = 1, partmethod = 'n', partkey = NULL WHERE logicalrelid = 'cdc_citus.away_history'::regclass;
SELECT cdc_citus.away_merge();
DELETE FROM pg_catalog.pg_dist_partition WHERE logicalrelid = 'cdc_citus.away_history'::regclass;
SELECT cdc_citus.away_merge('{"on_new_column": "add"}');
SELECT cdc_citus.away_merge('{"on_missing_column": "ignore"}');
SELECT cdc_citus.away_merge('{"on_type_change": "widen"}');
CREATE FUNCTION cdc_citus.settings_try(options jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM datamill.cdc_merge('cdc_citus.other', $q$SELECT 1 AS id, 'a' AS name$q$, keys => '{id}', effective => '2020-01-01', options => options);
  PERFORM create_distributed_table('cdc_citus.other', 'id');
  PERFORM datamill.cdc_merge('cdc_citus.other', $q$SELECT 1 AS id, 'a' AS name$q$, effective => '2020-01-01');
  RETURN 'merged';
EXCEPTION WHEN feature_not_supported THEN
  RETURN sqlerrm;
END $$;
SELECT cdc_citus.settings_try(s::jsonb) FROM (VALUES ('{"sensitive": ["name"]}'), ('{"null_keys": "allow"}'), ('{"stamp_operation": true}'), ('{"history_partition": "year"}'),
  ('{"kinds": {"name": 0}}'), ('{"kinds": {"name": 3}}'), ('{"kinds": {"name": 1}, "history_index": "key"}')) v (s);
SELECT inserted FROM datamill.cdc_merge('cdc_citus.events', $$SELECT 1 AS id, 1 AS seq$$, keys => '{id}', mode => 'feed', options => '{"sequence_column": "seq"}');
SELECT create_distributed_table('cdc_citus.events', 'id');
CREATE TABLE cdc_citus.parts (id int, name text, PRIMARY KEY (id, name)) PARTITION BY LIST (name);
SELECT create_distributed_table('cdc_citus.parts', 'id');
SAVEPOINT t;
SELECT datamill.cdc_merge('cdc_citus.events', $$SELECT 1 AS id, 2 AS seq$$, mode => 'feed', options => '{"sequence_column": "seq"}');
ROLLBACK TO t;
SELECT datamill.create_dataset('cdc_citus.parts', '{id,name}');
ROLLBACK TO t;

-- what would make it more than one transaction
SET LOCAL citus.function_opens_transaction_block = 'off';
SELECT cdc_citus.away_merge();
SET LOCAL citus.function_opens_transaction_block = 'on';
SET LOCAL citus.multi_shard_commit_protocol = '1pc';
SELECT cdc_citus.away_merge();
SET LOCAL citus.multi_shard_commit_protocol = '2pc';

-- guards and errors are those of any merge, and leave nothing behind
DELETE FROM citus_calls;
SELECT cdc_citus.away_merge(source => 'SELECT 1 AS id, ''x'' AS name UNION ALL SELECT 1, ''y''');
SELECT cdc_citus.away_merge(source => 'SELECT 1 AS id, ''x'' AS name UNION ALL SELECT NULL, ''y''');
SELECT cdc_citus.away_merge(source => 'SELECT id, name FROM cdc_citus.all_away WHERE false');
SELECT cdc_citus.away_merge(source => 'SELECT id, name FROM cdc_citus.all_away WHERE id = 2', options => '{"max_delete_percent": 50}');
SELECT cdc_citus.away_merge(day => '2019-12-31');
SELECT cdc_citus.away_merge(source => 'SELECT id FROM cdc_citus.all_away');
SELECT cdc_citus.away_merge(source => 'SELECT id, name FROM cdc_citus.all_away WHERE id / (id - 2) < 0');
SELECT cdc_citus.away_merge(mode => 'delta', options => '{"scope": "id = 1"}');
SELECT cdc_citus.away_merge(options => '{"scope": "id = 1) OR (true"}');
SELECT count(*), (SELECT count(*) FROM citus_calls), (SELECT count(*) FROM pg_class WHERE relname LIKE 'datamill\_%') FROM datamill.merges WHERE dataset = 'cdc_citus.away'::regclass;
-- history is distributed by its owner's merge; the tables of a merge need CREATE on the schema
CREATE ROLE cdc_citus_merger;
GRANT USAGE ON SCHEMA cdc_citus TO cdc_citus_merger;
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc_citus.away, cdc_citus.away_history, cdc_citus.all_away, pg_dist_partition, citus_calls TO cdc_citus_merger;
GRANT USAGE ON SEQUENCE pg_catalog.citus_calls_n_seq TO cdc_citus_merger;
SET LOCAL ROLE cdc_citus_merger;
SELECT cdc_citus.away_merge();
RESET ROLE;
SELECT cdc_citus.away_merge();
SET LOCAL ROLE cdc_citus_merger;
SELECT cdc_citus.away_merge(day => '2020-01-03');
RESET ROLE;
GRANT CREATE ON SCHEMA cdc_citus TO cdc_citus_merger;
SET LOCAL ROLE cdc_citus_merger;
SELECT cdc_citus.away_merge(day => '2020-01-03');
RESET ROLE;
-- rows that were rejected: no key is deleted
CREATE SERVER cdc_citus FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SELECT cdc_citus.away_merge(source => 's3://cdc-citus/bad.csv', day => '2020-01-04', options => '{"server": "cdc_citus", "on_error": "ignore"}');
-- a plan needs them, too, and cannot be made where nothing can be written
REVOKE CREATE ON SCHEMA cdc_citus FROM cdc_citus_merger;
SAVEPOINT t;
SET LOCAL ROLE cdc_citus_merger;
\set VERBOSITY terse
SELECT * FROM datamill.cdc_plan('cdc_citus.away', 'cdc_citus.all_away', effective => '2020-01-04');
\set VERBOSITY default
ROLLBACK TO t;
SET LOCAL transaction_read_only = on;
SELECT * FROM datamill.cdc_plan('cdc_citus.away', 'cdc_citus.all_away', effective => '2020-01-04');
ROLLBACK TO t;
-- other functions refuse
SELECT * FROM datamill.check_dataset('cdc_citus.away');
ROLLBACK TO t;
SELECT datamill.alter_dataset('cdc_citus.away', '{"untracked": ["name"]}');
ROLLBACK TO t;
SELECT * FROM datamill.cdc_diff('cdc_citus.away', '2020-01-01', '2020-01-02');
ROLLBACK TO t;
ROLLBACK;
\pset tuples_only off
\pset format aligned

-- what docs/operations.md shows: changes of a merge here, applied to a table elsewhere
BEGIN;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_citus.here',
  $$SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'B' UNION ALL SELECT 4, 'd'$$, effective => '2020-01-02');
SELECT max(merge_id) AS merge FROM datamill.merges WHERE dataset = 'cdc_citus.here'::regclass \gset
DELETE FROM cdc_citus.bare WHERE id IN (SELECT id FROM cdc_citus.here_history WHERE ended_merge_id = :merge);
INSERT INTO cdc_citus.bare SELECT id, name FROM cdc_citus.here WHERE merge_id = :merge;
COMMIT;
SELECT * FROM cdc_citus.bare ORDER BY id;
DROP SCHEMA cdc_citus CASCADE;
