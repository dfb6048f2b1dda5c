-- Tables that were a dataset's are taken up again with their history: after drop_dataset(..., keep_tables), and after a dump without the extension's catalogs.
\set VERBOSITY terse
SET client_min_messages = notice;
CREATE SCHEMA re;
SELECT inserted FROM datamill.cdc_merge('re.t', 'SELECT i AS id, i AS v, 1 AS u FROM generate_series(1, 3) i', keys => '{id}', effective => '2026-01-01', options => '{"untracked": ["u"]}');
SELECT updated, deleted FROM datamill.cdc_merge('re.t', 'SELECT i AS id, i * i AS v, 1 AS u FROM generate_series(1, 2) i', effective => '2026-01-05');
GRANT SELECT ON re.t_versions TO PUBLIC;
CREATE TABLE re.was AS SELECT id, v, operation, eff_start_date, eff_end_date FROM re.t_versions;
SELECT datamill.drop_dataset('re.t', keep_tables => true);
SELECT updated FROM datamill.cdc_merge('re.t', 'SELECT 2 AS id, 5 AS v, 1 AS u', effective => '2026-01-06', mode => 'delta');
SELECT datamill.create_dataset('re.t', '{v}', options => '{"untracked": ["u"]}');
SELECT datamill.create_dataset('re.t', '{id}', options => '{"untracked": ["u"]}');
(SELECT id, v, operation, eff_start_date, eff_end_date FROM re.t_versions EXCEPT ALL TABLE re.was) UNION ALL (TABLE re.was EXCEPT ALL SELECT id, v, operation, eff_start_date, eff_end_date FROM re.t_versions);
SELECT * FROM datamill.check_dataset('re.t');
SELECT keys, untracked, effective_type, versions_view, changes_view FROM datamill.datasets WHERE current_table = 're.t'::regclass;
SELECT effective_day, mode, inserted, live_rows FROM datamill.merges WHERE dataset = 're.t'::regclass;
SELECT has_table_privilege('public', 're.t_versions', 'SELECT') AS grant_kept;
SELECT updated FROM datamill.cdc_merge('re.t', 'SELECT 2 AS id, 5 AS v, 1 AS u', effective => '2026-01-04', mode => 'delta');
SELECT unchanged, inserted, updated FROM datamill.cdc_merge('re.t', 'SELECT 2 AS id, 4 AS v, 1 AS u UNION ALL SELECT 3, 9, 1 UNION ALL SELECT 1, 7, 1', effective => '2026-01-06');
SELECT id, v, operation, valid FROM re.t_versions ORDER BY id, valid;
SELECT removed, restored FROM datamill.cdc_undo('re.t');
(SELECT id, v, operation, eff_start_date, eff_end_date FROM re.t_versions EXCEPT ALL TABLE re.was) UNION ALL (TABLE re.was EXCEPT ALL SELECT id, v, operation, eff_start_date, eff_end_date FROM re.t_versions);
SELECT * FROM datamill.cdc_undo('re.t');

-- rows from another database have numbers of merges that may come here
SELECT datamill.drop_dataset('re.t', keep_tables => true);
DROP VIEW re.t_changes;
UPDATE re.t_history SET ended_merge_id = 9223372036854775807;
SELECT datamill.create_dataset('re.t', '{id}', options => '{"untracked": ["u"]}');
SELECT last_value AS last FROM datamill.merge_catalog_merge_id_seq \gset
UPDATE re.t_history SET ended_merge_id = :last + 6, merge_id = :last + 5;
UPDATE re.t SET merge_id = :last + 6;
SELECT datamill.create_dataset('re.t', '{id}', options => '{"untracked": ["u"], "history_index": "key"}');
SELECT count(*) FROM re.t_versions WHERE merge_id >= (SELECT max(merge_id) FROM datamill.merges);
SELECT updated FROM datamill.cdc_merge('re.t', 'SELECT 2 AS id, 5 AS v, 1 AS u', effective => '2026-01-06', mode => 'delta');
SELECT removed, restored FROM datamill.cdc_undo('re.t');
SELECT * FROM datamill.check_dataset('re.t');
SELECT effective, operation, id, v FROM re.t_changes ORDER BY 1, 2, 3;

-- tables that only look like a dataset's
SELECT datamill.drop_dataset('re.t', keep_tables => true);
ALTER TABLE re.t ALTER operation DROP NOT NULL;
SELECT datamill.create_dataset('re.t', '{id}');
ALTER TABLE re.t ALTER operation SET NOT NULL;
DROP VIEW re.t_versions, re.t_changes;
ALTER TABLE re.t_history ALTER ended_by TYPE text;
SELECT datamill.create_dataset('re.t', '{id}');
ALTER TABLE re.t_history ALTER ended_by TYPE "char" USING ended_by::"char";
BEGIN;
UPDATE re.t SET eff_start_date = 'infinity';
SELECT datamill.create_dataset('re.t', '{id}');
ROLLBACK;
BEGIN;
UPDATE re.t_history SET eff_end_date = '2000-01-01';
SELECT datamill.create_dataset('re.t', '{id}');
ROLLBACK;
ALTER TABLE re.t_history RENAME TO t_hidden;
CREATE VIEW re.t_history AS TABLE re.t_hidden;
SELECT datamill.create_dataset('re.t', '{id}');
DROP VIEW re.t_history;
CREATE TABLE re.t_history (LIKE re.t_hidden) PARTITION BY LIST (id);
SELECT datamill.create_dataset('re.t', '{id}', options => '{"history_partition": "month"}');
DROP TABLE re.t_history;
CREATE TABLE re.t_history (LIKE re.t_hidden) PARTITION BY RANGE (eff_start_date);
SELECT datamill.create_dataset('re.t', '{id}', options => '{"history_partition": "month"}');
DROP TABLE re.t_history;
ALTER TABLE re.t_hidden RENAME TO t_history;
CREATE TABLE re.child () INHERITS (re.t_history);
SELECT datamill.create_dataset('re.t', '{id}');
DROP TABLE re.child;
SELECT datamill.create_dataset('re.t', '{id}', options => '{"null_keys": "allow"}');
SELECT datamill.create_dataset('re.t', '{id}', options => '{"effective_type": "timestamptz"}');
-- hashes that are not there are made
ALTER TABLE re.t ALTER key_hash DROP NOT NULL, ALTER row_hash DROP NOT NULL;
SELECT datamill.create_dataset('re.t', '{id}');
ALTER TABLE re.t ALTER key_hash SET NOT NULL, ALTER row_hash SET NOT NULL;
SELECT datamill.create_dataset('re.t', '{id}', options => '{"untracked": ["u"]}');
ALTER TABLE re.t ALTER key_hash DROP NOT NULL, ALTER row_hash DROP NOT NULL;
UPDATE re.t SET key_hash = NULL, row_hash = NULL;
SELECT datamill.alter_dataset('re.t', '{"untracked": []}');
SELECT * FROM datamill.check_dataset('re.t');
-- an undo is not called in an undo
CREATE FUNCTION re.again() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM datamill.cdc_undo('re.t'); RETURN NULL; END$$;
SELECT inserted, updated FROM datamill.cdc_merge('re.t', 'SELECT i AS id, i + 100 AS v, 1 AS u FROM generate_series(1, 3) i', effective => '2026-02-01');
SELECT updated FROM datamill.cdc_merge('re.t', 'SELECT i AS id, i + 200 AS v, 1 AS u FROM generate_series(1, 3) i', effective => '2026-02-02');
CREATE TRIGGER again BEFORE UPDATE ON re.t FOR EACH STATEMENT EXECUTE FUNCTION re.again();
SELECT * FROM datamill.cdc_undo('re.t');
DROP TRIGGER again ON re.t;
SELECT restored FROM datamill.cdc_undo('re.t');

-- without its history it starts anew
SELECT datamill.drop_dataset('re.t', keep_tables => true);
ALTER TABLE re.t ALTER key_hash SET NOT NULL, ALTER row_hash SET NOT NULL;
DROP TABLE re.t_history CASCADE;
SELECT datamill.create_dataset('re.t', '{id}');
SELECT id, v, operation, valid FROM re.t_versions ORDER BY id;
SELECT datamill.drop_dataset('re.t');

-- settings that the tables show are asked for
SELECT inserted FROM datamill.cdc_merge('re.s', 'SELECT 1 AS id, 1 AS v, ''x'' AS secret', keys => '{id}', effective => '2026-01-01', options => '{"sensitive": ["secret"], "stamp_operation": true, "history_partition": "month", "effective_type": "timestamptz", "names": {"operation": "op"}}');
SELECT updated FROM datamill.cdc_merge('re.s', 'SELECT 1 AS id, 1 AS v, ''y'' AS secret', effective => '2026-02-01');
SELECT datamill.drop_dataset('re.s', keep_tables => true);
SELECT datamill.create_dataset('re.s', '{id}');
SELECT datamill.create_dataset('re.s', '{id}', options => '{"names": {"operation": "op"}}');
SELECT datamill.create_dataset('re.s', '{id}', options => '{"names": {"operation": "op"}, "stamp_operation": true}');
SELECT datamill.create_dataset('re.s', '{id}', options => '{"names": {"operation": "op"}, "stamp_operation": true, "sensitive": ["secret"]}');
SELECT datamill.create_dataset('re.s', '{id}', options => '{"names": {"operation": "op"}, "stamp_operation": true, "sensitive": ["secret"], "history_partition": "month"}');
SELECT updated FROM datamill.cdc_merge('re.s', 'SELECT 1 AS id, 1 AS v, ''z'' AS secret', effective => '2026-03-01');
SELECT id, v, secret, valid FROM re.s_sensitive_versions ORDER BY valid;
SELECT * FROM datamill.check_dataset('re.s');

-- tables of other datasets are not adopted; what a table drops does not stay in the catalog
SELECT datamill.create_dataset('re.s_history', '{id}', options => '{"adopt": true}');
SELECT datamill.create_dataset('re.s_sensitive', '{id}', options => '{"adopt": true}');
DROP TABLE re.s, re.s_sensitive CASCADE;
SELECT inserted FROM datamill.cdc_merge('re.s', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
DROP TABLE re.s_history;
SELECT inserted FROM datamill.cdc_merge('re.s', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
SELECT count(*) FROM datamill.dataset_catalog d WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.current_table);

-- the dataset is its table's owner's
CREATE ROLE re_ann;
CREATE ROLE re_bob;
GRANT USAGE, CREATE ON SCHEMA re TO re_ann, re_bob;
SET ROLE re_ann;
SELECT inserted FROM datamill.cdc_merge('re.o', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
SELECT current_table, owner FROM datamill.datasets WHERE current_table = 're.o'::regclass;
RESET ROLE;
REASSIGN OWNED BY re_ann TO re_bob;
REVOKE USAGE, CREATE ON SCHEMA re FROM re_ann;
DROP ROLE re_ann;
SELECT current_table, owner FROM datamill.datasets WHERE current_table = 're.o'::regclass;
SET ROLE re_bob;
SELECT current_table, owner FROM datamill.datasets WHERE current_table = 're.o'::regclass;
SELECT effective_day, merged_by = 're_bob'::regrole AS mine FROM datamill.merges WHERE dataset = 're.o'::regclass;
SELECT inserted FROM datamill.cdc_merge('re.o', 'SELECT 2 AS id', effective => '2026-01-02', mode => 'delta');
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA re CASCADE;
DROP ROLE re_bob;
