-- infer_schema() and foreign_table_ddl(): what is found of a source, and how sure that is.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA sch;
SET search_path = sch;
CREATE SERVER sch_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'sch_lake';
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE TABLE t AS SELECT i AS id, CASE WHEN i % 4 > 0 THEN i * 1.5 END AS amount, '2026-01-01'::date + i AS day, lpad(i::text, 5, '0') AS zip, i % 2 AS flag,
  '1000000000000000000' || i AS long, (1 + i % 12) || '/' || (1 + i % 28) || '/2026' AS us_date, (1 + i % 12) || '/' || (1 + i % 9) || '/2026' AS odd_date,
  CASE WHEN i % 10 = 0 THEN 'n/a' ELSE i::text END AS mixed, 't' AS letter, NULL::text AS nothing, 'it''s "x", ' || i AS "Say", 'f' || i AS _file
  FROM generate_series(1, 40) i;
SELECT rows FROM datamill.unload('sch.t', 's3://load/schema/a/f_', '{"header": true}');
\pset null '-'
SELECT * FROM datamill.infer_schema('s3://load/schema/a/*.csv');
-- the order of rows and objects does not matter
SELECT rows FROM datamill.unload('SELECT * FROM sch.t ORDER BY md5(id::text)', 's3://load/schema/b/f_', '{"header": true, "max_file_size": "1500"}');
SELECT column_name, type, null_share, confidence, note FROM datamill.infer_schema('s3://load/schema/b/*.csv')
EXCEPT SELECT column_name, type, null_share, confidence, note FROM datamill.infer_schema('s3://load/schema/a/*.csv');
-- a sample of what is larger
SELECT files FROM datamill.unload('SELECT i AS id, ''x'' AS c FROM generate_series(1, 3000) i', 's3://load/schema/c/f_', '{"header": true}');
SELECT * FROM datamill.infer_schema('s3://load/schema/c/*');
-- types given; partitions; JSON; no header
SELECT column_name, type, confidence, note FROM datamill.infer_schema('s3://load/schema/a/*.csv', '{"columns": {"zip": "char(5)", "flag": "boolean"}}') WHERE column_name IN ('zip', 'flag');
SELECT files FROM datamill.unload('SELECT id, amount, day, flag AS p FROM sch.t', 's3://load/schema/d/f_', '{"partition_by": ["p"], "format": "jsonl"}');
SELECT * FROM datamill.infer_schema('s3://load/schema/d/p=*/*', '{"format": "jsonl"}');
SELECT column_name, type FROM datamill.infer_schema('s3://load/schema/c/*', '{"header": false}');
-- relations and queries
SELECT * FROM datamill.infer_schema('sch.t') LIMIT 2;
SELECT column_name, type FROM datamill.infer_schema('SELECT 1::numeric(5,2) AS a, ARRAY[1] AS b');
\set VERBOSITY terse
SELECT * FROM datamill.infer_schema('s3://load/schema/none/*');
SELECT count(*) FROM datamill.infer_schema('s3://load/schema/none/*', '{"allow_empty": true}');
SELECT * FROM datamill.infer_schema('sch.missing');
SELECT * FROM datamill.infer_schema('s3://load/schema/a/*.csv', '{"columns": {"nope": "int"}}');
\set VERBOSITY default

-- the statement, and that it does what it says
SELECT datamill.foreign_table_ddl('s3://load/schema/a/*.csv', 'sch."Table 1"', '{"columns": {"flag": "int"}, "null": "it''s", "server": "sch_lake"}');
SELECT datamill.foreign_table_ddl('s3://load/schema/a/*.csv', 'sch."Table 1"', '{"columns": {"flag": "int"}}') \gexec
SELECT count(*) FROM (SELECT id::int, amount, day, zip, flag, long::text, us_date, odd_date, mixed, letter, "Say", _file FROM "Table 1"
  EXCEPT SELECT id, amount, day, zip, flag, long, us_date, odd_date, mixed, letter, "Say", _file FROM t) d;
SELECT datamill.foreign_table_ddl('s3://load/schema/d/p=*/*', 'parted', '{"format": "jsonl"}') \gexec
SELECT p, count(*), sum(amount) FROM parted GROUP BY p ORDER BY p;
\set VERBOSITY terse
SELECT datamill.foreign_table_ddl('s3://load/schema/none/*', 'x');
SELECT datamill.foreign_table_ddl('sch.t', 'x');
SELECT datamill.foreign_table_ddl('s3://load/schema/a/*.csv', 'x; DROP TABLE t');
DROP SERVER sch_lake CASCADE;
DROP SCHEMA sch CASCADE;
