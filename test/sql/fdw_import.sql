-- IMPORT FOREIGN SCHEMA "bucket/prefix": a table a folder of like objects.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA imp;
SET search_path = imp;
SET datestyle = 'ISO';
CREATE SERVER imp_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'imp_lake';
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.put(query text, url text, options jsonb DEFAULT '{}') RETURNS void LANGUAGE sql AS
  $$ SELECT datamill.unload($1, $2, CASE WHEN $3 ? 'format' THEN $3 ELSE '{"header": true}' || $3 END) $$;
DO $$ BEGIN
  PERFORM pg_temp.put('SELECT 1 AS id, ''a'' AS name', 's3://load/imp/customers/part_');
  PERFORM pg_temp.put('SELECT 2 AS id, ''b'' AS name', 's3://load/imp/customers/more_', '{"compression": "gzip"}');
  PERFORM pg_temp.put('SELECT i AS id, i * 1.5 AS amount, 2020 + i % 2 AS year, i % 3 AS month FROM generate_series(1, 12) i', 's3://load/imp/Sales 2026/f_', '{"partition_by": ["year", "month"]}');
  PERFORM pg_temp.put('SELECT 1 AS n', 's3://load/imp/deep/er/x_', '{"format": "jsonl"}');
  PERFORM pg_temp.put('SELECT 1 AS a', 's3://load/imp/mixed/a_');
  PERFORM pg_temp.put('SELECT 1 AS b', 's3://load/imp/mixed/b_');
  PERFORM pg_temp.put('SELECT 1 AS o', 's3://load/imp/orders_1_');
  PERFORM pg_temp.put('SELECT 2 AS o', 's3://load/imp/orders_2_');
  PERFORM pg_temp.put('SELECT 3 AS i', 's3://load/imp/orders_items_1_');
  PERFORM pg_temp.put('SELECT ''007'' AS code, NULL AS nothing', 's3://load/imp/2026-codes_');
  PERFORM pg_temp.put('SELECT 1 AS x, 2 AS x2', 's3://load/imp/bad/f_', '{"header": true}');
END $$;
\set bad :buckets '/load/imp/bad/g.csv'
\set other :buckets '/load/imp/readme.txt'
\set tabs :buckets '/load/imp/tabs.tsv'
COPY (SELECT 1 AS x, 2 AS x) TO :'bad' WITH (FORMAT csv, HEADER);
COPY (SELECT 'hello') TO :'other';
COPY (SELECT 1 AS "First Col", 'y' AS second) TO :'tabs' WITH (FORMAT csv, HEADER, DELIMITER E'\t');

SET client_min_messages = notice;
IMPORT FOREIGN SCHEMA "load/imp" FROM SERVER imp_lake INTO imp;
SELECT c.relname, o.option_value AS url, (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0)
  FROM pg_class c JOIN pg_foreign_table f ON f.ftrelid = c.oid, LATERAL pg_options_to_table(f.ftoptions) o
  WHERE c.relnamespace = 'imp'::regnamespace AND o.option_name = 'url' ORDER BY 1;
SELECT * FROM customers ORDER BY id;
SELECT year, month, count(*), sum(amount) FROM sales_2026 GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM er;
SELECT * FROM orders ORDER BY o;
SELECT * FROM orders_items;
SELECT * FROM t_2026_codes;
SELECT * FROM tabs;

-- only some, with options that all of them get
CREATE SCHEMA imp2;
IMPORT FOREIGN SCHEMA "load/imp/" LIMIT TO (orders, er) FROM SERVER imp_lake INTO imp2 OPTIONS (on_error 'ignore');
SELECT relname, ftoptions FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid WHERE relnamespace = 'imp2'::regnamespace ORDER BY 1;
SET client_min_messages = error;
IMPORT FOREIGN SCHEMA "s3://load/imp/customers" EXCEPT (nothing) FROM SERVER imp_lake INTO imp2;
SELECT count(*) FROM imp2.customers;
\set VERBOSITY terse
IMPORT FOREIGN SCHEMA "load/nowhere" FROM SERVER imp_lake INTO imp2;
IMPORT FOREIGN SCHEMA "nobucket" FROM SERVER imp_lake INTO imp2;
IMPORT FOREIGN SCHEMA "load/imp" FROM SERVER imp_lake INTO imp2 OPTIONS (nonsense 'x');
IMPORT FOREIGN SCHEMA "load/imp" FROM SERVER imp_lake INTO imp2 OPTIONS (format 'xml');
CREATE ROLE imp_user;
GRANT ALL ON SCHEMA imp2 TO imp_user;
SET ROLE imp_user;
IMPORT FOREIGN SCHEMA "load/imp" FROM SERVER imp_lake INTO imp2;
RESET ROLE;
DROP SERVER imp_lake CASCADE;
DROP SCHEMA imp, imp2 CASCADE;
DROP ROLE imp_user;
