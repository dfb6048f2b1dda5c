-- Rows that cannot be read: stopped at, left out, or kept in datamill.rejects.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA rejects;
SET search_path = rejects;
CREATE SERVER rejects_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE VIEW kept AS SELECT * FROM datamill.rejects WHERE object LIKE 's3://rejects/%';
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE FOREIGN TABLE mix (id int, name text, score positive, day date, _row bigint)
  SERVER rejects_lake OPTIONS (url 's3://rejects/mix/*.csv');
SELECT count(*) FROM mix;

-- Left out: the good rows around bad ones are all there, whatever the query needs.
ALTER FOREIGN TABLE mix OPTIONS (ADD on_error 'ignore');
SELECT * FROM mix ORDER BY id;
SELECT count(*) FROM mix;
SELECT name FROM mix ORDER BY name;
SELECT count(*) FROM kept;

-- Kept: a wrong number of fields, bytes of another encoding, values of every kind.
ALTER FOREIGN TABLE mix OPTIONS (SET on_error 'quarantine');
SELECT * FROM mix ORDER BY id;
SELECT object, row_no, line_no, byte_offset, column_name, sqlstate, message FROM kept ORDER BY reject_no;
SELECT row_no, record, record_cut, owner = current_user::regrole AS mine, receipt FROM kept ORDER BY reject_no;
-- What core's COPY says of the same fields.
CREATE TABLE copied (id int, score positive, day date);
\set VERBOSITY sqlstate
COPY copied FROM stdin (FORMAT csv);
2,x,2024-01-02
\.
COPY copied FROM stdin (FORMAT csv);
three,3,2024-01-03
\.
COPY copied FROM stdin (FORMAT csv);
7,7,2024-02-30
\.
COPY copied FROM stdin (FORMAT csv);
9,-1,2024-01-09
\.
COPY copied FROM stdin (FORMAT csv);
99999999999,3,2024-01-11
\.
\set VERBOSITY default

-- They go with the statement: an error and a rollback leave none.
BEGIN;
SELECT count(*) FROM mix;
SELECT count(*) FROM kept;
ROLLBACK;
SELECT count(*) FROM kept;
SELECT 1 / (count(*) - 3) FROM mix;
SELECT count(*) FROM kept;

-- A scan that starts over rejects a row once; a LIMIT and a cursor may stop anywhere.
SELECT max(reject_no) AS last FROM kept \gset
SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SELECT g, m.id FROM generate_series(1, 2) g LEFT JOIN mix m ON m.id > g ORDER BY 1, 2;
RESET enable_material; RESET enable_hashjoin; RESET enable_mergejoin;
SELECT count(*) FROM kept WHERE reject_no > :last;
SELECT id FROM mix LIMIT 1;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM mix;
FETCH 1 FROM c;
COMMIT;

-- More than the limit is an error; so is a limit of nothing.
ALTER FOREIGN TABLE mix OPTIONS (ADD reject_limit '8');
SELECT count(*) FROM mix;
ALTER FOREIGN TABLE mix OPTIONS (SET reject_limit '7');
SELECT count(*) FROM mix;
ALTER FOREIGN TABLE mix OPTIONS (SET reject_limit '0');
SELECT count(*) FROM mix;
ALTER FOREIGN TABLE mix OPTIONS (SET reject_limit '-1');
ALTER FOREIGN TABLE mix OPTIONS (SET on_error 'stop');
ALTER FOREIGN TABLE mix OPTIONS (SET on_error 'skip');
ALTER FOREIGN TABLE mix OPTIONS (DROP reject_limit);

-- A quote that stays open ends its object; the row before it counts.
ALTER FOREIGN TABLE mix OPTIONS (SET url 's3://rejects/open/*.csv');
SELECT id FROM mix;
SELECT row_no, line_no, byte_offset, column_name, sqlstate, message, record FROM kept ORDER BY reject_no DESC LIMIT 1;

-- Where nothing can be written.
BEGIN READ ONLY;
SELECT count(*) FROM mix;
ROLLBACK;
ALTER FOREIGN TABLE mix OPTIONS (SET on_error 'ignore');
BEGIN READ ONLY;
SELECT count(*) FROM mix;
COMMIT;
CREATE TABLE big AS SELECT g AS id FROM generate_series(1, 100) g;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
-- A query with such a table is not planned in parallel, in whatever order the tables come.
EXPLAIN (COSTS OFF) SELECT count(*) FROM big;
EXPLAIN (COSTS OFF, SUMMARY OFF) SELECT count(*) FROM big JOIN mix USING (id);
EXPLAIN (COSTS OFF, SUMMARY OFF) SELECT (SELECT max(id) FROM mix), count(*) FROM big;
SELECT count(*) FROM big JOIN mix USING (id);
-- Only a query planned before it is: an error.
WITH b AS MATERIALIZED (SELECT count(*) FROM big) SELECT * FROM b, mix;
ALTER FOREIGN TABLE mix OPTIONS (SET on_error 'quarantine');
WITH b AS MATERIALIZED (SELECT count(*) FROM big) SELECT * FROM b, mix;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
SELECT count(*) FROM big JOIN mix USING (id);

-- cdc_merge counts them, and they carry its receipt.
SELECT inserted, deleted, unchanged, rejected FROM datamill.cdc_merge('rejects.dim', 's3://rejects/cdc/1.csv', keys => '{id}',
  effective => '2024-01-01', options => '{"server": "rejects_lake", "on_error": "quarantine"}');
SELECT inserted, deleted, unchanged, rejected, receipt FROM datamill.cdc_merge('rejects.dim', 's3://rejects/cdc/2.csv',
  effective => '2024-01-02', options => '{"server": "rejects_lake", "on_error": "quarantine", "reject_limit": 2}') \gset m_
SELECT :m_inserted AS inserted, :m_deleted AS deleted, :m_unchanged AS unchanged, :m_rejected AS rejected;
SELECT row_no, column_name, record, receipt = :'m_receipt' AS receipt FROM kept WHERE receipt IS NOT NULL ORDER BY row_no;
SELECT rejected FROM datamill.merges WHERE receipt = :'m_receipt';
SELECT i->>'rows' AS rows FROM datamill.receipts, jsonb_array_elements(inputs) i WHERE id = :'m_receipt';

-- a table as source tells of its rejected rows, too; what is really gone ends with the next clean merge
CREATE FOREIGN TABLE day2 (id int, name text, score numeric, day date) SERVER rejects_lake OPTIONS (url 's3://rejects/cdc/2.csv', on_error 'ignore');
SELECT deleted, missing > 0 AS missing, rejected FROM datamill.cdc_merge('rejects.dim', 'day2', effective => '2024-01-03');
SELECT deleted, missing, rejected FROM datamill.cdc_merge('rejects.dim', 'SELECT id, name, score, day FROM rejects.dim WHERE id = 1', effective => '2024-01-04');
DROP FOREIGN TABLE day2;

-- load() leaves them out, too, in one transaction with its rows and its receipt; a row that the table refuses is no bad row.
CREATE TABLE loaded (id int CHECK (id <> 4), name text, score numeric, day date);
SELECT files, rows, rejected, receipt FROM datamill.load('s3://rejects/mix/*.csv', 'loaded',
  options => '{"server": "rejects_lake", "on_error": "quarantine"}') \gset l_
SELECT :l_files AS files, :l_rows AS rows, :l_rejected AS rejected;
SELECT id FROM loaded ORDER BY id;
SELECT count(*), count(DISTINCT object) FROM kept WHERE receipt = :'l_receipt';
SELECT rows, rejected FROM datamill.load('s3://rejects/cdc/2.csv', 'loaded', options => '{"server": "rejects_lake", "on_error": "ignore"}');

-- Of a long record the first 1,000 bytes are kept, in whole characters. More rows than a batch has, every third one bad.
\getenv tmp DM_TMP
\set program 'mkdir -p ' :tmp '/rejects && cat > ' :tmp '/rejects/long.csv'
COPY (SELECT CASE WHEN g % 3 = 0 THEN 'x' ELSE g::text END AS id, repeat('é', CASE g WHEN 3 THEN 600 ELSE 3 END) AS name, 1 AS score,
        DATE '2024-01-01' AS day FROM generate_series(1, 5000) g)
  TO PROGRAM :'program' WITH (FORMAT csv, HEADER, FORCE_QUOTE (name));
\set endpoint 'file://' :tmp
ALTER SERVER rejects_lake OPTIONS (SET endpoint :'endpoint');
ALTER FOREIGN TABLE mix OPTIONS (SET url 's3://rejects/long.csv');
SELECT max(reject_no) AS last FROM kept \gset
SELECT count(*), sum(id), sum(_row) FROM mix;
SELECT count(*), sum(id) FROM generate_series(1, 5000) id WHERE id % 3 <> 0;
SELECT count(*), sum(row_no), min(byte_offset), max(line_no) FROM kept WHERE reject_no > :last;
SELECT row_no, octet_length(record), left(record, 5), record_cut FROM kept WHERE reject_no > :last ORDER BY row_no LIMIT 2;

-- Others do not see them, and nobody writes them.
CREATE ROLE rejects_other;
SET ROLE rejects_other;
SELECT count(*) FROM datamill.rejects;
SELECT count(*) FROM datamill.reject_log;
RESET ROLE;
DROP ROLE rejects_other;

DROP SCHEMA rejects CASCADE;
DROP SERVER rejects_lake;
