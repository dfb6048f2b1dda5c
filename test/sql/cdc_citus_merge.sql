-- Merges into a table that Citus distributes, with a stand-in for it: this shows that the statements do what a merge on
-- tables of this node does, and which calls are made in which order; not that Citus runs them shard by shard.
\getenv data DM_DATA
SET client_min_messages = warning;
CREATE SCHEMA cdc_citus_merge;
SET search_path = cdc_citus_merge;
CREATE TYPE pair AS (a int, b text);
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
BEGIN;
\i :data/citus.sql

-- a dataset made here, its current table then distributed, and one that stays here
CREATE TABLE day0 (region text, id numeric, name text, amount numeric, doc jsonb, raw json, both_ pair, word text COLLATE blind, note text, at timestamptz);
SELECT datamill.create_dataset('here', '{id,region}', source => 'day0', options => '{"untracked": ["note"]}') IS NOT NULL AS made;
SELECT datamill.create_dataset('away', '{id,region}', source => 'day0', options => '{"untracked": ["note"]}') IS NOT NULL AS made;
SELECT create_distributed_table('away', 'id');

-- the same batch into both; the counts, or those that differ
CREATE FUNCTION both_merge(source text, day date, mode text DEFAULT 'full', options jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  here record;
  away record;
BEGIN
  SELECT inserted, updated, deleted, unchanged, missing, rejected INTO here FROM datamill.cdc_merge('here', source, effective => day, mode => mode, options => options);
  SELECT inserted, updated, deleted, unchanged, missing, rejected INTO away FROM datamill.cdc_merge('away', source, effective => day, mode => mode, options => options);
  RETURN CASE WHEN here = away THEN here::text ELSE format('%s here, %s away', here, away) END;
END $$;
-- rows that only one of the two has, byte for byte; merge ids as their place in the order of merges
CREATE VIEW differing AS
  WITH m AS (SELECT merge_id, dataset, row_number() OVER (PARTITION BY dataset ORDER BY merge_id) AS n FROM datamill.merges WHERE dataset IN ('here'::regclass, 'away'::regclass)),
  c AS (SELECT tableoid::regclass::text AS t, to_jsonb(c) || jsonb_build_object('merge_id', (SELECT n FROM m WHERE m.merge_id = c.merge_id), 'both_', both_::text) AS r, raw::text
          FROM (SELECT tableoid, * FROM here UNION ALL SELECT tableoid, * FROM away) c),
  h AS (SELECT tableoid::regclass::text AS t, to_jsonb(h) || jsonb_build_object('merge_id', (SELECT n FROM m WHERE m.merge_id = h.merge_id),
          'ended_merge_id', (SELECT n FROM m WHERE m.merge_id = h.ended_merge_id), 'both_', both_::text), raw::text
          FROM (SELECT tableoid, * FROM here_history UNION ALL SELECT tableoid, * FROM away_history) h),
  a AS (SELECT split_part(t, '_', 1) AS side, substr(t, 5) AS part, (r - 'tableoid')::text AS r, raw FROM (SELECT * FROM c UNION ALL SELECT * FROM h) x)
  SELECT part, r, raw, min(side) AS only_in FROM a GROUP BY 1, 2, 3 HAVING count(*) <> 2 OR count(DISTINCT side) <> 2;

-- one row a rule: NULL comes, goes and stays; 1.0 and 1.00; key order of jsonb; json by its text; a composite of NULLs
-- and NULL; a word of another case under a collation that is blind to it; untracked only; a key spelt otherwise
CREATE TABLE day1 (LIKE day0);
INSERT INTO day1 VALUES
  ('EU', 1, 'null comes', 1, '{}', '{}', '(1,x)', 'word', 'n', '2020-01-01 12:00+00'), ('EU', 2, 'null goes', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  ('EU', 3, 'null stays', NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('EU', 4, 'equal', 1.0, '{"a": 1, "b": 2}', '{"a": 1}', '(1,x)', 'word', 'n', '2020-01-01 12:00+00'),
  ('EU', 5, 'json', 1, NULL, '{"a": 1}', NULL, NULL, NULL, NULL), ('EU', 6, 'composite', 1, NULL, NULL, '(,)', NULL, NULL, NULL),
  ('EU', 7, 'composite', 1, NULL, NULL, NULL, NULL, NULL, NULL), ('US', 7, 'gone', 1, NULL, NULL, NULL, NULL, NULL, NULL),
  ('EU', 8, 'note', 1, NULL, NULL, NULL, NULL, 'old', NULL), ('EU', 9, 'note and more', 1, NULL, NULL, NULL, NULL, 'old', NULL),
  ('EU', 10, '', 1, NULL, NULL, NULL, NULL, NULL, NULL), ('EU', 11, 'amount', 'NaN', NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE day2 (LIKE day0);
INSERT INTO day2 VALUES
  ('EU', 1, 'null comes', NULL, '{}', '{}', '(1,x)', 'word', 'n', '2020-01-01 12:00+00'), ('EU', 2, 'null goes', 0, NULL, NULL, NULL, NULL, NULL, NULL),
  ('EU', 3, 'null stays', NULL, NULL, NULL, NULL, NULL, NULL, NULL), ('EU', 4, 'equal', 1.00, '{"b": 2, "a": 1.0}', '{"a": 1}', '(1,x)', 'WORD', 'n', '2020-01-01 13:00+01'),
  ('EU', 5, 'json', 1, NULL, '{"a":1}', NULL, NULL, NULL, NULL), ('EU', 6, 'composite', 1, NULL, NULL, NULL, NULL, NULL, NULL),
  ('EU', 7, 'composite', 1, NULL, NULL, '(,)', NULL, NULL, NULL), ('EU', 8, 'note', 1, NULL, NULL, NULL, NULL, 'new', NULL),
  ('EU', 9, 'note and MORE', 1, NULL, NULL, NULL, NULL, 'new', NULL), ('EU', 10, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL),
  ('EU', 11, 'amount', 'NaN', NULL, NULL, NULL, NULL, NULL, NULL), ('EU', 12, 'comes', 1, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT both_merge('day1', '2020-01-01'), both_merge('day2', '2020-01-02'), both_merge('day2', '2020-01-02');
SELECT operation, region, id, name, amount, note FROM away ORDER BY id;
SELECT ended_by, id, name, amount, note FROM away_history ORDER BY id;
SELECT * FROM differing;
-- what Citus was asked for: history once, two tables a merge, of which nothing is left
SELECT call FROM citus_calls ORDER BY n;
SELECT relname FROM pg_class WHERE relname LIKE 'datamill\_%';

-- plans: counts, and where they are few the examples; then what a merge wrote taken back, and a day merged anew
CREATE FUNCTION plan_of(target text, source text, day date, mode text DEFAULT 'full') RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(concat_ws(' ', operation, rows, CASE WHEN rows <= 5 THEN (SELECT jsonb_agg(e ORDER BY e) FROM jsonb_array_elements(sample) e) ELSE to_jsonb(jsonb_array_length(sample)) END), '; ')
    FROM datamill.cdc_plan(target, source, effective => day, mode => mode) $$;
SELECT plan_of('away', 'day1', '2020-01-02'), plan_of('here', 'day1', '2020-01-02') = plan_of('away', 'day1', '2020-01-02') AS same;
SELECT plan_of('here', 'SELECT * FROM day1 WHERE id > 9', '2020-01-02', 'delta') = plan_of('away', 'SELECT * FROM day1 WHERE id > 9', '2020-01-02', 'delta') AS same,
       plan_of('away', 'SELECT * FROM day1 WHERE id > 9', '2020-01-02', 'delta');
CREATE FUNCTION both_undo() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  here record;
  away record;
BEGIN
  SELECT removed, restored INTO here FROM datamill.cdc_undo('here');
  SELECT removed, restored INTO away FROM datamill.cdc_undo('away');
  RETURN CASE WHEN here = away THEN here::text ELSE format('%s here, %s away', here, away) END;
END $$;
SELECT both_merge('SELECT * FROM day1 WHERE id <> 8', '2020-01-02'), both_undo(), both_merge('SELECT * FROM day1 WHERE id <> 8', '2020-01-03'), both_merge('day2', '2020-01-04'), both_undo();
SELECT * FROM differing;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_restate('here', 'SELECT * FROM day2 WHERE id < 7 OR id = 12', '2020-01-03');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_restate('away', 'SELECT * FROM day2 WHERE id < 7 OR id = 12', '2020-01-03');
SELECT * FROM differing;
SELECT inputs, count(*) FROM datamill.receipts WHERE kind = 'cdc_undo' AND definition = 'cdc_citus_merge.away' GROUP BY 1;
SELECT relname FROM pg_class WHERE relname LIKE 'datamill\_%';

-- modes and options: a delta, a scope (with a comment), deletes ignored, an empty source
SELECT both_merge('SELECT * FROM day1 WHERE id < 5', '2020-01-03', 'delta');
SELECT both_merge('SELECT * FROM day1 WHERE id IN (5, 12)', '2020-01-04', 'full', '{"scope": "id BETWEEN 5 AND 8 AND region = ''EU'' -- these"}');
SELECT both_merge('SELECT * FROM day1 WHERE id = 1', '2020-01-05', 'full', '{"deletes": "ignore"}');
SELECT both_merge('SELECT * FROM day1 WHERE false', '2020-01-07', 'full', '{"allow_empty": true}'), both_merge('day1', '2020-01-08');
SELECT * FROM differing;

-- rounds of random changes: keys come, go and return, values change, are NULL, or are spelt otherwise
CREATE FUNCTION batch(round int) RETURNS SETOF day0 LANGUAGE sql AS $$
  SELECT (ARRAY['EU','US'])[1 + k % 2], k / 2 + (ARRAY[0, 0.0])[1 + round % 2], CASE WHEN r % 7 = 0 THEN NULL ELSE 'name ' || r % 3 END,
         (ARRAY[1.0, 1.00, 1.000, NULL, 2])[1 + r % 5], ('{"v": ' || (ARRAY['1','1.0','2','null'])[1 + r % 4] || '}')::jsonb,
         CASE WHEN r % 6 > 0 THEN ('{"v":' || r % 2 || '}')::json END, CASE WHEN r % 5 > 0 THEN ROW(NULLIF(r % 2, 0), NULL)::pair END,
         CASE WHEN r % 4 = 0 THEN 'a' ELSE 'A' END, 'note ' || r % 2, '2020-01-01 12:00+00'::timestamptz
    FROM (SELECT k, abs(hashint8extended(k::bigint, round / (1 + k % 6))) AS r FROM generate_series(1, 300) k) x WHERE abs(hashint8extended(k::bigint, round + 1000)) % 10 < 7 $$;
SELECT r, both_merge(format('SELECT * FROM batch(%s)', r), '2020-02-01'::date + r, CASE WHEN r % 3 = 0 THEN 'delta' ELSE 'full' END) FROM generate_series(1, 8) r;
SELECT * FROM differing;
SELECT both_undo(), both_undo(), both_merge('SELECT * FROM batch(9)', '2020-03-01');
SELECT * FROM differing;
SELECT operation, count(*) FROM away GROUP BY 1 ORDER BY 1;
SELECT ended_by, count(*) FROM away_history GROUP BY 1 ORDER BY 1;
SELECT mode, inserted, updated, deleted, unchanged, missing, refreshed FROM datamill.merges WHERE dataset = 'away'::regclass
EXCEPT ALL SELECT mode, inserted, updated, deleted, unchanged, missing, refreshed FROM datamill.merges WHERE dataset = 'here'::regclass;
SELECT count(*) FROM datamill.merges m JOIN datamill.receipts r ON r.id = m.receipt WHERE dataset = 'away'::regclass;
SELECT outputs FROM datamill.receipts WHERE id = (SELECT receipt FROM datamill.merges WHERE dataset = 'away'::regclass ORDER BY merge_id DESC LIMIT 1);

-- nothing depends on search_path, DateStyle or how names are spelt
CREATE SCHEMA "Odd ""schema";
CREATE FUNCTION "Odd ""schema".differs(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR "Odd ""schema".= (LEFTARG = text, RIGHTARG = text, FUNCTION = "Odd ""schema".differs);
SET LOCAL search_path = "Odd ""schema", pg_catalog, datamill;
SET LOCAL DateStyle = 'SQL, DMY';
SELECT inserted FROM cdc_merge('"Odd ""schema"."Table"', $$SELECT 1 AS "Key ""1", 'a' AS "select" UNION ALL SELECT 2, 'b'$$, keys => '{"Key \"1"}', effective => '11/12/2020',
  options => '{"names": {"operation": "Op \"x", "row_hash": "Row Hash"}}');
SELECT create_distributed_table('"Table"', 'Key "1');
SELECT inserted, updated, deleted, unchanged FROM cdc_merge('"Odd ""schema"."Table"', $$SELECT 1 AS "Key ""1", 'A' AS "select" UNION ALL SELECT 3, 'c'$$, effective => '12/12/2020');
SET LOCAL DateStyle = ISO;
SELECT "Key ""1", "select", "Op ""x", eff_start_date FROM "Table" ORDER BY 1;
SELECT "Key ""1", "select", "Op ""x", eff_start_date, eff_end_date, ended_by FROM "Table_history" ORDER BY 1;
SELECT count(*) FROM "Table" WHERE key_hash IS NOT NULL AND "Row Hash" IS NOT NULL;
-- moments instead of days, and numbers of keys alone
SET LOCAL search_path = cdc_citus_merge;
SET LOCAL DateStyle = 'SQL, DMY';
SET LOCAL TimeZone = 'Europe/Amsterdam';
SELECT inserted FROM datamill.cdc_merge('moments', 'SELECT 1::numeric AS id', keys => '{id}', effective => '11/12/2020 10:00:00.000001+00', options => '{"effective_type": "timestamptz"}');
SELECT create_distributed_table('moments', 'id');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('moments', 'SELECT 1.0 AS id UNION ALL SELECT 2', effective => '11/12/2020 10:00:00.000002+00');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('moments', 'SELECT 2 AS id', effective => '11/12/2020 10:00:00.000003+00');
SET LOCAL DateStyle = ISO;
SET LOCAL TimeZone = 'UTC';
SELECT id, eff_start_date, eff_end_date, ended_by FROM moments_history;
SELECT id, eff_start_date FROM moments;
-- a distributed table is adopted: its rows get the hashes that a merge would give them
CREATE TABLE bare (id numeric PRIMARY KEY, name text, doc jsonb);
INSERT INTO bare SELECT i, 'name ' || i, jsonb_build_object('i', i) FROM generate_series(1, 20) i;
CREATE TABLE bare_here AS TABLE bare;
SELECT create_distributed_table('bare', 'id');
DELETE FROM citus_calls;
SELECT datamill.create_dataset('bare', '{id}', effective => '2020-01-01') IS NOT NULL AS made;
SELECT call FROM citus_calls ORDER BY n;
SELECT datamill.create_dataset('bare_here', '{id}', effective => '2020-01-01', options => '{"adopt": true}') IS NOT NULL AS made;
SELECT count(*), count(DISTINCT row_hash) FROM bare JOIN bare_here USING (id, key_hash, row_hash, operation, eff_start_date);
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('bare', 'SELECT id, upper(name) AS name, doc FROM bare_here WHERE id < 3 UNION ALL SELECT id, name, doc FROM bare_here WHERE id >= 4', effective => '2020-01-02');
SELECT mode, inserted FROM datamill.merges WHERE dataset = 'bare'::regclass ORDER BY merge_id;
SELECT datamill.drop_dataset('bare');
ROLLBACK;
DROP SCHEMA cdc_citus_merge CASCADE;
