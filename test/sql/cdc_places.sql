-- A current table larger than the shared buffers' half (128 MB in tests), and sources in another order than its own: their rows are
-- set aside by place and worked off stretch by stretch. The results are those of any order.
SET client_min_messages = warning;
CREATE SCHEMA cdc_places;
CREATE EXTENSION pg_visibility;
CREATE TABLE cdc_places.src AS SELECT g AS k, g % 10 AS v, repeat(md5(g::text), 20) AS filler FROM generate_series(1, 16000) g;
CREATE FUNCTION cdc_places.merge(source text, day date) RETURNS text LANGUAGE sql AS $$
  SELECT format('I%s U%s D%s N%s', inserted, updated, deleted, unchanged) FROM datamill.cdc_merge('cdc_places.t', source, keys => '{k}', effective => day) $$;
CREATE FUNCTION cdc_places.differ(source regclass, target regclass) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN
  EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL SELECT k, v, filler FROM %2$s) UNION ALL (SELECT k, v, filler FROM %2$s EXCEPT ALL TABLE %1$s)) x', source, target) INTO n;
  RETURN n; END $$;
SELECT cdc_places.merge('SELECT * FROM cdc_places.src', '2020-01-01');
-- the rows of a first load are frozen
SELECT all_visible > 0 AND all_visible = all_frozen AS frozen, all_visible = (SELECT count(DISTINCT (ctid::text::point)[0]) FROM cdc_places.t) AS all_pages FROM pg_visibility_map_summary('cdc_places.t');
SELECT count(*) AS not_frozen FROM pg_check_frozen('cdc_places.t');
-- one row a page
ALTER TABLE cdc_places.t SET (fillfactor = 10);
VACUUM FULL ANALYZE cdc_places.t;
SELECT pg_relation_size('cdc_places.t') > 120000000 AS is_large;
SET work_mem = '2MB';
-- half as they were, a fourth changed, a fourth gone, and as many new, in the order of a hash
CREATE TABLE cdc_places.day2 AS
SELECT * FROM (SELECT CASE WHEN k % 4 = 3 THEN k + 100000 ELSE k END AS k, CASE WHEN k % 4 = 2 THEN v + 1 ELSE v END AS v, filler FROM cdc_places.src) x ORDER BY md5(k::text || 'x');
SET log_statement = 'none';
SET client_min_messages = debug1;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_places.t', 'TABLE cdc_places.day2', effective => '2020-01-02');
SET client_min_messages = warning;
SELECT cdc_places.differ('cdc_places.day2', 'cdc_places.t');
SELECT ended_by, count(*), sum(k), sum(v) FROM cdc_places.t_history GROUP BY 1 ORDER BY 1;
SELECT * FROM datamill.check_dataset('cdc_places.t');
-- the same again changes nothing; the old rows in another order; what a plan says is what a merge does
SELECT cdc_places.merge('TABLE cdc_places.day2', '2020-01-03');
SELECT format('I%s U%s D%s N%s', sum(rows) FILTER (WHERE operation = 'I'), sum(rows) FILTER (WHERE operation = 'U'), sum(rows) FILTER (WHERE operation = 'D'), sum(rows) FILTER (WHERE operation = 'N'))
FROM datamill.cdc_plan('cdc_places.t', 'SELECT * FROM cdc_places.src ORDER BY md5(k::text)', effective => '2020-01-04');
SELECT cdc_places.merge('SELECT * FROM cdc_places.src ORDER BY md5(k::text)', '2020-01-04');
SELECT cdc_places.differ('cdc_places.src', 'cdc_places.t');
-- a row twice, far apart; with so little memory that keys are worked off in partitions, too
SELECT cdc_places.merge('SELECT * FROM (SELECT * FROM cdc_places.src UNION ALL SELECT * FROM cdc_places.src WHERE k = 777) x ORDER BY md5(k::text || v::text)', '2020-01-05');
SET work_mem = '64kB';
SELECT cdc_places.merge('TABLE cdc_places.day2', '2020-01-05');
SELECT cdc_places.differ('cdc_places.day2', 'cdc_places.t');
RESET work_mem;
-- the same in a current table of three partitions, one of which has its columns elsewhere
CREATE TABLE cdc_places.p (k int PRIMARY KEY, v int, filler text) PARTITION BY RANGE (k);
CREATE TABLE cdc_places.p1 PARTITION OF cdc_places.p FOR VALUES FROM (MINVALUE) TO (5000) WITH (fillfactor = 10);
CREATE TABLE cdc_places.p2 (filler text, gone int, v int, k int NOT NULL) WITH (fillfactor = 10);
ALTER TABLE cdc_places.p2 DROP COLUMN gone;
ALTER TABLE cdc_places.p ATTACH PARTITION cdc_places.p2 FOR VALUES FROM (5000) TO (12000);
CREATE TABLE cdc_places.p3 PARTITION OF cdc_places.p FOR VALUES FROM (12000) TO (MAXVALUE) WITH (fillfactor = 10);
INSERT INTO cdc_places.p SELECT * FROM cdc_places.src;
SELECT datamill.create_dataset('cdc_places.p', '{k}', options => '{"effective_type": "date"}') IS NOT NULL AS adopted;
ANALYZE cdc_places.p;
SET work_mem = '2MB';
SET client_min_messages = debug1;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_places.p', 'TABLE cdc_places.day2', effective => '2100-01-02');
SET client_min_messages = warning;
SELECT cdc_places.differ('cdc_places.day2', 'cdc_places.p');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_places.p', 'SELECT * FROM cdc_places.src ORDER BY md5(k::text)', effective => '2100-01-03');
SELECT cdc_places.differ('cdc_places.src', 'cdc_places.p');
SELECT * FROM datamill.check_dataset('cdc_places.p');
SELECT datamill.drop_dataset('cdc_places.p');
RESET work_mem;
-- a delta that is not small, but fills no batch, is worked off at once
SET client_min_messages = debug1;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_places.t', 'SELECT * FROM cdc_places.day2 WHERE k % 10 = 0 ORDER BY md5(k::text)', mode => 'delta', effective => '2020-01-05');
SET client_min_messages = warning;
-- a full temp_file_limit ends the statement, and changes nothing
SET temp_file_limit = '2MB';
SET work_mem = '2MB';
SELECT cdc_places.merge('SELECT * FROM cdc_places.src', '2020-01-06');
RESET temp_file_limit;
SELECT count(*), sum(v) FROM cdc_places.t;
SELECT * FROM datamill.check_dataset('cdc_places.t');
-- rows written later in the transaction that made the table are as they would be, and go with it
BEGIN;
SELECT inserted FROM datamill.cdc_merge('cdc_places.u', 'SELECT k, v FROM cdc_places.src', keys => '{k}', effective => '2020-01-01');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_places.u', 'SELECT k, v + 1 AS v FROM cdc_places.src WHERE k <= 10', effective => '2020-01-02');
SAVEPOINT s;
SELECT inserted FROM datamill.cdc_merge('cdc_places.w', 'SELECT k, v FROM cdc_places.src', keys => '{k}', effective => '2020-01-01');
ROLLBACK TO s;
SELECT to_regclass('cdc_places.w') IS NULL AS gone, (SELECT count(*) FROM cdc_places.u) AS rows;
COMMIT;
SELECT count(*) FROM cdc_places.u;
SELECT count(*) AS not_visible FROM pg_check_visible('cdc_places.u');
SELECT datamill.drop_dataset('cdc_places.t'), datamill.drop_dataset('cdc_places.u');
DROP EXTENSION pg_visibility;
DROP SCHEMA cdc_places CASCADE;
