-- Relations and queries as sources: names, types, rights, and what is refused.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA src;
SET search_path = src;
CREATE TABLE customer (id int, junk text, name varchar(10), amount numeric(8,2), twice numeric GENERATED ALWAYS AS (amount * 2) STORED);
ALTER TABLE customer DROP COLUMN junk;
INSERT INTO customer VALUES (1, 'Ada', 1.5), (2, 'Bob', NULL);
CREATE VIEW rich AS SELECT id, name FROM customer WHERE amount > 1;
CREATE MATERIALIZED VIEW stored AS SELECT id FROM customer;
CREATE TABLE parted (id int) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
INSERT INTO parted VALUES (1);
CREATE TABLE "Mixed Case" ("Id" int, "select" text);
INSERT INTO "Mixed Case" VALUES (7, 'x');
CREATE SEQUENCE numbers;

-- Merges a source into a new dataset, or into the one that is there.
CREATE FUNCTION read(source text, key text DEFAULT 'id', target text DEFAULT 'src.d') RETURNS bigint LANGUAGE sql AS
  $$ SELECT inserted FROM datamill.cdc_merge(target, source, keys => ARRAY[key], effective => '2024-01-01') $$;
CREATE FUNCTION read_again(source text) RETURNS bigint LANGUAGE sql AS
  $$ SELECT updated + inserted FROM datamill.cdc_merge('src.d', source, effective => '2024-01-02') $$;

-- Every kind of relation, and how it may be named.
BEGIN;
SELECT read('customer');
SELECT id, name, amount, twice FROM d ORDER BY id;
SELECT column_name, data_type, character_maximum_length, numeric_precision, numeric_scale FROM information_schema.columns
  WHERE table_schema = 'src' AND table_name = 'd' AND column_name IN ('id', 'name', 'amount', 'twice') ORDER BY 1;
SELECT inputs->0->>'uri' AS uri, inputs->0->>'rows' AS rows FROM datamill.receipts ORDER BY receipt_no DESC LIMIT 1;
ROLLBACK;
BEGIN;
SELECT read('SRC . rich');
ROLLBACK;
BEGIN;
SELECT read('stored');
ROLLBACK;
BEGIN;
SELECT read('parted');
ROLLBACK;
BEGIN;
SELECT read(' src."Mixed Case" ', 'Id');
SELECT "Id", "select" FROM d;
ROLLBACK;

-- Every kind of query.
BEGIN;
SELECT read('SELECT 1 AS id, ''x'' AS v UNION ALL SELECT 2, NULL ORDER BY 1;');
SELECT id, v FROM d ORDER BY id;
SELECT inputs->0->>'uri' AS uri, inputs->0->>'rows' AS rows FROM datamill.receipts ORDER BY receipt_no DESC LIMIT 1;
ROLLBACK;
BEGIN;
SELECT read('WITH w AS (SELECT g AS id FROM generate_series(1, 3) g) SELECT * FROM w -- all');
ROLLBACK;
BEGIN;
SELECT read('VALUES (1, true), (2, false)', 'column1');
ROLLBACK;
BEGIN;
SELECT read('TABLE rich');
ROLLBACK;

-- What is neither.
SELECT read('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT read('numbers');
\echo :LAST_ERROR_SQLSTATE
SELECT read('');
SELECT read('selec 1');
\echo :LAST_ERROR_SQLSTATE
SELECT read('SELECT nobody FROM customer');
SELECT read('SELECT 1 AS id; SELECT 2 AS id');
SELECT read('SELECT 1 AS id INTO nowhere');
SELECT read('INSERT INTO customer VALUES (3) RETURNING id');
SELECT read('WITH w AS (DELETE FROM customer RETURNING id) SELECT * FROM w');
SELECT read('SELECT id FROM customer FOR UPDATE');
SELECT read('SELECT $1 AS id');
SELECT read('SELECT FROM customer');
SELECT read('SELECT 1 AS id, 2 AS id');
\echo :LAST_ERROR_SQLSTATE
SELECT read('https://host/file.csv');
SELECT read('customer; DROP TABLE customer');
SELECT read('SELECT 1 AS id) AS s; DROP TABLE customer; SELECT 2 FROM (SELECT 3');

-- Columns and types must fit what is there: names both ways, types by assignment, lengths as INSERT has them.
SELECT read('SELECT 1 AS id, ''x''::varchar(3) AS name, 1.5::numeric(3,1) AS n, ''{a}''::varchar(3)[] AS list');
SELECT read_again('SELECT 1 AS id, ''y'' AS name, ''{a}''::text[] AS list');
\echo :LAST_ERROR_SQLSTATE
SELECT read_again('SELECT 1 AS id, ''y'' AS name, 1 AS n, ''{a}''::text[] AS list, 2 AS extra, 3 AS more');
SELECT read_again('SELECT 1 AS id, ''y'' AS name, ''1''::text AS n, ''{a}''::text[] AS list');
\echo :LAST_ERROR_SQLSTATE
SELECT read_again('SELECT 1 AS id, ''long'' AS name, 1 AS n, ''{a}''::text[] AS list');
\echo :LAST_ERROR_SQLSTATE
SELECT read_again('SELECT 1 AS id, ''y'' AS name, 123 AS n, ''{a}''::text[] AS list');
SELECT read_again('SELECT 3000000000 AS id, ''y'' AS name, 1 AS n, ''{a}''::text[] AS list');
SELECT read_again('SELECT ''{b}''::text[] AS list, 7 AS n, 2::smallint AS id, ''y   '' AS name');
SELECT id, name, n, list FROM d;

SELECT read_again('SELECT 1 AS id, ''y'' AS name, 7 AS n, ''{long}''::text[] AS list');
\echo :LAST_ERROR_SQLSTATE

-- Domains, too, take what INSERT lets them take.
CREATE DOMAIN code AS varchar(2) NOT NULL CHECK (VALUE <> 'no');
SET client_min_messages = warning;
DROP TABLE d, d_history CASCADE;
RESET client_min_messages;
SELECT read('SELECT 1 AS id, ''a''::code AS code');
SELECT read_again('SELECT 1 AS id, ''long'' AS code');
SELECT read_again('SELECT 1 AS id, ''no'' AS code');
\echo :LAST_ERROR_SQLSTATE
SELECT read_again('SELECT 1 AS id, NULL::text AS code');
\echo :LAST_ERROR_SQLSTATE
SELECT read_again('SELECT 1 AS id, ''b'' AS code');
SELECT id, code FROM d;

-- Rights and row security are the caller's.
CREATE ROLE src_user;
GRANT USAGE, CREATE ON SCHEMA src TO src_user;
SET ROLE src_user;
SELECT datamill.cdc_merge('src.mine', 'customer', keys => '{id}', effective => '2024-01-01');
RESET ROLE;
GRANT SELECT ON customer TO src_user;
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_one ON customer TO src_user USING (id = 1);
SET ROLE src_user;
BEGIN;
SELECT inserted FROM datamill.cdc_merge('src.mine', 'customer', keys => '{id}', effective => '2024-01-01');
SELECT id FROM mine;
ROLLBACK;
RESET ROLE;

-- A foreign table as source: its objects go to the receipt, too.
CREATE SERVER src_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE objects (id int, v int) SERVER src_lake OPTIONS (url 's3://source/spread/[12].csv');
BEGIN;
SELECT read('objects', 'id', 'src.d2');
SELECT i->>'uri' AS uri, i->>'rows' AS rows, i->>'sha256' IS NOT NULL AS has_digest
  FROM datamill.receipts, jsonb_array_elements(inputs) i WHERE inputs::text LIKE '%s3://source/spread%' ORDER BY 1;
ROLLBACK;

SET client_min_messages = warning;
DROP SERVER src_lake CASCADE;
DROP SCHEMA src CASCADE;
DROP ROLE src_user;
