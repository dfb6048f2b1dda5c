-- A partitioned current table: routing, row movement, no partition, undo, diff, check, plan.
SET client_min_messages = warning;
CREATE SCHEMA cdc_partitioned;
CREATE FUNCTION cdc_partitioned.rows() RETURNS TABLE (part text, id int, region text, name text, op "char", since date)
  LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT t.tableoid::regclass::text, t.id, t.region, t.name, t.operation, t.eff_start_date FROM cdc_partitioned.t ORDER BY t.id; END $$;

-- keys without the partition key: a row may move. One partition has its columns elsewhere, one is partitioned again.
CREATE TABLE cdc_partitioned.t (id int NOT NULL, region text NOT NULL, name text, size int, twice int GENERATED ALWAYS AS (size * 2) STORED,
  UNIQUE (id, region)) PARTITION BY LIST (region);
CREATE TABLE cdc_partitioned.t_eu PARTITION OF cdc_partitioned.t FOR VALUES IN ('EU');
CREATE TABLE cdc_partitioned.t_us (gone int, name text, size int, region text NOT NULL, twice int GENERATED ALWAYS AS (size * 2) STORED, id int NOT NULL);
ALTER TABLE cdc_partitioned.t_us DROP COLUMN gone;
ALTER TABLE cdc_partitioned.t ATTACH PARTITION cdc_partitioned.t_us FOR VALUES IN ('US');
CREATE TABLE cdc_partitioned.t_as PARTITION OF cdc_partitioned.t FOR VALUES IN ('AS') PARTITION BY RANGE (id);
CREATE TABLE cdc_partitioned.t_as_1 PARTITION OF cdc_partitioned.t_as FOR VALUES FROM (0) TO (100);
INSERT INTO cdc_partitioned.t VALUES (1, 'EU', 'one', 1), (2, 'US', 'two', 2), (3, 'AS', 'three', 3), (4, 'EU', 'four', 4);
SELECT datamill.create_dataset('cdc_partitioned.t', '{id}', options => '{"effective_type": "date"}') IS NOT NULL AS adopted;
SELECT problem, key FROM datamill.check_dataset('cdc_partitioned.t');
CREATE TABLE cdc_partitioned.src (id int, region text, name text, size int);
INSERT INTO cdc_partitioned.src VALUES (1, 'US', 'one', 1), (2, 'US', 'TWO', 20), (3, 'EU', 'three', 3), (5, 'AS', 'five', 5), (6, 'US', 'six', 6);
CREATE TABLE cdc_partitioned.before AS SELECT * FROM cdc_partitioned.rows();
SELECT operation, rows, sample FROM datamill.cdc_plan('cdc_partitioned.t', 'cdc_partitioned.src', effective => '2100-01-02');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_partitioned.t', 'cdc_partitioned.src', effective => '2100-01-02');
SELECT part, id, region, name, op FROM cdc_partitioned.rows();
SELECT id, size, twice FROM cdc_partitioned.t ORDER BY id;
SELECT id, region, name, ended_by FROM cdc_partitioned.t_history ORDER BY id;
SELECT operation, key FROM datamill.cdc_diff('cdc_partitioned.t', '2100-01-01', '2100-01-02');
SELECT problem, key FROM datamill.check_dataset('cdc_partitioned.t');
-- once more: nothing to do
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_partitioned.t', 'cdc_partitioned.src', effective => '2100-01-02');
SELECT merge_id IS NOT NULL AS undone, removed, restored FROM datamill.cdc_undo('cdc_partitioned.t');
SELECT merge_id IS NOT NULL AS undone, removed, restored FROM datamill.cdc_undo('cdc_partitioned.t');
SELECT count(*) AS differ FROM ((TABLE cdc_partitioned.before EXCEPT SELECT * FROM cdc_partitioned.rows())
  UNION ALL (SELECT * FROM cdc_partitioned.rows() EXCEPT TABLE cdc_partitioned.before)) d;
-- a row that belongs nowhere, new or moved
UPDATE cdc_partitioned.src SET region = 'AF' WHERE id = 6;
SELECT datamill.cdc_merge('cdc_partitioned.t', 'cdc_partitioned.src', effective => '2100-01-02');
UPDATE cdc_partitioned.src SET region = CASE id WHEN 6 THEN 'US' WHEN 1 THEN 'AF' ELSE region END;
SELECT datamill.cdc_merge('cdc_partitioned.t', 'cdc_partitioned.src', effective => '2100-01-02');
UPDATE cdc_partitioned.src SET region = 'US' WHERE id = 1;
-- a delta; memory for a few keys only; hashes that collide
SELECT inserted, updated, unchanged, missing FROM datamill.cdc_merge('cdc_partitioned.t',
  $$SELECT id, region, upper(name) AS name, size FROM cdc_partitioned.src WHERE id IN (1, 5)$$, effective => '2100-01-02', mode => 'delta');
SET datamill.hash_bits = 1;
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
SELECT inserted, updated, unchanged, deleted FROM datamill.cdc_merge('cdc_partitioned.t',
  $$SELECT i AS id, (ARRAY['EU', 'US', 'EU'])[1 + i % 3] AS region, 'n' || i AS name, i AS size FROM generate_series(1, 9) i$$, effective => '2100-01-03');
RESET datamill.hash_bits;
SELECT inserted, updated, unchanged, deleted FROM datamill.cdc_merge('cdc_partitioned.t',
  $$SELECT i AS id, (ARRAY['EU', 'US', 'EU'])[1 + i % 3] AS region, 'n' || i AS name, i AS size FROM generate_series(1, 20000) i$$, effective => '2100-01-04');
SELECT inserted, updated, unchanged, deleted FROM datamill.cdc_merge('cdc_partitioned.t',
  $$SELECT i AS id, (ARRAY['US', 'EU'])[1 + i % 2] AS region, 'n' || i AS name, i AS size FROM generate_series(1, 20000) i WHERE i % 10 > 0$$, effective => '2100-01-05');
SELECT count(*) FILTER (WHERE (i % 3 = 1) <> (i % 2 = 0)) AS moved, count(*) AS kept FROM generate_series(1, 20000) i WHERE i % 10 > 0;
SELECT region, count(*), sum(size), sum(twice) FROM cdc_partitioned.t GROUP BY region ORDER BY region;
SELECT tableoid::regclass, count(*) FROM cdc_partitioned.t GROUP BY 1 ORDER BY 1;
SELECT problem, count(*) FROM datamill.check_dataset('cdc_partitioned.t') GROUP BY problem;
RESET work_mem;
RESET hash_mem_multiplier;
-- a small delta finds its rows by the partitions' indexes: it reads no table from end to end
BEGIN;
SELECT sum(seq_scan) AS seq, sum(idx_scan) AS idx FROM pg_stat_xact_user_tables WHERE relname IN ('t_eu', 't_us', 't_as_1') \gset
SELECT inserted, updated, unchanged, missing FROM datamill.cdc_merge('cdc_partitioned.t',
  $$SELECT * FROM (VALUES (1, 'US', 'n1', 1), (2, 'US', 'n2', 2), (3, 'EU', 'n3', -3), (30000, 'EU', 'new', 1)) v(id, region, name, size)$$,
  effective => '2100-01-06', mode => 'delta');
SELECT sum(seq_scan) - :seq AS table_scans, sum(idx_scan) > :idx AS by_index FROM pg_stat_xact_user_tables WHERE relname IN ('t_eu', 't_us', 't_as_1');
SELECT tableoid::regclass, id, region, name, size FROM cdc_partitioned.t WHERE id IN (1, 2, 3, 30000) ORDER BY id;
COMMIT;
SELECT problem, count(*) FROM datamill.check_dataset('cdc_partitioned.t') GROUP BY problem;

-- triggers and foreign keys see a row that moves as they do with UPDATE
CREATE TABLE cdc_partitioned.m (id int, region text, name text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE cdc_partitioned.m_eu PARTITION OF cdc_partitioned.m FOR VALUES IN ('EU');
CREATE TABLE cdc_partitioned.m_us PARTITION OF cdc_partitioned.m FOR VALUES IN ('US');
SELECT datamill.create_dataset('cdc_partitioned.m', '{id}') IS NOT NULL AS adopted;

SELECT inserted FROM datamill.cdc_merge('cdc_partitioned.m', $$SELECT * FROM (VALUES (1, 'EU', 'a'), (2, 'EU', 'b'), (3, 'US', 'c')) v(id, region, name)$$, effective => '2100-01-01');
CREATE TABLE cdc_partitioned.child (id int, region text, FOREIGN KEY (id, region) REFERENCES cdc_partitioned.m ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO cdc_partitioned.child VALUES (1, 'EU'), (2, 'EU'), (3, 'US');
CREATE TABLE cdc_partitioned.log (nr int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION cdc_partitioned.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO cdc_partitioned.log (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_WHEN, TG_OP, TG_LEVEL));
  RETURN coalesce(NEW, OLD);
END
$$;
CREATE FUNCTION cdc_partitioned.tables() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO cdc_partitioned.log (what) SELECT 'moved ' || o.id || o.region || ' to ' || n.region FROM o JOIN n USING (id) ORDER BY 1;
  RETURN NULL;
END
$$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON cdc_partitioned.m FOR EACH ROW EXECUTE FUNCTION cdc_partitioned.note();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON cdc_partitioned.m FOR EACH ROW EXECUTE FUNCTION cdc_partitioned.note();
CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON cdc_partitioned.m FOR EACH STATEMENT EXECUTE FUNCTION cdc_partitioned.note();
CREATE TRIGGER d AFTER UPDATE ON cdc_partitioned.m REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION cdc_partitioned.tables();
BEGIN;
UPDATE cdc_partitioned.m SET region = 'US' WHERE id = 1;
TABLE cdc_partitioned.child ORDER BY id;
SELECT what FROM cdc_partitioned.log ORDER BY nr;
ROLLBACK;
SELECT inserted, updated, unchanged, missing FROM datamill.cdc_merge('cdc_partitioned.m', $$SELECT 1 AS id, 'US' AS region, 'a' AS name$$,
  effective => '2100-01-02', mode => 'delta');
TABLE cdc_partitioned.child ORDER BY id;
SELECT what FROM cdc_partitioned.log ORDER BY nr;

-- a partition key that no primary key can have, and a foreign partition
CREATE TABLE cdc_partitioned.e (id int, name text) PARTITION BY RANGE ((id % 10));
SELECT datamill.create_dataset('cdc_partitioned.e', '{id}', options => '{"adopt": true}');
CREATE FOREIGN DATA WRAPPER cdc_partitioned_none;
CREATE SERVER cdc_partitioned_away FOREIGN DATA WRAPPER cdc_partitioned_none;
CREATE TABLE cdc_partitioned.g (id int NOT NULL, name text) PARTITION BY RANGE (id);
SELECT datamill.create_dataset('cdc_partitioned.g', '{id}', options => '{"adopt": true}') IS NOT NULL AS adopted;
ALTER TABLE cdc_partitioned.g DROP CONSTRAINT g_pkey;
CREATE FOREIGN TABLE cdc_partitioned.g_1 PARTITION OF cdc_partitioned.g DEFAULT SERVER cdc_partitioned_away;
SELECT datamill.cdc_merge('cdc_partitioned.g', $$SELECT 1 AS id, 'a' AS name$$, effective => '2100-01-01');
DROP SCHEMA cdc_partitioned CASCADE;
DROP FOREIGN DATA WRAPPER cdc_partitioned_none CASCADE;
