-- Mode delta, full within a scope, the guard against mass deletes, and plans.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_delta;
CREATE TABLE cdc_delta.day1 AS SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'EU' ELSE 'US' END AS region, i AS n FROM generate_series(1, 1000) i;
SELECT inserted FROM datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', keys => '{id}', effective => '2020-01-01');

-- a delta closes nothing: keys that do not come are X; a small one asks the index, a large one scans
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_delta.t',
  $$SELECT * FROM (VALUES (1, 'US', 1), (2, 'EU', 22), (5000, 'EU', 1)) v (id, region, n)$$, effective => '2020-01-02', mode => 'delta');
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_delta.t',
  'SELECT id, region, n + 1 AS n FROM cdc_delta.day1 WHERE id > 100', effective => '2020-01-03', mode => 'delta');
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_delta.t',
  'SELECT * FROM cdc_delta.day1 WHERE false', effective => '2020-01-03', mode => 'delta');
SELECT count(*), sum(n) FROM cdc_delta.t;
SELECT id, n, valid FROM cdc_delta.t_versions WHERE id IN (1, 2, 101) ORDER BY id, valid;
SELECT effective_day, mode, inserted, updated, unchanged, missing, live_rows FROM datamill.merges
WHERE dataset = 'cdc_delta.t'::regclass ORDER BY merge_id;
-- a key twice in a small delta, where one is new and where it is not
SELECT datamill.cdc_merge('cdc_delta.t', 'SELECT 7 AS id, ''US'' AS region, n FROM generate_series(1, 2) n', effective => '2020-01-04', mode => 'delta');
SELECT datamill.cdc_merge('cdc_delta.t', 'SELECT 7777 AS id, ''US'' AS region, n FROM generate_series(1, 2) n', effective => '2020-01-04', mode => 'delta');
-- examples of a small delta's plan
SELECT operation, rows, sample FROM datamill.cdc_plan('cdc_delta.t', 'SELECT * FROM cdc_delta.day1 WHERE id IN (100, 200) UNION ALL SELECT 8888, ''US'', 1', effective => '2020-01-04', mode => 'delta');
-- without the primary key current is scanned
ALTER TABLE cdc_delta.t DROP CONSTRAINT t_pkey;
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_delta.t',
  $$SELECT 1 AS id, 'US' AS region, 11 AS n$$, effective => '2020-01-04', mode => 'delta');
ALTER TABLE cdc_delta.t ADD PRIMARY KEY (id);

-- the source is complete for one region only
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_delta.t',
  $$SELECT id, region, n FROM cdc_delta.t WHERE region = 'EU' AND id <= 500$$, effective => '2020-01-05',
  options => '{"scope": "region = ''EU''"}');
SELECT region, count(*) FROM cdc_delta.t GROUP BY 1 ORDER BY 1;
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', options => '{"scope": "region"}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', options => '{"scope": "nothing = 1"}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', options => '{"scope": "true; DROP TABLE cdc_delta.day1"}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', options => '{"scope": "true FROM pg_class"}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', options => '{"scope": "id IN (SELECT 1)"}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', options => '{"scope": "max(id) = 1"}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', effective => '2020-01-06', mode => 'delta', options => '{"scope": "id = 1"}');

-- the guard
SELECT datamill.cdc_merge('cdc_delta.t', 'SELECT * FROM cdc_delta.day1 WHERE id < 10', effective => '2020-01-06',
                          options => '{"max_delete_percent": 50}');
SELECT deleted > 0 AS fine FROM datamill.cdc_merge('cdc_delta.t', 'SELECT * FROM cdc_delta.day1 WHERE id < 700', effective => '2020-01-06',
                          options => '{"max_delete_percent": 50}');
SELECT datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day1', options => '{"max_delete_percent": 101}');

-- a plan counts and samples, and writes nothing; not even in a read-only transaction
CREATE TABLE cdc_delta.day9 AS SELECT id, region, CASE WHEN id % 300 = 0 THEN n + 1 ELSE n END AS n FROM cdc_delta.day1 WHERE id BETWEEN 3 AND 702;
BEGIN READ ONLY;
SELECT operation, rows, (SELECT jsonb_agg(s ORDER BY (s->>'id')::int) FROM jsonb_array_elements(sample) s WHERE operation <> 'N') AS sample
FROM datamill.cdc_plan('cdc_delta.t', 'cdc_delta.day9', effective => '2020-01-07');
COMMIT;
SELECT operation, rows FROM datamill.cdc_plan('cdc_delta.t', 'SELECT * FROM cdc_delta.day9 WHERE id > 690', effective => '2020-01-07', mode => 'delta');
SELECT operation, rows FROM datamill.cdc_plan('cdc_delta_new.t', 'cdc_delta.day1', keys => '{id}') WHERE rows > 0;
SELECT count(*) FROM pg_namespace WHERE nspname = 'cdc_delta_new';
SELECT datamill.cdc_plan('cdc_delta_new.t', 'SELECT 1 AS id UNION ALL SELECT 1', keys => '{id}');
SELECT datamill.cdc_plan('cdc_delta.t', 'SELECT 1 AS id', effective => '2020-01-07');
SELECT datamill.cdc_plan('cdc_delta.t', 'cdc_delta.day9', effective => '2020-01-01');
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_delta.t', 'cdc_delta.day9', effective => '2020-01-07');

DROP SCHEMA cdc_delta CASCADE;
