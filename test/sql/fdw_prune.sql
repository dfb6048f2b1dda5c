-- Conditions on partitions and on what a listing tells leave out folders and objects before they are listed or read.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA prune;
SET search_path = prune;
CREATE SERVER prune_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'prune_lake';
SET client_min_messages = warning;
CREATE TABLE facts AS SELECT row_number() OVER ()::int AS id, 2020 + i % 4 AS year, to_char(1 + i / 4 % 12, 'FM00') AS month, r AS region
  FROM generate_series(1, 48) i, unnest(ARRAY['eu', 'us', 'apac', NULL]) r;
SELECT files, rows FROM datamill.unload('prune.facts', 's3://load/prune/f_', '{"partition_by": ["year", "month", "region"], "header": true}');
CREATE FOREIGN TABLE f (id int, year int, month text, region text, _file text, _size bigint, _modified timestamptz, _etag text)
  SERVER prune_lake OPTIONS (url 's3://load/prune/year=*/month=*/region=*/*.csv');

-- With more keys than a page holds, folders are listed first.
CREATE TABLE many AS SELECT i AS id, i % 3 AS a, i % 400 AS b FROM generate_series(1, 1200) i;
SELECT files FROM datamill.unload('prune.many', 's3://load/prune2/f_', '{"partition_by": ["a", "b"], "header": true}');
CREATE FOREIGN TABLE m (id int, a int, b int) SERVER prune_lake OPTIONS (url 's3://load/prune2/a=*/b=*/*.csv');

-- What a query lists, prunes and reads, without what differs from machine to machine.
CREATE FUNCTION work(query text) RETURNS TABLE (line text) LANGUAGE plpgsql AS $$
BEGIN
  FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
    CONTINUE WHEN line !~ '(Filter|Listed|Pruned|Objects Read|Requests|Objects):';
    line := regexp_replace(line, '^ +', '');
    RETURN NEXT;
  END LOOP;
END $$;
SELECT work('SELECT count(*) FROM prune.f');
SELECT work('SELECT count(*) FROM prune.f WHERE year = 2021');
SELECT work('SELECT count(*) FROM prune.f WHERE year >= 2022 AND month IN (''03'', ''04'')');
SELECT work('SELECT count(*) FROM prune.f WHERE month = ''05''');
SELECT work('SELECT count(*) FROM prune.f WHERE region IS NULL AND year = 2023');
SELECT work('SELECT count(*) FROM prune.f WHERE year + 1 = 2021 OR month LIKE ''1_''');
SELECT work('SELECT count(*) FROM prune.f WHERE year = 2021 AND id > 5 AND year < id');
SELECT work('SELECT count(*) FROM prune.f WHERE _file LIKE ''%/year=2020/month=01/%''');
SELECT work('SELECT count(*) FROM prune.f WHERE _size < 0');
SELECT work('SELECT count(*) FROM prune.f WHERE _modified > now() + interval ''1 day'' AND year = 2020');
SELECT work('SELECT count(*) FROM prune.m WHERE a = 1 AND b = 7');
SELECT work('SELECT count(*) FROM prune.m WHERE b = 7');
SELECT work('SELECT count(*) FROM prune.m WHERE a <> 1');
SELECT work('SELECT count(*) FROM prune.m WHERE a >= 0');
SELECT a, count(*), sum(id) FROM m WHERE b < 100 GROUP BY a ORDER BY a;
SELECT a, count(*), sum(id) FROM many WHERE b < 100 GROUP BY a ORDER BY a;
-- not what may differ each time, has a subquery, or looks at fields
SELECT work('SELECT count(*) FROM prune.f WHERE year = 2020 + (random() * 0)::int');
SELECT work('SELECT count(*) FROM prune.f WHERE year = (SELECT min(year) FROM prune.facts)');
-- nothing is left: no rows, and no error
SELECT count(*) FROM f WHERE year = 1999;

-- without running
EXPLAIN (COSTS OFF) SELECT id FROM f WHERE year = 2021 AND id > 0;
EXPLAIN (COSTS OFF, VERBOSE) SELECT a.id FROM f a JOIN facts b USING (id) WHERE a.month = '01' AND b.month = '02';

-- parameters: known when a generic plan starts
SET plan_cache_mode = force_generic_plan;
PREPARE by_year (int) AS SELECT count(*), min(year), max(year) FROM f WHERE year = $1;
EXECUTE by_year (2021);
EXECUTE by_year (2022);
SELECT work('EXECUTE by_year (2023)');
SELECT work('EXECUTE by_year (NULL)');
RESET plan_cache_mode;
-- ... and those that change while it runs
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
SELECT y, (SELECT count(*) FROM f WHERE year = y AND month = '03') FROM generate_series(2019, 2022) y;
SELECT work('SELECT y, (SELECT count(*) FROM prune.f WHERE year = y AND month = ''03'') FROM generate_series(2019, 2022) y');
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_material;

-- the same rows as without pruning, for conditions made up at random
CREATE VIEW g AS SELECT id, year, month, region FROM f OFFSET 0;
CREATE FUNCTION pg_temp.differences(tries int) RETURNS TABLE (condition text) LANGUAGE plpgsql AS $$
DECLARE
  conditions text[] := ARRAY['year = 2021', 'year <> 2022', 'year BETWEEN 2021 AND 2022', 'year IN (2020, 2023, NULL)', 'month > ''06''', 'month::int % 5 = 0',
    'region = ''eu''', 'region IS NULL', 'region IS NOT NULL', 'region <> ''us''', 'year::text || month < ''202105''', 'coalesce(region, ''apac'') = ''apac''',
    'NOT (year = 2020 AND month = ''01'')', 'id % 7 = 1', 'id > year', 'NULL::bool', 'region ~ ''[au]''', 'length(region) > 2'];
  same bool;
BEGIN
  PERFORM setseed(0.25);
  FOR i IN 1 .. tries LOOP
    condition := conditions[1 + floor(random() * 18)] || (ARRAY[' AND ', ' OR '])[1 + floor(random() * 2)] || conditions[1 + floor(random() * 18)]
      || ' AND (' || conditions[1 + floor(random() * 18)] || ' OR ' || conditions[1 + floor(random() * 18)] || ')';
    EXECUTE format('SELECT (SELECT array_agg(id ORDER BY id) FROM f WHERE %1$s) IS NOT DISTINCT FROM (SELECT array_agg(id ORDER BY id) FROM facts WHERE %1$s)', condition)
      INTO same;
    IF NOT same THEN RETURN NEXT; END IF;
  END LOOP;
END $$;
SELECT * FROM pg_temp.differences(60);

-- a security barrier: conditions from outside see no object that the view hides
CREATE FUNCTION tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF $1 IS DISTINCT FROM 'eu' THEN RAISE WARNING 'seen: %', $1; END IF; RETURN true; END $$;
CREATE VIEW eu WITH (security_barrier) AS SELECT * FROM f WHERE region = 'eu' AND year = 2020 AND month = '01';
SELECT count(*) FROM eu WHERE tell(region);

-- written in the same statement: listed anew
CREATE FUNCTION write_one() RETURNS int LANGUAGE sql VOLATILE AS $$
  SELECT files::int FROM datamill.unload('SELECT 5000 AS id', 's3://load/prune/year=2020/month=01/region=new/f_', '{"header": true}') $$;
WITH w AS MATERIALIZED (SELECT prune.write_one() AS files) SELECT (SELECT files FROM w) AS files, count(*) FROM f WHERE region = 'new' AND (SELECT files FROM w) = 1;
\set VERBOSITY terse
DROP SERVER prune_lake CASCADE;
DROP SCHEMA prune CASCADE;
