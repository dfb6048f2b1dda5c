-- Sensitive columns live in tables of their own. A role with rights on the plain ones reads their values nowhere.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE ROLE cdc_sens_plain;
CREATE ROLE cdc_sens_full;
CREATE ROLE cdc_sens_merger;
CREATE SCHEMA cdc_sens;
CREATE TABLE cdc_sens.day1 (id int, name text, tax_id text, born date);
INSERT INTO cdc_sens.day1 VALUES (1, 'Ada', 'SECRET-1', '1815-12-10'), (2, 'Alan', 'SECRET-2', '1912-06-23'), (3, 'Kurt', 'SECRET-3', '1906-04-28');
-- a plan of a dataset that does not exist yet
SELECT operation, rows FROM datamill.cdc_plan('cdc_sens.person', 'cdc_sens.day1', '{id}', '2020-01-01', options => '{"sensitive": ["tax_id", "born"]}') WHERE rows > 0;
SELECT inserted FROM datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day1', '{id}', '2020-01-01', options => '{"sensitive": ["tax_id", "born"], "on_missing_column": "ignore"}');
CREATE TABLE cdc_sens.day2 AS SELECT id, CASE id WHEN 2 THEN 'Alan M.' ELSE name END AS name, CASE id WHEN 1 THEN 'SECRET-1b' ELSE tax_id END AS tax_id, born FROM cdc_sens.day1 WHERE id < 3
  UNION ALL SELECT 4, 'Emmy', 'SECRET-4', '1882-03-23';
-- a change of a sensitive column alone is an update
SELECT operation, rows, sample FROM datamill.cdc_plan('cdc_sens.person', 'cdc_sens.day2', effective => '2020-02-01');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day2', effective => '2020-02-01');
SELECT column_name FROM information_schema.columns WHERE table_schema = 'cdc_sens' AND column_name IN ('tax_id', 'born') AND table_name LIKE 'person%' AND table_name NOT LIKE 'person_sensitive%';
SELECT id, name, tax_id, born, operation, valid FROM cdc_sens.person_sensitive_versions ORDER BY id, eff_start_date;
SELECT id, name, operation, valid FROM cdc_sens.person_versions ORDER BY id, eff_start_date;
SELECT * FROM datamill.check_dataset('cdc_sens.person');
SELECT sensitive, sensitive_table, sensitive_history_table, sensitive_versions_view FROM datamill.datasets WHERE current_table = 'cdc_sens.person'::regclass;

-- the plain role: everything plain, nothing else
GRANT USAGE ON SCHEMA cdc_sens TO cdc_sens_plain, cdc_sens_full, cdc_sens_merger;
GRANT SELECT ON cdc_sens.person, cdc_sens.person_history, cdc_sens.person_versions, cdc_sens.person_changes TO cdc_sens_plain;
SET ROLE cdc_sens_plain;
SELECT count(*) FROM cdc_sens.person, cdc_sens.person_history, cdc_sens.person_versions, cdc_sens.person_changes;
SELECT tax_id FROM cdc_sens.person_sensitive;
SELECT tax_id FROM cdc_sens.person_sensitive_history;
SELECT tax_id FROM cdc_sens.person_sensitive_versions;
SELECT tax_id FROM cdc_sens.person;
-- no function reads them for it, and the text of what it can read never holds them
SELECT bool_or(t::text LIKE '%SECRET%') AS leaked FROM (SELECT p::text FROM cdc_sens.person p UNION ALL SELECT p::text FROM cdc_sens.person_history p UNION ALL
  SELECT p::text FROM cdc_sens.person_versions p UNION ALL SELECT p::text FROM cdc_sens.person_changes p UNION ALL SELECT r::text FROM datamill.receipts r UNION ALL SELECT m::text FROM datamill.merges m
  UNION ALL SELECT s::text FROM pg_stats s UNION ALL SELECT d::text FROM datamill.datasets d UNION ALL SELECT r::text FROM datamill.rejects r UNION ALL
  SELECT d::text FROM datamill.cdc_diff('cdc_sens.person', '2020-01-15', '2020-02-15') d) t(t);
SELECT * FROM datamill.cdc_diff('cdc_sens.person', '2020-01-15', '2020-02-15');
SELECT * FROM datamill.check_dataset('cdc_sens.person');
SELECT * FROM datamill.cdc_plan('cdc_sens.person', 'SELECT 1 AS id, ''x'' AS name, ''guess'' AS tax_id, NULL::date AS born');
SELECT datamill.cdc_merge('cdc_sens.person', 'SELECT 1 AS id, ''x'' AS name, ''guess'' AS tax_id, NULL::date AS born');
SELECT datamill.cdc_undo('cdc_sens.person');
SELECT datamill.alter_dataset('cdc_sens.person', '{"deletes": "ignore"}');
SELECT datamill.prune_history('cdc_sens.person', '2030-01-01');
RESET ROLE;
-- the stored hash of a plain row does not depend on the sensitive values, so they cannot be guessed by trying
CREATE TABLE cdc_sens.plain_hashes AS SELECT id, row_hash FROM cdc_sens.person;
SELECT updated FROM datamill.cdc_merge('cdc_sens.person', 'SELECT id, name, ''other'' AS tax_id, born FROM cdc_sens.day2', effective => '2020-03-01');
SELECT count(*) AS same FROM cdc_sens.person JOIN cdc_sens.plain_hashes USING (id, row_hash);
SELECT removed, restored FROM datamill.cdc_undo('cdc_sens.person');

-- a merge needs rights on both
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc_sens.person TO cdc_sens_merger;
GRANT INSERT ON cdc_sens.person_history TO cdc_sens_merger;
GRANT SELECT ON cdc_sens.day1, cdc_sens.day2 TO cdc_sens_merger;
SET ROLE cdc_sens_merger;
SELECT datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day1', effective => '2020-03-01');
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc_sens.person_sensitive TO cdc_sens_merger;
SET ROLE cdc_sens_merger;
SELECT datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day1', effective => '2020-03-01');
RESET ROLE;
GRANT INSERT ON cdc_sens.person_sensitive_history TO cdc_sens_merger;
SET ROLE cdc_sens_merger;
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day1', effective => '2020-03-01');
RESET ROLE;
-- one with rights on the view of both reads both
GRANT SELECT ON cdc_sens.person_sensitive_versions TO cdc_sens_full;
SET ROLE cdc_sens_full;
SELECT id, tax_id FROM cdc_sens.person_sensitive_versions WHERE valid @> '2020-02-10'::date ORDER BY id;
SELECT 1 FROM cdc_sens.person_sensitive;
RESET ROLE;
-- back and back again: exact in all four tables
SELECT removed, restored FROM datamill.cdc_undo('cdc_sens.person');
SELECT removed, restored FROM datamill.cdc_undo('cdc_sens.person');
SELECT id, name, tax_id, operation, valid FROM cdc_sens.person_sensitive_versions ORDER BY id;
SELECT (SELECT count(*) FROM cdc_sens.person_history) + (SELECT count(*) FROM cdc_sens.person_sensitive_history) AS closed;
SELECT * FROM datamill.check_dataset('cdc_sens.person');
-- a source without the sensitive columns leaves them as they are
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_sens.person', 'SELECT id, upper(name) AS name FROM cdc_sens.day1 WHERE id = 1', effective => '2020-02-01', mode => 'delta');
SELECT id, name, tax_id FROM cdc_sens.person_sensitive_versions WHERE id = 1 ORDER BY eff_start_date;
\set SHOW_CONTEXT never
-- somebody deletes the sensitive half of a row: the checker tells, a merge that needs it says so
DELETE FROM cdc_sens.person_sensitive WHERE id = 2;
SELECT problem, key FROM datamill.check_dataset('cdc_sens.person');
SELECT datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day1', effective => '2020-02-01');
DROP TABLE cdc_sens.person_sensitive_history CASCADE;
SELECT datamill.cdc_merge('cdc_sens.person', 'cdc_sens.day1', effective => '2020-02-01');
SELECT datamill.drop_dataset('cdc_sens.person');
SELECT relname FROM pg_class WHERE relnamespace = 'cdc_sens'::regnamespace AND relname LIKE 'person%';
DROP SCHEMA cdc_sens CASCADE;
DROP ROLE cdc_sens_plain, cdc_sens_full, cdc_sens_merger;
