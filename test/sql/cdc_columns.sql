-- What a batch may be like: duplicates, NULL keys, new, missing and widened columns; and the kinds of columns.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_col;
CREATE TABLE cdc_col.events (id int, region text, name text, seq int);

-- duplicates: an error, unless the last by a column is to be taken
INSERT INTO cdc_col.events VALUES (1, 'eu', 'old', 1), (1, 'eu', 'new', 2), (2, 'eu', 'only', 1), (3, 'us', 'same', 5), (3, 'us', 'same', 5);
SELECT datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', '{id}');
SELECT inserted FROM datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', '{id}', '2020-01-01', options => '{"duplicates": "last", "sequence_column": "seq"}');
SELECT id, name, seq FROM cdc_col.dup ORDER BY id;
UPDATE cdc_col.events SET name = 'newer' WHERE seq = 2;
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', effective => '2020-02-01');
SELECT operation, rows, sample FROM datamill.cdc_plan('cdc_col.dup', 'cdc_col.events', effective => '2020-02-01');
SELECT datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', effective => '2020-02-01', options => '{"duplicates": "error"}');
INSERT INTO cdc_col.events VALUES (1, 'eu', 'tie', 2);
SELECT datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', effective => '2020-03-01');
UPDATE cdc_col.events SET seq = NULL WHERE name = 'tie';
SELECT datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', effective => '2020-03-01');
SELECT datamill.cdc_merge('cdc_col.dup', 'cdc_col.events', effective => '2020-03-01', options => '{"sequence_column": "no"}');

-- NULL keys: an error, unless NULL is a key like any other; a full scan, an index look-up and the diff all find it
INSERT INTO cdc_col.events VALUES (NULL, NULL, 'null', 1), (NULL, 'eu', 'half', 1);
SELECT datamill.cdc_merge('cdc_col.nulls', 'SELECT id, region, name FROM cdc_col.events WHERE name IN (''null'', ''half'', ''only'')', '{id,region}');
SELECT inserted FROM datamill.cdc_merge('cdc_col.nulls', 'SELECT id, region, name FROM cdc_col.events WHERE name IN (''null'', ''half'', ''only'') UNION ALL SELECT i, ''xx'', ''bulk'' FROM generate_series(100, 300) i',
  '{id,region}', '2020-01-01', options => '{"null_keys": "allow"}');
\d cdc_col.nulls
SELECT updated, unchanged, missing FROM datamill.cdc_merge('cdc_col.nulls', 'SELECT NULL::int AS id, NULL AS region, ''NULL'' AS name UNION ALL SELECT NULL, ''eu'', ''half''', effective => '2020-02-01', mode => 'delta');
SELECT updated, unchanged, deleted FROM datamill.cdc_merge('cdc_col.nulls', 'SELECT NULL::int AS id, NULL AS region, ''Null'' AS name UNION ALL SELECT NULL, ''eu'', ''half''', effective => '2020-03-01');
SELECT operation, key, before->>'name' AS before, after->>'name' AS after FROM datamill.cdc_diff('cdc_col.nulls', '2020-01-15', '2020-02-15');
SELECT datamill.cdc_merge('cdc_col.nulls', 'SELECT NULL::int AS id, NULL AS region, ''a'' AS name UNION ALL SELECT NULL, NULL, ''b''', effective => '2020-04-01');
SELECT id, region, name, valid FROM cdc_col.nulls_versions WHERE id IS NULL ORDER BY region NULLS FIRST, eff_start_date;
SELECT * FROM datamill.check_dataset('cdc_col.nulls');
SELECT datamill.alter_dataset('cdc_col.nulls', '{"null_keys": "error"}');

-- new columns: error, ignore, add; an added column that is all NULL changes no row
CREATE TABLE cdc_col.day (id int, name varchar(3), amount int);
INSERT INTO cdc_col.day VALUES (1, 'a', 10), (2, 'b', 20);
SELECT inserted FROM datamill.cdc_merge('cdc_col.drift', 'cdc_col.day', '{id}', '2020-01-01');
GRANT SELECT ON cdc_col.drift_versions TO PUBLIC;
CREATE VIEW cdc_col.users_own AS SELECT id, name FROM cdc_col.drift_versions;
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT *, NULL::text AS email FROM cdc_col.day', effective => '2020-02-01');
SELECT unchanged FROM datamill.cdc_merge('cdc_col.drift', 'SELECT *, NULL::text AS email FROM cdc_col.day', effective => '2020-02-01', options => '{"on_new_column": "ignore"}');
SELECT operation, rows, sample FROM datamill.cdc_plan('cdc_col.drift', 'SELECT *, CASE id WHEN 1 THEN ''e'' END AS email FROM cdc_col.day', effective => '2020-02-01', options => '{"on_new_column": "add"}');
SELECT datamill.alter_dataset('cdc_col.drift', '{"on_new_column": "add"}');
SET client_min_messages = notice;
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_col.drift', 'SELECT *, NULL::text AS email FROM cdc_col.day', effective => '2020-02-01');
SET client_min_messages = warning;
SELECT * FROM datamill.check_dataset('cdc_col.drift');
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_col.drift', 'SELECT *, CASE id WHEN 1 THEN ''e'' END AS email FROM cdc_col.day', effective => '2020-03-01');
SELECT id, name, amount, operation, valid, email FROM cdc_col.drift_versions ORDER BY id, eff_start_date;
SELECT effective, operation, id, email FROM cdc_col.drift_changes ORDER BY effective, id;
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT *, ''x'' AS email, 1 AS merge_id FROM cdc_col.day', effective => '2020-04-01');
-- missing columns: error, or the last values stay
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT id, name FROM cdc_col.day', effective => '2020-04-01');
SELECT inserted, updated, unchanged FROM datamill.cdc_merge('cdc_col.drift', 'SELECT id, name || id AS name FROM cdc_col.day WHERE id = 1 UNION ALL SELECT 2, ''b'' UNION ALL SELECT 3, ''c''', effective => '2020-04-01',
  options => '{"on_missing_column": "ignore"}');
SELECT id, name, amount, email, operation FROM cdc_col.drift ORDER BY id;
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT name FROM cdc_col.day', effective => '2020-04-01', options => '{"on_missing_column": "ignore"}');
-- types: as INSERT would by default; wider ones if that is asked for; others raise with both types
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT 1 AS id, ''abcdef''::varchar(6) AS name, 3000000000 AS amount, ''e'' AS email', effective => '2020-05-01', mode => 'delta');
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT 1 AS id, ''a''::varchar(3) AS name, true AS amount, ''e'' AS email', effective => '2020-05-01', mode => 'delta', options => '{"on_type_change": "widen"}');
SELECT datamill.cdc_merge('cdc_col.drift', 'SELECT 1 AS id, ''abcdef''::varchar(6) AS name, 3000000000 AS amount, ''e'' AS email', effective => '2020-05-01', mode => 'delta', options => '{"on_type_change": "widen"}');
DROP VIEW cdc_col.users_own;
SELECT updated FROM datamill.cdc_merge('cdc_col.drift', 'SELECT 1 AS id, ''abcdef''::varchar(6) AS name, 3000000000 AS amount, ''e'' AS email', effective => '2020-05-01', mode => 'delta', options => '{"on_type_change": "widen"}');
SELECT column_name, data_type, character_maximum_length FROM information_schema.columns WHERE table_schema = 'cdc_col' AND table_name = 'drift_history' AND column_name IN ('name', 'amount') ORDER BY 1;
SELECT has_table_privilege('public', 'cdc_col.drift_versions', 'SELECT') AS grant_kept, versions_view FROM datamill.datasets WHERE current_table = 'cdc_col.drift'::regclass;
SELECT * FROM datamill.check_dataset('cdc_col.drift');
SELECT removed, restored FROM datamill.cdc_undo('cdc_col.drift');
SELECT unchanged FROM datamill.cdc_merge('cdc_col.drift', 'SELECT id, name, amount, email FROM cdc_col.drift', effective => '2020-05-01');

-- kinds: 0 keeps the first value, 1 overwrites, 2 makes a version, 3 keeps the value before
SELECT inserted FROM datamill.cdc_merge('cdc_col.kinds', 'SELECT 1 AS id, ''z1'' AS zero, ''o1'' AS one, ''t1'' AS two, ''h1'' AS three', '{id}', '2020-01-01', options => '{"kinds": {"zero": 0, "one": 1, "two": 2, "three": 3}}');
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_col.kinds', 'SELECT 1 AS id, ''z2'' AS zero, ''o1'' AS one, ''t1'' AS two, ''h1'' AS three', effective => '2020-02-01');
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_col.kinds', 'SELECT 1 AS id, ''z3'' AS zero, ''o3'' AS one, ''t1'' AS two, ''h3'' AS three', effective => '2020-03-01');
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_col.kinds', 'SELECT 1 AS id, ''z4'' AS zero, ''o4'' AS one, ''t4'' AS two, ''h4'' AS three', effective => '2020-04-01');
SELECT id, zero, one, two, three, previous_three, operation, valid FROM cdc_col.kinds_versions ORDER BY eff_start_date;
SELECT removed, restored FROM datamill.cdc_undo('cdc_col.kinds');
SELECT id, zero, one, two, three, previous_three FROM cdc_col.kinds;
SELECT datamill.cdc_undo('cdc_col.kinds');
SELECT * FROM datamill.check_dataset('cdc_col.kinds');
SELECT datamill.cdc_merge('cdc_col.f', 'cdc_col.events', '{id}', mode => 'feed', options => '{"sequence_column": "seq", "stamp_operation": true}');
SELECT inserted FROM datamill.cdc_merge('cdc_col.f', 'SELECT 1 AS id, 2 AS v, 3 AS seq', '{id}', mode => 'feed', options => '{"sequence_column": "seq", "names": {"operation": "op", "eff_start_date": "since", "merge_id": "run"}}');
SELECT updated FROM datamill.cdc_merge('cdc_col.f', 'SELECT 1 AS id, 3 AS v, 5 AS seq UNION ALL SELECT 1, 4, 4', mode => 'feed');
SELECT id, v, op, since, valid FROM cdc_col.f_versions ORDER BY since;
SELECT datamill.alter_dataset('cdc_col.f', '{"untracked": ["v"]}');
SELECT datamill.alter_dataset('cdc_col.f', '{"history_index": "time"}');
SELECT * FROM datamill.check_dataset('cdc_col.f');
SELECT removed FROM datamill.cdc_undo('cdc_col.f');
SELECT datamill.prune_history('cdc_col.f', now());
SELECT count(datamill.drop_dataset(current_table::text)) FROM datamill.datasets WHERE current_table::text LIKE 'cdc_col.%';
DROP SCHEMA cdc_col CASCADE;
