-- Manifests, as Redshift's COPY reads and its UNLOAD writes them: by foreign tables, loads, merges and the planner.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA man;
SET search_path = man;
CREATE SERVER man_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'man_lake';
SET client_min_messages = warning;
CREATE TABLE t AS SELECT i AS id, i % 3 AS p, 'name ' || i AS name FROM generate_series(1, 300) i;
-- one that unload() has written, and an object that it does not name
SELECT files, rows FROM datamill.unload('man.t', 's3://load/man/u_', '{"header": true, "max_file_size": "1500", "manifest": true}');
\set stray :buckets '/load/man/u_stray.csv'
COPY (SELECT 1000 AS id, 1 AS p, 'stray' AS name) TO :'stray' WITH (FORMAT csv, HEADER);
CREATE FOREIGN TABLE u (id int, p int, name text, _file text) SERVER man_lake OPTIONS (url 's3://load/man/u_manifest', manifest 'true');
SELECT count(*), sum(id), count(DISTINCT _file) FROM u;
SELECT count(*) FROM (SELECT id, p, name FROM u EXCEPT SELECT * FROM t) d;
EXPLAIN (COSTS OFF) SELECT id FROM u WHERE _file LIKE '%u_00001.csv';
SELECT count(*) FROM u WHERE _file LIKE '%u_00001.csv' HAVING count(*) > 10;

-- by hand: the order is the manifest's, an optional object may be missing, other members mean nothing
\set hand :buckets '/load/man/hand.json'
COPY (SELECT '{"entries": [{"url": "s3://load/man/u_00002.csv", "mandatory": true, "other": [1, {"url": 2}]}, {"url": "s3://load/man/none.csv"},'
  ' {"url": "s3://load/man/u_00000.csv", "mandatory": null, "meta": {}}, {"url": "s3://load/man/u_stray.csv", "mandatory": false}], "author": "me"}') TO :'hand';
SET client_min_messages = notice;
CREATE FOREIGN TABLE h (id text, p text, name text, _file text) SERVER man_lake OPTIONS (url 's3://load/man/hand.json', manifest 'true');
\set VERBOSITY terse
SELECT (array_agg(DISTINCT regexp_replace(_file, $$.*/$$, $$$$)))  AS files, count(*) FROM h;
SELECT regexp_replace(_file, $$.*/$$, $$$$) AS first FROM h LIMIT 1;
\set VERBOSITY default
CREATE TABLE target (id int, p int, name text);
SET client_min_messages = warning;
SELECT files, files_skipped, rows FROM datamill.load('s3://load/man/u_manifest', 'target', options => '{"manifest": true}');
SELECT files, files_skipped, rows FROM datamill.load('s3://load/man/u_manifest', 'target', options => '{"manifest": true}');
SELECT count(*) FROM target;
SELECT files, files_skipped FROM datamill.load('s3://load/man/u_*.csv', 'target');
SELECT inserted FROM datamill.cdc_merge('man.dim', 's3://load/man/u_manifest', '{id}', '2026-01-01', options => '{"manifest": true}');
SELECT count(*) FROM datamill.infer_schema('s3://load/man/u_manifest', '{"manifest": true}');

-- what may be wrong with it
\set bad :buckets '/load/man/bad.json'
\set VERBOSITY default
CREATE FOREIGN TABLE b (id int, p int, name text) SERVER man_lake OPTIONS (url 's3://load/man/bad.json', manifest 'true');
SELECT * FROM b;
COPY (SELECT '{"entries": [{"url": "s3://load/man/gone.csv", "mandatory": true}]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [{"url": "s3://load/man/u_00001.csv", "meta": {"content_length": 7}}]}') TO :'bad';
\set VERBOSITY terse
SELECT * FROM b;
COPY (SELECT '{"entries": [{"url": "s3://load/man/u_00001.csv"}, {"url": "s3://load/man/u_00001.csv"}]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [{"uri": "s3://load/man/u_00001.csv"}]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [{"url": "https://load/man/u_00001.csv"}]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [7, "x", null]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": {"url": "s3://load/man/u_00001.csv"}}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '[]') TO :'bad';
SELECT * FROM b;
COPY (SELECT '7') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [{"url": "s3://load/man/u_00001.csv", "mandatory": "yes"}]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": [{"url": "s3://load/man/u_00001.csv", "meta": {"content_length": 1e30}}]}') TO :'bad';
SELECT * FROM b;
COPY (SELECT '{"entries": []}') TO :'bad';
SELECT * FROM b;
CREATE FOREIGN TABLE both_ways (id int) SERVER man_lake OPTIONS (url 's3://load/man/bad.json', manifest 'true', as_of '2026-01-01');
SELECT * FROM both_ways;
-- the allowlist of buckets holds for entries, too
ALTER SERVER man_lake OPTIONS (ADD buckets 'lo*');
COPY (SELECT '{"entries": [{"url": "s3://codec/x.csv"}]}') TO :'bad';
SELECT * FROM b;
DROP SERVER man_lake CASCADE;
DROP SCHEMA man CASCADE;
