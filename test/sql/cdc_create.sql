-- create_dataset: from a list of columns, from a source, with every setting; names of the added columns; alter_dataset.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_create;
CREATE TABLE cdc_create.batch (id int, name text, city text);
INSERT INTO cdc_create.batch VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z');

-- from a list, and from a source; then merges
SELECT datamill.create_dataset('cdc_create.listed', '{id}', 'id int, name varchar(5) COLLATE "C", amounts numeric(6,2)[], "Odd name" text');
\d cdc_create.listed
SELECT * FROM datamill.cdc_merge('cdc_create.listed', $$SELECT 1 AS id, 'a' AS name, '{1.5}'::numeric[] AS amounts, 'o' AS "Odd name"$$,
  effective => '2020-01-01') AS m(inserted, updated, deleted, unchanged, missing, rejected, receipt) \gset
\echo :inserted :updated
SELECT datamill.create_dataset('cdc_create.sourced', '{id}', source => 'cdc_create.batch', options => '{"effective_type": "timestamptz", "untracked": ["city"], "deletes": "ignore"}');
SELECT inserted, deleted FROM datamill.cdc_merge('cdc_create.sourced', 'cdc_create.batch', effective => '2020-01-01');
SELECT keys, untracked, deletes, effective_type FROM datamill.datasets WHERE current_table = 'cdc_create.sourced'::regclass;

-- what is refused
SELECT datamill.create_dataset('cdc_create.listed', '{id}', 'id int');
SELECT datamill.create_dataset('cdc_create.x', '{id}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', 'cdc_create.batch');
SELECT datamill.create_dataset('cdc_create.x', '{no}', 'id int');
SELECT datamill.create_dataset('cdc_create.x', '{}', 'id int');
SELECT datamill.create_dataset('cdc_create.x', NULL, 'id int');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, id text');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int PRIMARY KEY');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, CHECK (id > 0)');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int); DROP TABLE cdc_create.batch; --');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int) INHERITS (cdc_create.batch');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id no_type');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"adopt": true}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"scope": "id > 1"}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"duplicates": "first"}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"duplicates": "last"}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"duplicates": "last", "sequence_column": "no"}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"sensitive": ["id"]}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, a int', options => '{"kinds": {"a": 4}}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, a int', options => '{"kinds": {"b": 1}}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, a int', options => '{"kinds": {"a": 0}, "untracked": ["a"]}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, a int, previous_a int', options => '{"kinds": {"a": 3}}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"stamp_operation": "yes"}');
SELECT datamill.create_dataset('cdc_create.' || repeat('x', 50), '{id}', 'id int', options => '{"history_partition": "month"}');

-- names: everything that reads or writes the added columns uses them; a collision is an error
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int, operation text');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"names": {"operation": "id"}}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"names": {"operation": "a", "merge_id": "a"}}');
SELECT datamill.create_dataset('cdc_create.x', '{id}', 'id int', options => '{"names": {"no": "a"}}');
SELECT inserted FROM datamill.cdc_merge('cdc_create.named', 'SELECT id, name, city AS operation FROM cdc_create.batch', '{id}', '2020-01-01', options =>
  '{"names": {"operation": "Op", "eff_start_date": "from", "eff_end_date": "to", "ended_by": "select", "merge_id": "run", "ended_merge_id": "end run", "key_hash": "kh", "row_hash": "rh", "valid": "during", "effective": "on"}}');
UPDATE cdc_create.batch SET name = 'A' WHERE id = 1;
DELETE FROM cdc_create.batch WHERE id = 2;
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_create.named', 'SELECT id, name, city AS operation FROM cdc_create.batch', effective => '2020-02-01');
SELECT id, name, operation, "Op", "from", "to", during FROM cdc_create.named_versions ORDER BY id, "from";
SELECT * FROM cdc_create.named_changes ORDER BY "on", id;
SELECT id, "select", "to" FROM cdc_create.named_history ORDER BY id;
SELECT count(*) FROM cdc_create.named WHERE kh IS NOT NULL AND rh IS NOT NULL AND run IS NOT NULL;
SELECT * FROM datamill.check_dataset('cdc_create.named');
SELECT * FROM datamill.cdc_diff('cdc_create.named', '2020-01-15', '2020-02-15');
SELECT removed, restored FROM datamill.cdc_undo('cdc_create.named');
SELECT id, name, "Op", "from" FROM cdc_create.named ORDER BY id;

-- a later merge may repeat the settings, not change them; settings of a batch hold for the merge that gives them
SELECT unchanged FROM datamill.cdc_merge('cdc_create.sourced', 'cdc_create.batch', effective => '2020-02-01', options => '{"untracked": ["city"]}');
SELECT datamill.cdc_merge('cdc_create.sourced', 'cdc_create.batch', effective => '2020-02-01', options => '{"sensitive": ["name"]}');
SELECT unchanged FROM datamill.cdc_merge('cdc_create.sourced', 'SELECT *, 1 AS extra FROM cdc_create.batch', effective => '2020-02-01', options => '{"on_new_column": "ignore"}');

-- alter_dataset: what can change and what cannot
SELECT datamill.alter_dataset('cdc_create.sourced', '{"deletes": "close", "untracked": ["name"], "on_new_column": "ignore", "history_index": "both", "stamp_operation": true}');
SELECT untracked, deletes, on_new_column, on_missing_column, history_index, stamp_operation FROM datamill.datasets WHERE current_table = 'cdc_create.sourced'::regclass;
SELECT indexname FROM pg_indexes WHERE schemaname = 'cdc_create' AND tablename = 'sourced_history' ORDER BY 1;
SELECT * FROM datamill.check_dataset('cdc_create.sourced');
UPDATE cdc_create.batch SET city = 'new', name = 'new' WHERE id = 3;
SELECT updated, unchanged, deleted FROM datamill.cdc_merge('cdc_create.sourced', 'cdc_create.batch', effective => '2020-03-01');
SELECT id, name, city, operation, made_by FROM cdc_create.sourced ORDER BY id;
SELECT datamill.alter_dataset('cdc_create.sourced', '{"stamp_operation": false, "history_index": "none", "kinds": {"city": 1}, "untracked": []}');
SELECT id, name, city, operation, (SELECT count(*) FROM pg_indexes WHERE schemaname = 'cdc_create' AND tablename = 'sourced_history') AS indexes FROM cdc_create.sourced ORDER BY id;
SELECT * FROM datamill.check_dataset('cdc_create.sourced');
SELECT datamill.alter_dataset('cdc_create.sourced', '{"names": {"operation": "op"}}');
SELECT datamill.alter_dataset('cdc_create.sourced', '{"effective_type": "date"}');
SELECT datamill.alter_dataset('cdc_create.sourced', '{"scope": "id > 1"}');
SELECT datamill.alter_dataset('cdc_create.sourced', '{"kinds": {"name": 3}}');
SELECT datamill.alter_dataset('cdc_create.sourced', '{"untracked": ["no"]}');
SELECT datamill.alter_dataset('cdc_create.sourced', '{"no": 1}');
SELECT datamill.alter_dataset('cdc_create.batch', '{"deletes": "close"}');
CREATE ROLE cdc_create_other;
GRANT USAGE ON SCHEMA cdc_create TO cdc_create_other;
SET ROLE cdc_create_other;
SELECT datamill.alter_dataset('cdc_create.sourced', '{"deletes": "close"}');
RESET ROLE;
DROP OWNED BY cdc_create_other;
DROP ROLE cdc_create_other;
SELECT datamill.drop_dataset(d.current_table::text) FROM datamill.datasets d WHERE d.current_table::text LIKE 'cdc_create.%';
DROP SCHEMA cdc_create CASCADE;
