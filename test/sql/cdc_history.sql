-- History in partitions by month or year, made as merges need them; pruning; indexes for as-of queries.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_hist;
CREATE TABLE cdc_hist.batch (id int, v int, tax text);
CREATE ROLE cdc_hist_merger;
CREATE FUNCTION cdc_hist.partitions(t regclass) RETURNS TABLE (partition text, bound text, rows bigint) LANGUAGE plpgsql AS $$
DECLARE p record;
BEGIN
  FOR p IN SELECT c.oid::regclass AS name, pg_get_expr(c.relpartbound, c.oid) AS b FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = t ORDER BY c.relname LOOP
    partition := p.name; bound := p.b;
    EXECUTE format('SELECT count(*) FROM %s', p.name) INTO rows;
    RETURN NEXT;
  END LOOP;
END
$$;
CREATE FUNCTION cdc_hist.merge(t text, day timestamptz, OUT changed bigint) LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE cdc_hist.batch;
  INSERT INTO cdc_hist.batch SELECT i, extract(day FROM day)::int + i % 2 * extract(month FROM day)::int, 't' || extract(month FROM day) FROM generate_series(1, 10) i;
  SELECT updated + deleted INTO changed FROM datamill.cdc_merge(t, 'cdc_hist.batch', effective => day);
END
$$;
-- by month, with sensitive columns beside: both histories have partitions
SELECT datamill.create_dataset('cdc_hist.m', '{id}', 'id int, v int, tax text', options => '{"history_partition": "month", "sensitive": ["tax"], "history_index": "key"}');
SELECT cdc_hist.merge('cdc_hist.m', d) FROM unnest('{2020-01-31,2020-02-01,2020-02-29,2020-12-31,2021-01-01}'::timestamptz[]) d;
SELECT * FROM cdc_hist.partitions('cdc_hist.m_history');
SELECT * FROM cdc_hist.partitions('cdc_hist.m_sensitive_history');
SELECT count(*), count(DISTINCT id) FROM cdc_hist.m_sensitive_versions;
SELECT * FROM datamill.check_dataset('cdc_hist.m');
-- as-of queries: of one key and of a moment
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM cdc_hist.m_versions WHERE id = 3 AND valid @> '2020-02-10'::date;
SELECT datamill.alter_dataset('cdc_hist.m', '{"history_index": "time"}');
EXPLAIN (COSTS OFF) SELECT v FROM cdc_hist.m_versions WHERE valid @> '2020-02-10'::date;
RESET enable_seqscan;
RESET enable_bitmapscan;
SELECT id, v FROM cdc_hist.m_versions WHERE valid @> '2020-02-10'::date ORDER BY id LIMIT 3;
-- the same batch again makes no partition and writes nothing; a plan makes none
SELECT operation, rows FROM datamill.cdc_plan('cdc_hist.m', 'SELECT id, v + 1 AS v, tax FROM cdc_hist.batch', effective => '2021-05-01') WHERE rows > 0;
SELECT unchanged FROM datamill.cdc_merge('cdc_hist.m', 'cdc_hist.batch', effective => '2021-01-02');
SELECT count(*) FROM cdc_hist.partitions('cdc_hist.m_history');
-- prune: whole partitions that ended by then; as-of queries from then on give what they gave
CREATE TABLE cdc_hist.before AS SELECT * FROM cdc_hist.m_versions WHERE valid && daterange('2020-12-15', NULL);
SELECT * FROM datamill.prune_history('cdc_hist.m', '2020-12-15');
SELECT * FROM cdc_hist.partitions('cdc_hist.m_history');
(TABLE cdc_hist.before EXCEPT SELECT * FROM cdc_hist.m_versions) UNION ALL (SELECT * FROM cdc_hist.m_versions WHERE valid && daterange('2020-12-15', NULL) EXCEPT TABLE cdc_hist.before);
SELECT pruned_through AT TIME ZONE 'UTC' AS pruned_through FROM datamill.datasets WHERE current_table = 'cdc_hist.m'::regclass;
SELECT * FROM datamill.prune_history('cdc_hist.m', '2020-12-15');
SELECT (datamill.cdc_undo('cdc_hist.m')).restored FROM generate_series(1, 3);
SELECT datamill.cdc_undo('cdc_hist.m');
SELECT * FROM datamill.check_dataset('cdc_hist.m');
SELECT count(*) FROM datamill.merges WHERE dataset = 'cdc_hist.m'::regclass;
SELECT count(*) FROM datamill.receipts WHERE definition = 'cdc_hist.m';
-- never an open version, however far in the future
SELECT removed FROM datamill.prune_history('cdc_hist.m', '2999-01-01');
SELECT count(*) FROM cdc_hist.m;
SELECT datamill.prune_history('cdc_hist.m', 'infinity');
-- the dates go on into a month that was pruned: its partition comes again
SELECT cdc_hist.merge('cdc_hist.m', '2020-03-15');
SELECT partition, rows FROM cdc_hist.partitions('cdc_hist.m_history');

-- by year, timestamptz: bounds are UTC's, whatever the session's time zone
SELECT datamill.create_dataset('cdc_hist.y', '{id}', 'id int, v int, tax text', options => '{"history_partition": "year", "effective_type": "timestamptz", "names": {"eff_end_date": "Until"}}');
SET timezone = 'Asia/Tokyo';
SELECT cdc_hist.merge('cdc_hist.y', d) FROM unnest('{2019-12-01 00:00+00,2019-12-31 23:59+00,2020-01-01 00:00+00}'::timestamptz[]) d;
RESET timezone;
SET timezone = 'UTC';
SELECT * FROM cdc_hist.partitions('cdc_hist.y_history');
SELECT * FROM datamill.prune_history('cdc_hist.y', '2020-01-01 00:00+00');
SELECT * FROM datamill.check_dataset('cdc_hist.y');
RESET timezone;

-- a merging role that owns nothing: the partition is made by history's owner, for the merge and nothing else
GRANT USAGE ON SCHEMA cdc_hist TO cdc_hist_merger;
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc_hist.y, cdc_hist.batch TO cdc_hist_merger;
GRANT INSERT ON cdc_hist.y_history TO cdc_hist_merger;
SET ROLE cdc_hist_merger;
SELECT updated FROM datamill.cdc_merge('cdc_hist.y', 'SELECT id, v + 1 AS v, tax FROM cdc_hist.batch', effective => '2023-07-01');
SELECT datamill.prune_history('cdc_hist.y', '2030-01-01');
RESET ROLE;
SELECT relname, pg_get_userbyid(relowner) = current_user AS owner_is_the_tables FROM pg_class WHERE oid = 'cdc_hist.y_history_2023'::regclass;
-- a name that is taken
CREATE TABLE cdc_hist.y_history_2024 (x int);
SELECT cdc_hist.merge('cdc_hist.y', '2024-07-01');
DROP TABLE cdc_hist.y_history_2024;
-- a partition of the user's own making is used
CREATE TABLE cdc_hist.wide PARTITION OF cdc_hist.y_history FOR VALUES FROM ('2024-01-01') TO ('2030-01-01');
SELECT cdc_hist.merge('cdc_hist.y', '2024-07-01'), cdc_hist.merge('cdc_hist.y', '2029-08-05');
SELECT partition, rows FROM cdc_hist.partitions('cdc_hist.y_history');
SELECT restored FROM datamill.cdc_undo('cdc_hist.y');

-- without partitions: row by row
SELECT datamill.create_dataset('cdc_hist.u', '{id}', 'id int, v int, tax text');
SELECT cdc_hist.merge('cdc_hist.u', d) FROM unnest('{2020-01-31,2020-02-01,2020-02-29}'::timestamptz[]) d;
SELECT * FROM datamill.prune_history('cdc_hist.u', '2020-02-01');
SELECT restored FROM datamill.cdc_undo('cdc_hist.u');
SELECT datamill.cdc_undo('cdc_hist.u');
SELECT datamill.prune_history('cdc_hist.batch', '2020-02-01');
SELECT count(datamill.drop_dataset(current_table::text)) FROM datamill.datasets WHERE current_table::text LIKE 'cdc_hist.%';
SELECT relname FROM pg_class WHERE relnamespace = 'cdc_hist'::regnamespace ORDER BY 1;
DROP OWNED BY cdc_hist_merger;
DROP ROLE cdc_hist_merger;
DROP SCHEMA cdc_hist CASCADE;
