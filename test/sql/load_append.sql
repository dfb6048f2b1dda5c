-- load() in mode append and its ledger, compared with COPY of the same files.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA load_a;
SET search_path = load_a;
CREATE SERVER load_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'load_lake';
CREATE TABLE t (id int PRIMARY KEY CHECK (id > 0), name text, amount numeric(10,2), twice numeric GENERATED ALWAYS AS (amount * 2) STORED,
  no int GENERATED ALWAYS AS IDENTITY, note text DEFAULT 'none');
CREATE TABLE copied (LIKE t INCLUDING ALL);
\set a :buckets '/load/day/a.csv'
\set b :buckets '/load/day/b.csv'
COPY copied (id, name, amount) FROM :'a' WITH (FORMAT csv, HEADER);
COPY copied (amount, id, name) FROM :'b' WITH (FORMAT csv, HEADER);

SELECT files, files_skipped, rows, rejected, bytes, length(receipt) FROM datamill.load('s3://load/day/*.csv', 't');
(TABLE t EXCEPT TABLE copied) UNION ALL (TABLE copied EXCEPT TABLE t);
SELECT * FROM t ORDER BY id;
-- once more: nothing is left to load
SELECT files, files_skipped, rows, bytes FROM datamill.load('s3://load/day/*.csv', 't');
SELECT target, bucket, key, size, rows, etag <> '' AS has_etag, r.kind, r.definition, r.outputs
FROM datamill.loaded_objects l JOIN datamill.receipts r ON r.id = l.receipt WHERE target = 't'::regclass ORDER BY key;
SELECT objects, changed_objects, rows, bytes, last_load IS NOT NULL AS loaded FROM datamill.load_status('t');
SELECT * FROM datamill.load_status('copied');
-- another table has a ledger of its own; force loads again
CREATE TABLE plain (id int, name text, amount numeric);
SELECT files, rows FROM datamill.load('s3://load/day/a.csv', 'plain');
SELECT files, files_skipped, rows FROM datamill.load('s3://load/day/*.csv', 'plain', options => '{"force": true}');
SELECT count(*), sum(amount) FROM plain;
SELECT objects, rows FROM datamill.load_status('plain');

-- a changed object
\set changed :buckets '/load/day/c.csv'
COPY (SELECT 20 AS id, 'x' AS name, 1 AS amount) TO :'changed' WITH (FORMAT csv, HEADER);
SELECT files, rows FROM datamill.load('s3://load/day/c.csv', 'plain');
COPY (SELECT 21 AS id, 'changed' AS name, 1 AS amount) TO :'changed' WITH (FORMAT csv, HEADER);
\set VERBOSITY terse
SELECT files, rows FROM datamill.load('s3://load/day/c.csv', 'plain');
\set VERBOSITY default
SELECT files, files_skipped, rows FROM datamill.load('s3://load/day/c.csv', 'plain', options => '{"on_changed": "skip"}');
SELECT files, files_skipped, rows FROM datamill.load('s3://load/day/c.csv', 'plain', options => '{"on_changed": "load"}');
SELECT files, files_skipped, rows FROM datamill.load('s3://load/day/c.csv', 'plain');
SELECT id FROM plain WHERE id >= 20 ORDER BY id;
SELECT objects, changed_objects, rows FROM datamill.load_status('plain');

-- the columns are those of the first header; what the source lacks gets its default
SELECT rows FROM datamill.load('s3://load/bad/lacks.csv', 't');
SELECT id, name, amount, note FROM t WHERE id > 5 ORDER BY id;
SELECT datamill.load('s3://load/bad/unknown.csv', 't');
SELECT datamill.load('s3://load/{day,bad}/{a,lacks}.csv', 'plain', options => '{"force": true}');
SELECT datamill.load('s3://load/bad/check.csv', 't');
SELECT count(*) FROM datamill.loaded_objects WHERE key = 'bad/check.csv';
-- rolled back: neither rows nor ledger
BEGIN;
TRUNCATE plain;
SELECT rows FROM datamill.load('s3://load/bad/upsert.csv', 'plain');
ROLLBACK;
SELECT count(*) FROM plain;
SELECT count(*) FROM datamill.loaded_objects WHERE key = 'bad/upsert.csv';
-- without a header, by position
CREATE TABLE two (id int, name text);
SELECT rows FROM datamill.load('s3://load/bad/plain.txt', 'two', options => '{"header": false, "delimiter": ";"}');
TABLE two ORDER BY id;
-- relations and queries
SELECT files, files_skipped, rows, bytes FROM datamill.load('two', 't');
SELECT rows FROM datamill.load('SELECT id + 100 AS id, name FROM load_a.two', 't');
SELECT id, name, note FROM t WHERE id > 10 ORDER BY id;
SELECT datamill.load('SELECT 1 AS id, 2 AS other', 't');

-- bad rows are left out and told apart
CREATE TABLE numbers (id int, name text, amount int);
SELECT files, rows, rejected FROM datamill.load('s3://load/{day/a,bad/upsert}.csv', 'numbers', options => '{"on_error": "quarantine"}');
TABLE numbers ORDER BY id;
SELECT j.object, j.row_no, j.column_name, j.message, r.kind FROM datamill.rejects j JOIN datamill.receipts r ON r.id = j.receipt
WHERE j.object LIKE 's3://load/%' ORDER BY object, row_no;
SELECT key, rows FROM datamill.loaded_objects WHERE target = 'numbers'::regclass ORDER BY key;

-- arguments
SELECT datamill.load('s3://load/none/*.csv', 't');
SELECT rows FROM datamill.load('s3://load/none/*.csv', 't', options => '{"allow_empty": true}');
SELECT datamill.load('two', 't', options => '{"force": true}');
\set VERBOSITY terse
SELECT datamill.load('s3://load/day/a.csv', 't', options => '{"forced": true}');
\set VERBOSITY default
SELECT datamill.load('s3://load/day/a.csv', 't', options => '{"on_changed": "guess"}');
SELECT datamill.load('s3://load/day/a.csv', 't', options => '{"columns": {"id": "int"}}');
SELECT datamill.load('s3://load/day/a.csv', 't', mode => 'merge');
SELECT datamill.load('s3://load/day/a.csv', 't', keys => '{id}');
SELECT datamill.load('s3://load/day/a.csv', 't', mode => NULL);
BEGIN READ ONLY;
SELECT datamill.load('two', 't');
ROLLBACK;
-- other tests count all rejects
DELETE FROM datamill.reject_log WHERE object LIKE 's3://load/%';
DROP SCHEMA load_a CASCADE;
DROP SERVER load_lake;
