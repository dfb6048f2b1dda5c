-- Mistakes that are easily made, and what is said of them.
\set VERBOSITY default
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_mistakes;
SET search_path = cdc_mistakes, public;
CREATE TABLE src (id int, name text, city text);
INSERT INTO src VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z');

-- arguments
SELECT datamill.cdc_merge('t', 'src', keys => '{id,id}');
SELECT datamill.cdc_merge('t', 'src', keys => '{{id,name},{city,id}}');
SELECT datamill.cdc_plan('t', 'src', keys => '{NULL}');
SELECT datamill.cdc_merge('t', NULL, keys => '{id}');
SELECT datamill.cdc_restate('t', 'src', NULL);
SELECT datamill.cdc_undo(NULL);
SELECT datamill.cdc_undo('');
SELECT datamill.create_dataset('t', '{id,id}', 'id int');
SELECT datamill.load('src', 'src', 'upsert', '{id,id}');
SELECT datamill.create_dataset('t', '{id}', 'id int', 'src');
SELECT datamill.create_dataset('t', '{id}', 'id int,, name text');
SELECT datamill.create_dataset('t', '{id}', 'id int, "é" text foo');
SELECT datamill.create_dataset('t', (SELECT array_agg('c' || i) FROM generate_series(1, 33) i), (SELECT string_agg(format('c%s int', i), ',') FROM generate_series(1, 33) i));
SELECT datamill.create_dataset('k', (SELECT array_agg('c' || i) FROM generate_series(1, 32) i), (SELECT string_agg(format('c%s int', i), ',') FROM generate_series(1, 32) i));
SELECT datamill.alter_dataset('k', '{"history_index": "key"}');
SELECT datamill.cdc_merge('t', (SELECT 'SELECT 1 AS seq, ' || string_agg(format('1 AS c%s', i), ', ') FROM generate_series(1, 30) i),
  keys => (SELECT array_agg('c' || i) FROM generate_series(1, 30) i), mode => 'feed', options => '{"sequence_column": "seq"}');
SELECT datamill.create_dataset(repeat('é', 28), '{id}', 'id int');

-- targets that no dataset can be
CREATE VIEW v AS SELECT 1 AS id;
CREATE SEQUENCE s;
CREATE TYPE c AS (id int);
CREATE FOREIGN DATA WRAPPER cdc_mistakes;
CREATE SERVER cdc_mistakes FOREIGN DATA WRAPPER cdc_mistakes;
CREATE FOREIGN TABLE f (id int) SERVER cdc_mistakes;
CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id;
CREATE TABLE whole (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF whole DEFAULT;
CREATE TEMP TABLE for_now (id int PRIMARY KEY);
SELECT datamill.create_dataset('v', '{id}');
SELECT datamill.create_dataset('f', '{id}', options => '{"adopt": true}');
SELECT datamill.cdc_merge('f', 'src', keys => '{id}');
SELECT datamill.cdc_merge('mv', 'src', keys => '{id}');
SELECT datamill.cdc_merge('s', 'src', keys => '{id}');
SELECT datamill.cdc_merge('c', 'src', keys => '{id}');
SELECT datamill.cdc_merge('part', 'src', keys => '{id}');
SELECT datamill.cdc_merge('part_pkey', 'src', keys => '{id}');
SELECT datamill.cdc_merge('pg_catalog.pg_class', 'src', keys => '{id}');
SELECT datamill.cdc_merge('pg_temp.t', 'src', keys => '{id}');
SELECT datamill.cdc_plan('pg_temp.t', 'src', keys => '{id}');
SELECT datamill.create_dataset('for_now', '{id}');
SELECT datamill.create_dataset('pg_temp.for_now', '{id}');

-- settings
SELECT datamill.cdc_merge('t', 'src', keys => '{id}', options => '{"sequence_column": "name"}');
SELECT datamill.create_dataset('t', '{id}', source => 'src', options => '{"sequence_column": "name"}');
SELECT inserted FROM datamill.cdc_merge('t', 'src', keys => '{id}', effective => '2020-01-01');
SELECT datamill.cdc_merge('t', 'src', mode => 'delta', options => '{"sequence_column": "name"}');
SELECT unchanged FROM datamill.cdc_merge('t', 'src', options => '{"sequence_column": "name", "duplicates": "last"}', effective => '2020-01-02');
SELECT datamill.cdc_merge('t', 'src', options => '{"sequence_column": "no", "duplicates": "last"}');
SELECT datamill.alter_dataset('t', '{"sequence_column": "no"}');
SELECT datamill.alter_dataset('t', '{"untracked": ["no"]}');
SELECT datamill.alter_dataset('t', '{"duplicates": "last", "sequence_column": "name"}');
SELECT unchanged FROM datamill.cdc_merge('t', 'src', options => '{"sequence_column": "city"}', effective => '2020-01-02');
SELECT datamill.alter_dataset('t', '{"duplicates": "error"}');
SELECT datamill.cdc_merge('t', 'SELECT * FROM src WHERE id > 1', options => '{"max_delete_percent": 1}');

-- options of objects, with another source; allow_empty is a merge's, too
SELECT datamill.cdc_merge('t', 'src', options => '{"server": "x"}');
SELECT datamill.cdc_plan('t', 'SELECT * FROM src', options => '{"columns": {"id": "int"}}');
SELECT datamill.cdc_plan('t', 'SELECT * FROM src', options => '{"objects": []}');
SELECT datamill.create_dataset('u', '{id}', source => 'src', options => '{"encoding": "UTF8"}');
SELECT datamill.load('src', 'whole', options => '{"header": true}');
SELECT * FROM datamill.infer_schema('src', '{"header": true}');
SELECT inserted, missing FROM datamill.cdc_merge('t', 'SELECT * FROM src WHERE false', effective => '2020-01-02', options => '{"allow_empty": true, "deletes": "ignore"}');

-- sources that write or lock
SELECT datamill.cdc_merge('t', 'WITH d AS (DELETE FROM src RETURNING *) SELECT * FROM d');
SELECT datamill.cdc_merge('t', 'WITH d AS (INSERT INTO src VALUES (4) RETURNING *) SELECT * FROM d');
SELECT datamill.cdc_merge('t', 'SELECT * FROM src FOR UPDATE');
SELECT datamill.cdc_merge('t', 'SELECT * FROM (SELECT * FROM src FOR KEY SHARE) l');
SELECT unchanged FROM datamill.cdc_merge('t', $$WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SEARCH DEPTH FIRST BY n SET o
  SELECT s.id, max(s.name COLLATE "C") FILTER (WHERE true) AS name, (array_agg(city))[1] AS city FROM r JOIN src s ON s.id = r.n, LATERAL (VALUES (1)) l(i),
  ROWS FROM (generate_series(1, 2), generate_series(1, 2)) g, xmltable('/a' PASSING '<a/>' COLUMNS x text PATH 'b') GROUP BY GROUPING SETS ((s.id))$$, effective => '2020-01-02');

-- sources and triggers that change the target
CREATE FUNCTION deletes() RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM t WHERE id = 2; RETURN 1; END';
CREATE FUNCTION updates() RETURNS int LANGUAGE plpgsql AS $$BEGIN UPDATE t SET name = 'by hand' WHERE id = 2; RETURN 1; END$$;
CREATE FUNCTION undoes() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM datamill.cdc_undo('t'); RETURN 1; END$$;
CREATE FUNCTION merges() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM datamill.cdc_merge('cdc_mistakes.t', 'src'); RETURN 1; END$$;
CREATE FUNCTION alters() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM datamill.alter_dataset('t', '{"deletes": "ignore"}'); RETURN 1; END$$;
CREATE FUNCTION drops() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM datamill.drop_dataset('t'); RETURN 1; END$$;
CREATE FUNCTION forgives() RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM merges(); RETURN 1; EXCEPTION WHEN object_in_use THEN RETURN 1; END$$;
\set VERBOSITY terse
SELECT datamill.cdc_merge('t', $$SELECT deletes() AS id, 'n' AS name, 'n' AS city$$);
SELECT datamill.cdc_merge('t', $$SELECT updates() AS id, 'n' AS name, 'n' AS city$$);
SELECT datamill.cdc_merge('t', $$SELECT undoes() AS id, 'n' AS name, 'n' AS city$$);
SELECT datamill.cdc_merge('t', $$SELECT merges() AS id, 'n' AS name, 'n' AS city$$);
SELECT datamill.cdc_merge('t', $$SELECT alters() AS id, 'n' AS name, 'n' AS city$$);
SELECT datamill.cdc_merge('t', $$SELECT drops() AS id, 'n' AS name, 'n' AS city$$);
CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM undoes(); RETURN NULL; END$$;
CREATE TRIGGER undoing AFTER UPDATE ON t EXECUTE FUNCTION by_trigger();
SELECT datamill.cdc_merge('t', $$SELECT id, 'n' AS name, city FROM src$$);
DROP TRIGGER undoing ON t;
\set VERBOSITY default
SELECT unchanged FROM datamill.cdc_merge('t', $$SELECT forgives() AS id, 'a' AS name, 'x' AS city UNION ALL SELECT * FROM src WHERE id > 1$$, effective => '2020-01-02');
SELECT id, name, city FROM t ORDER BY id;
-- a merge that failed goes on no more
SELECT unchanged FROM datamill.cdc_merge('t', 'src', effective => '2020-01-02');

-- feeds
SELECT inserted FROM datamill.cdc_merge('feed', $$SELECT 1 AS id, 1::bigint AS seq, 'a' AS name$$, keys => '{id}', mode => 'feed', options => '{"sequence_column": "seq", "history_index": "time"}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"stamp_operation": true}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"sensitive": ["name"]}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"duplicates": "last"}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"kinds": {"name": 0}}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"history_partition": "month"}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"names": {"operation": "op"}}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"untracked": ["name"]}');
SELECT datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', effective => '2020-01-01');
SELECT updated FROM datamill.cdc_merge('feed', $$SELECT 1 AS id, 2 AS seq, 'b' AS name$$, mode => 'feed', options => '{"history_index": "time"}');
SELECT * FROM datamill.cdc_diff('feed', '2020-01-01', '2020-01-02');

-- from a version to what it was made of, of a batch that was merged twice
SELECT inserted FROM datamill.cdc_merge('again', $$SELECT 1 AS id$$, '{id}', '2020-01-01');
SELECT inserted, deleted, receipt AS first FROM datamill.cdc_merge('again', $$SELECT 2 AS id$$, effective => '2020-01-02') \gset
SELECT removed, restored FROM datamill.cdc_undo('again');
SELECT inserted, deleted, receipt = :'first' AS same_id FROM datamill.cdc_merge('again', $$SELECT 2 AS id$$, effective => '2020-01-02');
SELECT v.id, i->>'uri' AS uri FROM again_versions v JOIN datamill.merges m USING (merge_id),
  LATERAL (SELECT inputs FROM datamill.receipts WHERE id = m.receipt AND finished_at <= m.finished_at ORDER BY receipt_no DESC LIMIT 1) r,
  jsonb_array_elements(r.inputs) i ORDER BY v.id;

-- rights that a plan of a sensitive dataset needs; row-level security, in all that reads a dataset
CREATE ROLE cdc_mistaken;
GRANT USAGE ON SCHEMA cdc_mistakes TO cdc_mistaken;
SELECT inserted FROM datamill.cdc_merge('split', $$SELECT 1 AS id, 'a' AS name, 'b' AS secret$$, '{id}', '2020-01-01', options => '{"sensitive": ["secret"]}');
GRANT SELECT ON split, split_history TO cdc_mistaken;
SET ROLE cdc_mistaken;
SELECT datamill.cdc_plan('split', $$SELECT 1 AS id, 'a' AS name, 'b' AS secret$$);
RESET ROLE;
GRANT SELECT ON split_sensitive TO cdc_mistaken;
SET ROLE cdc_mistaken;
SELECT operation, rows FROM datamill.cdc_plan('split', $$SELECT 1 AS id, 'a' AS name, 'b' AS secret$$, effective => '2020-01-02') WHERE rows > 0;
RESET ROLE;
ALTER TABLE split ENABLE ROW LEVEL SECURITY;
SET ROLE cdc_mistaken;
SELECT datamill.cdc_plan('split', $$SELECT 1 AS id, 'a' AS name, 'b' AS secret$$);
SELECT datamill.cdc_diff('split', '2020-01-01', '2020-01-02');
RESET ROLE;

-- dropping what others are made of
CREATE VIEW of_versions AS SELECT id FROM t_versions;
SELECT datamill.drop_dataset('t');
SELECT datamill.drop_dataset('t', true);

-- a plan in a transaction that may not write
SELECT inserted FROM datamill.cdc_merge('grows', 'SELECT id, name FROM src', '{id}', '2020-01-01', options => '{"on_new_column": "add"}');
BEGIN READ ONLY;
SELECT operation, rows FROM datamill.cdc_plan('grows', 'SELECT id, name FROM src', effective => '2020-01-02');
SAVEPOINT before;
SELECT operation, rows FROM datamill.cdc_plan('grows', 'src', effective => '2020-01-02');
ROLLBACK TO before;
SELECT operation, rows FROM datamill.cdc_plan('new', 'src', '{id}', effective => '2020-01-02');
ROLLBACK;
SELECT operation, rows FROM datamill.cdc_plan('grows', 'src', effective => '2020-01-02');

RESET search_path;
DROP SCHEMA cdc_mistakes CASCADE;
DROP FOREIGN DATA WRAPPER cdc_mistakes CASCADE;
DROP TABLE for_now;
DROP ROLE cdc_mistaken;
