-- Columns that stand in the keys of objects (year=2026/month=01/...): as foreign tables, sources and loads see them.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA hive_t;
SET search_path = hive_t;
CREATE SERVER hive_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'hive_lake';
SET client_min_messages = warning;
CREATE TABLE facts (id int, region text, day date, n int, amount numeric);
INSERT INTO facts SELECT i, (ARRAY['eu', 'us', 'a/b=c d%', 'Ünï', '', NULL])[1 + i % 6], '2026-01-30'::date + i % 5, i % 3, i * 1.5 FROM generate_series(1, 400) i;
SELECT files > 20 AS many, rows FROM datamill.unload('hive_t.facts', 's3://load/hive/f_', '{"partition_by": ["region", "day", "n"], "header": true}');

-- each type by its own input; all rows come back
CREATE FOREIGN TABLE f (id int, amount numeric, region text, day date, n int, _file text) SERVER hive_lake OPTIONS (url 's3://load/hive/region=*/day=*/n=*/*.csv');
SELECT count(*) FROM f;
SELECT count(*) FROM (SELECT id, region, day, n, amount FROM facts EXCEPT ALL SELECT id, region, day, n, amount FROM f) d;
SELECT region, count(*), min(_file) FROM f GROUP BY region ORDER BY 1;
-- a query that needs nothing else
SELECT DISTINCT n FROM f ORDER BY n;
-- only some steps are columns of the table; another name for one
CREATE FOREIGN TABLE g (id int, amount numeric, "when" date OPTIONS (name 'day')) SERVER hive_lake OPTIONS (url 's3://load/hive/*/day=*/n=*/*.csv');
SELECT "when", count(*), sum(amount) FROM g GROUP BY 1 ORDER BY 1;

-- sources offer them, with types inferred from all keys
SET client_min_messages = notice;
SELECT rows FROM datamill.load('s3://load/hive/region=*/day=*/n=*/*.csv', 'facts', 'replace');
SELECT count(*), count(region), sum(n) FROM facts;
SELECT inserted FROM datamill.cdc_merge('hive_t.d', 's3://load/hive/region=*/day=*/n=*/*.csv', '{id}', '2026-02-01');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'd'::regclass AND attname IN ('id', 'amount', 'region', 'day', 'n') ORDER BY attname;
SELECT count(*) FROM (SELECT id, region, day, n::bigint, amount FROM d EXCEPT ALL SELECT id, region, day, n, amount FROM facts) x;
-- a target without such columns loads the fields alone; COPY takes them only if told to
CREATE TABLE fields (id int, amount numeric);
SELECT rows FROM datamill.load('s3://load/hive/region=eu/day=*/n=*/*.csv', 'fields');
\set VERBOSITY terse
SELECT datamill.load('s3://load/hive/region=*/day=*/n=*/*.csv', 'facts', 'replace', options => '{"hive": false, "server": "hive_lake"}');
CREATE FOREIGN TABLE off (id int, amount numeric, n int) SERVER hive_lake OPTIONS (url 's3://load/hive/region=eu/day=*/n=*/*.csv', hive 'false');
SELECT count(*) FROM off;
\set VERBOSITY default

-- a value that is none of the column's type: which, and where
CREATE FOREIGN TABLE bad (id int, amount numeric, region int) SERVER hive_lake OPTIONS (url 's3://load/hive/region=*/day=2026-01-30/n=0/*.csv');
SELECT DISTINCT region FROM bad;
-- a field of the objects of the same name, and a name twice
SELECT datamill.unload('SELECT 1 AS id, 2 AS k', 's3://load/hive2/k=7/f_', '{"header": true}') IS NOT NULL AS done;
CREATE FOREIGN TABLE both_ways (id int, k int) SERVER hive_lake OPTIONS (url 's3://load/hive2/k=*/*.csv');
SELECT * FROM both_ways;
ALTER FOREIGN TABLE both_ways OPTIONS (ADD hive 'false');
SELECT * FROM both_ways;
SELECT datamill.cdc_merge('hive_t.both_too', 's3://load/hive2/k=*/*.csv', '{id}');
CREATE FOREIGN TABLE twice (id int, k int) SERVER hive_lake OPTIONS (url 's3://load/hive2/k=*/k=*/*.csv');
SELECT * FROM twice;

-- JSON: what the path says counts
SELECT files FROM datamill.unload('SELECT i AS id, i % 2 AS p FROM generate_series(1, 4) i', 's3://load/hive3/j_', '{"partition_by": ["p"], "format": "jsonl"}');
CREATE FOREIGN TABLE j (id int, p text) SERVER hive_lake OPTIONS (url 's3://load/hive3/p=*/*', format 'jsonl');
SELECT * FROM j ORDER BY id;
\set VERBOSITY terse
DROP SERVER hive_lake CASCADE;
DROP SCHEMA hive_t CASCADE;
