-- Names and types inferred from objects: what cdc_merge makes of a URL where there is no target yet.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA infer;
CREATE SERVER infer_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'infer_lake';
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- Merges a URL into a new dataset with key id, and returns its business columns.
CREATE FUNCTION infer.columns(url text, options jsonb DEFAULT '{}') RETURNS TABLE (name name, type text) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM infer.merge(url, options);
  RETURN QUERY SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
    WHERE a.attrelid = 'infer.d'::regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attname NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = 'infer.plain'::regclass AND attname <> 'id')
    ORDER BY a.attnum;
END $$;
CREATE FUNCTION infer.merge(url text, options jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS
  $$ SELECT inserted FROM datamill.cdc_merge('infer.d', url, keys => '{id}', effective => '2024-01-01', options => options) $$;
-- A dataset with no column but the key: what it has besides is not from the source.
SELECT inserted FROM datamill.cdc_merge('infer.plain', 'SELECT 1 AS id', keys => '{id}', effective => '2024-01-01');

BEGIN;
SELECT * FROM infer.columns('s3://source/infer/types.csv');
SELECT id, int_large, zeros, plus, huge, flag, letters, uid FROM infer.d ORDER BY id;
SELECT id, day, day_time, instant, mixed_time, all_null, some_null, quoted_empty, nanos FROM infer.d ORDER BY id;
ROLLBACK;

-- The order of the rows makes no difference.
BEGIN;
SELECT string_agg(type, ', ') AS types FROM infer.columns('s3://source/infer/types_reversed.csv');
ROLLBACK;
BEGIN;
SELECT string_agg(type, ', ') AS types FROM infer.columns('s3://source/infer/types.csv');
ROLLBACK;

-- The sample is spread over the objects: one of nine has a text, and its columns in another order.
BEGIN;
SELECT * FROM infer.columns('s3://source/spread/*.csv');
SELECT id, v FROM infer.d ORDER BY id;
ROLLBACK;

-- Types can be given; so can the format.
BEGIN;
SELECT * FROM infer.columns('s3://source/spread/[1-4].csv', '{"columns": {"v": "numeric(10,2)", "id": "int"}}');
ROLLBACK;
BEGIN;
SELECT * FROM infer.columns('s3://source/infer/semicolon.csv', '{"delimiter": ";", "encoding": "LATIN1", "null": "NA"}');
SELECT id, name FROM infer.d ORDER BY id;
ROLLBACK;

-- Without a header columns are numbered.
BEGIN;
SELECT inserted FROM datamill.cdc_merge('infer.d', 's3://source/infer/no_header.csv', keys => '{column1}', effective => '2024-01-01',
  options => '{"header": false}');
SELECT column1, column2 FROM infer.d ORDER BY column1;
ROLLBACK;

-- A header's _file is a field like any other.
BEGIN;
SELECT inserted FROM datamill.cdc_merge('infer.d', 's3://source/infer/specials.csv', keys => '{_row}', effective => '2024-01-01');
SELECT _file, _row FROM infer.d;
ROLLBACK;

-- A value beyond the sample that does not fit says how to give the type.
SELECT infer.merge('s3://source/bad/late.csv');
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT infer.merge('s3://source/bad/late.csv', '{"columns": {"n": "text"}}');
ROLLBACK;

-- Errors of headers, options and objects.
SELECT infer.merge('s3://source/bad/duplicate.csv');
\echo :LAST_ERROR_SQLSTATE
SELECT infer.merge('s3://source/bad/unnamed.csv');
SELECT infer.merge('s3://source/bad/long_name.csv');
\echo :LAST_ERROR_SQLSTATE
SELECT infer.merge('s3://source/bad/empty.csv');
SELECT infer.merge('s3://source/bad/nothing_*.csv');
SELECT infer.merge('s3://fdw/bad/quote.csv');
SELECT infer.merge('s3://fdw/bad/truncated.csv.gz');
SELECT infer.merge('s3://fdw/bad/latin1.csv');
SELECT infer.merge('s3://source/spread/1.csv', '{"columns": {"w": "text"}}');
\echo :LAST_ERROR_SQLSTATE
SELECT infer.merge('s3://source/spread/1.csv', '{"columns": {"v": "txt"}}');
SELECT infer.merge('s3://source/spread/1.csv', '{"columns": {"v": "record"}}');
SELECT infer.merge('s3://source/spread/1.csv', '{"columns": {"v": 1}}');
SELECT infer.merge('s3://source/spread/1.csv', '{"columns": "v"}');
SELECT infer.merge('s3://source/spread/1.csv', '{"format": "parquet"}');
SELECT infer.merge('s3://source/spread/1.csv', '{"delimiter": "::"}');
\echo :LAST_ERROR_SQLSTATE
SELECT infer.merge('s3://source/spread/1.csv', '{"header": null}');
SELECT infer.merge('s3://source/spread/1.csv', '{"header": [true]}');
SELECT infer.merge('s3://source/spread/1.csv', '{"delimeter": ";"}');

SET client_min_messages = warning;
DROP SCHEMA infer CASCADE;
DROP SERVER infer_lake;
