-- A partitioned current table with settings: NULL keys, stamps, untracked and new columns, scope, values stored out of line, partitions of history.
SET client_min_messages = warning;
CREATE SCHEMA cdc_ps;
CREATE TABLE cdc_ps.t (id int, region text, name text, size int) PARTITION BY LIST (region);
CREATE TABLE cdc_ps.eu (size int, region text, id int, name text);
ALTER TABLE cdc_ps.t ATTACH PARTITION cdc_ps.eu FOR VALUES IN ('EU');
CREATE TABLE cdc_ps.us PARTITION OF cdc_ps.t DEFAULT;
INSERT INTO cdc_ps.t VALUES (1, 'EU', 'a', 1), (2, 'US', 'b', 2), (NULL, 'EU', 'n', 0);
-- an adoption fires no trigger, on the table or on one partition
CREATE FUNCTION cdc_ps.boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trigger fired'; END $$;
CREATE TRIGGER whole BEFORE UPDATE ON cdc_ps.t FOR EACH ROW EXECUTE FUNCTION cdc_ps.boom();
CREATE TRIGGER one BEFORE UPDATE ON cdc_ps.us FOR EACH ROW EXECUTE FUNCTION cdc_ps.boom();
SELECT datamill.create_dataset('cdc_ps.t', '{id}', effective => '2020-01-01', options => '{"adopt": true, "null_keys": "allow",
  "stamp_operation": true, "history_partition": "month", "on_new_column": "add", "untracked": ["size"]}') IS NOT NULL AS adopted;
DROP TRIGGER whole ON cdc_ps.t;
DROP TRIGGER one ON cdc_ps.us;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_ps.t', $$SELECT 1 AS id, 'US' AS region, 'a' AS name, 1 AS size, 'x' AS extra
  UNION ALL SELECT 2, 'US', 'b', 3, NULL UNION ALL SELECT NULL, 'US', 'n', 0, 'z'$$, effective => '2020-02-01');
SELECT tableoid::regclass, id, region, name, size, extra, operation, made_by, eff_start_date FROM cdc_ps.t ORDER BY id;
SELECT tableoid::regclass, id, region, name, size, extra, operation FROM cdc_ps.t_history ORDER BY id;
SELECT inserted, updated, missing FROM datamill.cdc_merge('cdc_ps.t', $$SELECT 2 AS id, 'EU' AS region, 'b' AS name, 2 AS size, 'x' AS extra$$,
  effective => '2020-02-02', mode => 'delta');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT updated, deleted, missing FROM datamill.cdc_merge('cdc_ps.t', $$SELECT 1 AS id, 'EU' AS region, 'a' AS name, 1 AS size, 'x' AS extra$$,
  effective => '2020-02-03', options => '{"scope": "region = ''EU''"}');
COMMIT;
SELECT tableoid::regclass, id, region, operation, made_by FROM cdc_ps.t ORDER BY id;
SELECT removed, restored FROM datamill.cdc_undo('cdc_ps.t');
SELECT tableoid::regclass, id, region, operation, made_by FROM cdc_ps.t ORDER BY id;
SELECT problem, key, detail FROM datamill.check_dataset('cdc_ps.t');

-- values stored out of line come along when their row moves, and stay where it does not
CREATE TABLE cdc_ps.w (id int, region text, doc text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE cdc_ps.w1 PARTITION OF cdc_ps.w FOR VALUES IN ('EU');
CREATE TABLE cdc_ps.w2 PARTITION OF cdc_ps.w DEFAULT;
SELECT datamill.create_dataset('cdc_ps.w', '{id}', effective => '2020-01-01') IS NOT NULL AS adopted;
CREATE TABLE cdc_ps.s AS SELECT i AS id, 'EU' AS region, (SELECT string_agg(md5(i || '/' || j), '') FROM generate_series(1, 400) j) AS doc, 0 AS n
  FROM generate_series(1, 100) i;
SELECT inserted FROM datamill.cdc_merge('cdc_ps.w', 'cdc_ps.s', effective => '2020-01-01');
CREATE TABLE cdc_ps.before AS SELECT id, region, doc, n FROM cdc_ps.w;
UPDATE cdc_ps.s SET region = 'US' WHERE id % 2 = 0;
UPDATE cdc_ps.s SET n = 1 WHERE id % 3 = 0;
SELECT inserted, updated, unchanged FROM datamill.cdc_merge('cdc_ps.w', 'cdc_ps.s', effective => '2020-01-02');
SELECT count(*) AS same FROM cdc_ps.w JOIN cdc_ps.s USING (id, region, doc, n);
SELECT removed, restored FROM datamill.cdc_undo('cdc_ps.w');
SELECT count(*) AS same FROM cdc_ps.w JOIN cdc_ps.before USING (id, region, doc, n);
DROP SCHEMA cdc_ps CASCADE;
