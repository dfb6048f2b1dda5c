-- Scans that start over do not fetch their objects again and again.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
\! mkdir -p $DM_BUCKETS/rescan && for i in 1 2 3; do printf 'a,b\n%d,x%d\n%d0,\n' $i $i $i > $DM_BUCKETS/rescan/$i.csv; done; chmod -R a+rX $DM_BUCKETS/rescan
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE t (a int, b text) SERVER lake OPTIONS (url 's3://rescan/*');
CREATE FOREIGN TABLE lenient (a int, b int) SERVER lake OPTIONS (url 's3://rescan/*', on_error 'ignore');

-- The foreign scans of a query: passes, rows each, requests (one listing, one an object).
CREATE FUNCTION pg_temp.work(query text) RETURNS TABLE (loops int, rows numeric, objects_read int, requests int) LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) ' || query INTO plan;
  RETURN QUERY SELECT (n->'Actual Loops')::int, (n->'Actual Rows')::numeric, (n->'Objects Read')::int, (n->'Requests')::int
    FROM jsonb_path_query(plan::jsonb, 'strict $.** ? (@."Node Type" == "Foreign Scan")') n;
END $$;

-- A correlated subquery fetches twice, however often it runs; so does one that stops early each time: it goes on where it stopped.
SELECT v, (SELECT string_agg(b, ',' ORDER BY a) FROM t WHERE a <> v) FROM generate_series(1, 5) v;
SELECT * FROM pg_temp.work('SELECT v, (SELECT string_agg(b, '','' ORDER BY a) FROM t WHERE a <> v) FROM generate_series(1, 5) v');
SELECT v, (SELECT b FROM t WHERE a >= v LIMIT 1) FROM generate_series(0, 31, 6) v;
SELECT * FROM pg_temp.work('SELECT v, (SELECT b FROM t WHERE a >= v LIMIT 1) FROM generate_series(0, 31, 6) v');
SELECT v, EXISTS (SELECT FROM t WHERE a = v) FROM generate_series(1, 4) v;

-- The inner side of a nested loop, with and without a node that keeps its rows.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT count(*), count(b) FROM generate_series(1, 20) v LEFT JOIN t ON a = v;
SELECT * FROM pg_temp.work('SELECT count(*), count(b) FROM generate_series(1, 20) v LEFT JOIN t ON a = v');
SET enable_material = off;
SELECT count(*), count(b) FROM generate_series(1, 20) v LEFT JOIN t ON a = v;
SELECT * FROM pg_temp.work('SELECT count(*), count(b) FROM generate_series(1, 20) v LEFT JOIN t ON a = v');

-- With bad rows left out, too.
SELECT v, (SELECT count(*) FROM lenient WHERE a <> v) FROM generate_series(9, 12) v;
SELECT * FROM pg_temp.work('SELECT v, (SELECT count(*) FROM lenient WHERE a <> v) FROM generate_series(9, 12) v');

-- What is larger than work_mem and datamill.prefetch_memory is fetched each time.
\! yes '7,some more text to fill the object with' | head -n 60000 | (echo a,b; cat) > $DM_BUCKETS/rescan/large.csv
SET datamill.prefetch_memory = '1MB';
SET work_mem = '1MB';
SELECT v, (SELECT count(*) FROM t WHERE a >= v) FROM generate_series(1, 30, 9) v;
SELECT * FROM pg_temp.work('SELECT v, (SELECT count(*) FROM t WHERE a >= v) FROM generate_series(1, 30, 9) v');

-- What is larger than work_mem alone is kept on disk.
RESET datamill.prefetch_memory;
SET work_mem = '64kB';
SELECT v, (SELECT count(*) FROM t WHERE a >= v) FROM generate_series(1, 30, 9) v;
SELECT * FROM pg_temp.work('SELECT v, (SELECT count(*) FROM t WHERE a >= v) FROM generate_series(1, 30, 9) v');

-- A cursor that goes back.
RESET work_mem;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT a FROM t WHERE b LIKE 'x%';
FETCH ALL FROM c;
FETCH BACKWARD 2 FROM c;
MOVE FIRST FROM c;
FETCH NEXT FROM c;
COMMIT;
RESET ALL;
SET client_min_messages = warning;
DROP SERVER lake CASCADE;
