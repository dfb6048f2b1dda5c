-- ANALYZE: small objects whole, large ones by a sample; the planner scales what it found to today's size.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
\! mkdir -p $DM_BUCKETS/an/small $DM_BUCKETS/an/large $DM_BUCKETS/an/gz $DM_BUCKETS/an/disguised $DM_BUCKETS/an/lines && chmod -R 777 $DM_BUCKETS/an
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE small (a int, b text) SERVER lake OPTIONS (url 's3://an/small/*');
CREATE FOREIGN TABLE large (a int, b text) SERVER lake OPTIONS (url 's3://an/large/*');
CREATE FOREIGN TABLE gz (a int, b text) SERVER lake OPTIONS (url 's3://an/gz/*');
CREATE FOREIGN TABLE disguised (a int, b text) SERVER lake OPTIONS (url 's3://an/disguised/*');
CREATE FOREIGN TABLE lines (a int, b text) SERVER lake OPTIONS (url 's3://an/lines/*', format 'jsonl');

-- 100000 rows with newlines, quotes and delimiters in quotes; a fifth of them NULL.
CREATE TEMP TABLE rows AS
SELECT i AS a, CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN 'plain' WHEN 2 THEN E'two\nlines, "quoted"' WHEN 3 THEN E'\n\n,,\n' ELSE 'w' || repeat('o', i % 40) || 'rd' END AS b
FROM generate_series(1, 100000) i;
SELECT set_config('test.dir', :'buckets' || '/an', false) \g /dev/null
DO $$
DECLARE dir text := current_setting('test.dir');
BEGIN
  EXECUTE format('COPY (SELECT * FROM rows WHERE a <= 500) TO %L CSV HEADER', dir || '/small/1.csv');
  EXECUTE format('COPY (SELECT * FROM rows WHERE a BETWEEN 501 AND 777) TO %L CSV HEADER', dir || '/small/2.csv');
  FOR part IN 0..3 LOOP
    EXECUTE format('COPY (SELECT * FROM rows WHERE a %% 4 = %s ORDER BY a) TO %L CSV HEADER', part, dir || '/large/' || part || '.csv');
    EXECUTE format('COPY (SELECT * FROM rows WHERE a %% 4 = %s ORDER BY a) TO PROGRAM %L CSV HEADER', part, 'gzip > ' || dir || '/gz/' || part || '.csv.gz');
    EXECUTE format('COPY (SELECT json_build_object(''a'', a, ''b'', b) FROM rows WHERE a %% 4 = %s ORDER BY a) TO %L CSV DELIMITER E''\x02'' QUOTE E''\x01''', part, dir || '/lines/' || part || '.jsonl');
  END LOOP;
  EXECUTE format('COPY rows TO PROGRAM %L CSV HEADER', 'gzip -1 > ' || dir || '/disguised/all.csv');
END $$;

-- How many rows the planner expects, and pg_class holds.
CREATE FUNCTION pg_temp.expected(tab regclass) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
  EXECUTE 'EXPLAIN (FORMAT JSON) SELECT * FROM ' || tab INTO plan;
  RETURN (plan->0->'Plan'->'Plan Rows')::text;
END $$;
SET max_parallel_workers_per_gather = 0;
SET datamill.prefetch_memory = '1MB';
SET default_statistics_target = 30;
SELECT reltuples FROM pg_class WHERE oid = 'large'::regclass;
ANALYZE small, large, gz, disguised, lines;
SELECT reltuples, pg_temp.expected('small') FROM pg_class WHERE oid = 'small'::regclass;
SELECT relname, abs(reltuples - 100000) < 10000 AS rows_right, abs(pg_temp.expected(oid) - reltuples) < 1000 AS same_expected, relpages > 100 AS pages
FROM pg_class WHERE oid IN ('large'::regclass, 'lines'::regclass) ORDER BY relname;
-- From their starts alone, roughly.
SELECT relname, reltuples BETWEEN 50000 AND 200000 AS rows_about_right
FROM pg_class WHERE oid IN ('gz'::regclass, 'disguised'::regclass) ORDER BY relname;

-- Values: every fifth is NULL, a is unique, and its bounds are spread over all of the objects.
SELECT tablename, attname, abs(null_frac - CASE attname WHEN 'a' THEN 0 ELSE 0.2 END) < 0.05 AS nulls_right, CASE attname WHEN 'a' THEN n_distinct END AS n_distinct,
       CASE attname WHEN 'a' THEN (histogram_bounds::text::int[])[1] < 30000 AND (histogram_bounds::text::int[])[16] BETWEEN 25000 AND 75000
         AND (histogram_bounds::text::int[])[31] > 70000 END AS bounds_right,
       CASE attname WHEN 'b' THEN most_common_vals::text::text[] @> ARRAY['plain', E'two\nlines, "quoted"', E'\n\n,,\n'] END AS common_right
FROM pg_stats WHERE tablename IN ('large', 'lines') ORDER BY 1, 2;

-- A table that has grown since: what was found is scaled. Bad rows are left out of the statistics, and are no error here.
\! cp $DM_BUCKETS/an/small/1.csv $DM_BUCKETS/an/small/3.csv; printf 'a,b\nnone,x\n9999,y\n' > $DM_BUCKETS/an/small/4.csv
SELECT pg_temp.expected('small') BETWEEN 1000 AND 1500 AS grown;
ANALYZE small;
SELECT (histogram_bounds::text::int[])[31] FROM pg_stats WHERE tablename = 'small' AND attname = 'a';
SELECT count(*) FROM small WHERE a > 0;

-- No object at all; one without rows; a column alone; the rights of the owner count.
\! rm $DM_BUCKETS/an/small/*
ANALYZE small;
\! printf 'a,b\n' > $DM_BUCKETS/an/small/1.csv
ANALYZE small (b);
SELECT reltuples FROM pg_class WHERE oid = 'small'::regclass;
CREATE ROLE analyst;
ALTER FOREIGN TABLE small OWNER TO analyst;
ANALYZE small;
RESET ALL;
SET client_min_messages = warning;
DROP SERVER lake CASCADE;
DROP ROLE analyst;
