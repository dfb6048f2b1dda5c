-- Owners may alter the tables of a dataset as they like: what does not fit any more is an error, and never a crash.
SET client_min_messages = warning;
SET datestyle = 'ISO';
\set VERBOSITY terse
CREATE SCHEMA cdc_altered;
CREATE TABLE cdc_altered.src (k text, u uuid, v text);
INSERT INTO cdc_altered.src VALUES ('a', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'x'), ('b', 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'y');
SELECT inserted FROM datamill.cdc_merge('cdc_altered.t', 'cdc_altered.src', keys => '{k,u}', effective => '2020-01-01');

-- NULLs where a dataset has none: hashes, added columns, keys
ALTER TABLE cdc_altered.t DROP CONSTRAINT t_pkey, ALTER k DROP NOT NULL, ALTER u DROP NOT NULL, ALTER key_hash DROP NOT NULL,
  ALTER row_hash DROP NOT NULL, ALTER merge_id DROP NOT NULL, ALTER operation DROP NOT NULL;
UPDATE cdc_altered.t SET key_hash = NULL, row_hash = NULL WHERE k = 'a';
INSERT INTO cdc_altered.t (k, u, v, eff_start_date) VALUES (NULL, NULL, 'z', '2020-01-01');
SELECT problem, key FROM datamill.check_dataset('cdc_altered.t') ORDER BY key::text;
SELECT operation, rows, sample FROM datamill.cdc_plan('cdc_altered.t', 'cdc_altered.src', effective => '2020-01-02') WHERE rows > 0;
SELECT operation, key FROM datamill.cdc_diff('cdc_altered.t', '2019-01-01', '2020-01-02') ORDER BY key::text;
SELECT datamill.cdc_merge('cdc_altered.t', 'cdc_altered.src', effective => '2020-01-02');
DELETE FROM cdc_altered.t WHERE k IS NULL;
SELECT unchanged, deleted FROM datamill.cdc_merge('cdc_altered.t', 'cdc_altered.src', effective => '2020-01-02');

-- columns of other types, or gone
ALTER TABLE cdc_altered.t_history ALTER u TYPE text;
DROP VIEW IF EXISTS cdc_altered.t_versions, cdc_altered.t_changes;
ALTER TABLE cdc_altered.t_history ALTER u TYPE text;
SELECT datamill.cdc_merge('cdc_altered.t', 'cdc_altered.src', effective => '2020-01-03');
SELECT datamill.cdc_undo('cdc_altered.t');

-- the points of a feed
SELECT inserted FROM datamill.cdc_merge('cdc_altered.f', 'SELECT *, 1 AS seq, ''u'' AS op FROM cdc_altered.src', keys => '{k,u}', mode => 'feed',
  options => '{"sequence_column": "seq", "operation_column": "op"}');
SELECT unchanged FROM datamill.cdc_merge('cdc_altered.f', 'SELECT *, 2 AS seq, ''u'' AS op FROM cdc_altered.src', mode => 'feed');
BEGIN;
ALTER TABLE cdc_altered.f_feed ALTER u TYPE text;
SELECT datamill.cdc_merge('cdc_altered.f', 'SELECT *, 3 AS seq, ''u'' AS op FROM cdc_altered.src', mode => 'feed');
ROLLBACK;
BEGIN;
ALTER TABLE cdc_altered.f_feed DROP COLUMN operation;
SELECT datamill.cdc_merge('cdc_altered.f', 'SELECT *, 3 AS seq, ''u'' AS op FROM cdc_altered.src', mode => 'feed');
ROLLBACK;
BEGIN;
ALTER TABLE cdc_altered.f_feed DROP CONSTRAINT f_feed_pkey;
SELECT datamill.cdc_merge('cdc_altered.f', 'SELECT *, 3 AS seq, ''u'' AS op FROM cdc_altered.src', mode => 'feed');
ROLLBACK;
DROP TABLE cdc_altered.f_feed;
SELECT datamill.cdc_merge('cdc_altered.f', 'SELECT *, 3 AS seq, ''u'' AS op FROM cdc_altered.src', mode => 'feed');

DROP SCHEMA cdc_altered CASCADE;
