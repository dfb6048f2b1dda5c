-- check_dataset, cdc_diff and drop_dataset.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_inspect;
CREATE TABLE cdc_inspect.src (id int, "Key 2" text, v text, doc json);
INSERT INTO cdc_inspect.src SELECT i, 'k' || i, 'v', '{}' FROM generate_series(1, 6) i;
SELECT inserted FROM datamill.cdc_merge('cdc_inspect.t', 'cdc_inspect.src', keys => ARRAY['id', 'Key 2'], effective => '2020-01-01');
UPDATE cdc_inspect.src SET v = 'w' WHERE id <= 2;
DELETE FROM cdc_inspect.src WHERE id = 3;
INSERT INTO cdc_inspect.src VALUES (7, 'k7', 'v', NULL);
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_inspect.t', 'cdc_inspect.src', effective => '2020-01-02');
UPDATE cdc_inspect.src SET v = 'v' WHERE id = 1;
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_inspect.t', 'cdc_inspect.src', effective => '2020-01-05');

SELECT * FROM datamill.check_dataset('cdc_inspect.t');
SELECT * FROM datamill.cdc_diff('cdc_inspect.t', '2020-01-01', '2020-01-02');
-- 1 changed there and back
SELECT operation, key FROM datamill.cdc_diff('cdc_inspect.t', '2020-01-01', '2020-01-05');
SELECT operation, key FROM datamill.cdc_diff('cdc_inspect.t', '2020-01-05', '2020-01-01');
SELECT count(*) FROM datamill.cdc_diff('cdc_inspect.t', '2020-01-03', '2020-01-04');
SELECT count(*) FROM datamill.cdc_diff('cdc_inspect.t', '2019-01-01', '2020-01-04');

-- what the check finds
BEGIN;
UPDATE cdc_inspect.t SET v = 'by hand' WHERE id = 4;
UPDATE cdc_inspect.t_history SET eff_end_date = '2020-02-01' WHERE id = 2;
UPDATE cdc_inspect.t_history SET eff_end_date = '2019-02-01' WHERE id = 3;
ALTER TABLE cdc_inspect.t DROP CONSTRAINT t_pkey;
INSERT INTO cdc_inspect.t SELECT * FROM cdc_inspect.t WHERE id = 5;
SELECT problem, key, detail FROM datamill.check_dataset('cdc_inspect.t') ORDER BY 1, 2;
ROLLBACK;

-- rights
CREATE ROLE cdc_reader;
GRANT USAGE ON SCHEMA cdc_inspect TO cdc_reader;
GRANT SELECT ON cdc_inspect.t TO cdc_reader;
SET ROLE cdc_reader;
\set VERBOSITY terse
SELECT datamill.check_dataset('cdc_inspect.t');
SELECT datamill.cdc_diff('cdc_inspect.t', '2020-01-01', '2020-01-05');
SELECT datamill.drop_dataset('cdc_inspect.t');
\set VERBOSITY default
RESET ROLE;
GRANT SELECT ON cdc_inspect.t_history TO cdc_reader;
SET ROLE cdc_reader;
SELECT count(*) FROM datamill.check_dataset('cdc_inspect.t');
RESET ROLE;
SELECT datamill.check_dataset('cdc_inspect.src');

-- dropping
CREATE VIEW cdc_inspect.mine AS SELECT id FROM cdc_inspect.t;
SELECT datamill.drop_dataset('cdc_inspect.t');
DROP VIEW cdc_inspect.mine;
SELECT datamill.drop_dataset('cdc_inspect.t', keep_tables => true);
SELECT count(*) FROM cdc_inspect.t;
SELECT datamill.cdc_merge('cdc_inspect.t', 'cdc_inspect.src', effective => '2020-01-06');
SELECT inserted FROM datamill.cdc_merge('cdc_inspect.u', 'cdc_inspect.src', keys => '{id}', effective => '2020-01-01');
SELECT datamill.drop_dataset('cdc_inspect.u');
SELECT relname FROM pg_class WHERE relnamespace = 'cdc_inspect'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1;
SELECT count(*) FROM datamill.datasets WHERE current_table::text LIKE 'cdc_inspect.%';

DROP SCHEMA cdc_inspect CASCADE;
DROP OWNED BY cdc_reader;
DROP ROLE cdc_reader;
