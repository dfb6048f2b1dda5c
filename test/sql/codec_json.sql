-- JSON lines and JSON documents as rows: values of every kind, compared with what core wrote and makes of it.
\getenv buckets DM_BUCKETS
\getenv tmp DM_TMP
\set endpoint 'file://' :buckets
CREATE SCHEMA codec_json;
SET search_path = codec_json;
CREATE SERVER json_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE TYPE place AS (x int, y text);
CREATE FOREIGN TABLE lines (id int, name text, score numeric, ok boolean, day date, tags text[], at place, more jsonb, _row bigint)
  SERVER json_lake OPTIONS (url 's3://json/good/a.jsonl', format 'jsonl');
SET DateStyle = 'ISO';

-- A byte order mark, a blank line, CRLF, escapes, blanks, a member twice, members that are no column.
SELECT * FROM lines;
SELECT count(*) FROM lines;
SELECT name FROM lines WHERE id = 33;

-- The elements of an array over any lines, one object, an empty array, nothing.
CREATE FOREIGN TABLE documents (id int, name text, more json, tags text[], _row bigint, _file text)
  SERVER json_lake OPTIONS (url 's3://json/good/*.json', format 'json');
SELECT * FROM documents ORDER BY _file, _row;

-- Paths. Nested members of one name: the last one, as in jsonb.
CREATE FOREIGN TABLE paths (
  first int OPTIONS (path '$.a.b[0]'), deep text OPTIONS (path '$.a.b[1].c'), b int[] OPTIONS (path '$["a"][''b'']'),
  quoted int OPTIONS (path '$[''k e.y''][''it\''s'']'), dotted text OPTIONS (path '$[''a.b'']'), a jsonb)
  SERVER json_lake OPTIONS (url 's3://json/good/paths.jsonl', format 'jsonl');
SELECT first, deep, quoted, dotted, a FROM paths;
SELECT (a #>> '{b,0}')::int AS first, a #>> '{b,1,c}' AS deep FROM paths;
SELECT b FROM paths;
ALTER FOREIGN TABLE paths ALTER first OPTIONS (SET path 'a.b');
ALTER FOREIGN TABLE paths ALTER first OPTIONS (SET path '$');
ALTER FOREIGN TABLE paths ALTER first OPTIONS (SET path '$[0]');
ALTER FOREIGN TABLE paths ALTER first OPTIONS (SET path '$.a[*]');
ALTER FOREIGN TABLE paths ALTER first OPTIONS (SET path '$.a[''b]');
ALTER FOREIGN TABLE paths ALTER first OPTIONS (SET path '$..a');

-- Every member a column, or else an error; options of the other format.
ALTER FOREIGN TABLE lines OPTIONS (ADD unknown_fields 'error');
SELECT id FROM lines;
ALTER FOREIGN TABLE lines OPTIONS (DROP unknown_fields);
ALTER FOREIGN TABLE lines OPTIONS (ADD header 'false');
ALTER FOREIGN TABLE lines OPTIONS (ADD match 'position');
ALTER FOREIGN TABLE lines OPTIONS (SET format 'csv', ADD unknown_fields 'error');
ALTER FOREIGN TABLE lines OPTIONS (SET format 'parquet');

-- A domain that takes no NULL meets a member that is missing.
CREATE DOMAIN present AS int NOT NULL;
CREATE FOREIGN TABLE needed (id present) SERVER json_lake OPTIONS (url 's3://json/good/a.jsonl', format 'jsonl');
SELECT * FROM needed;

-- Types of a source's columns are inferred: nested is jsonb, strings that look like numbers are text.
SELECT * FROM datamill.cdc_merge('codec_json.dim', 's3://json/infer/*.jsonl', keys => '{id}', effective => '2024-01-01',
  options => '{"server": "json_lake", "format": "jsonl"}') \gset m_
SELECT :m_inserted AS inserted;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'dim'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum LIMIT 11;
SELECT id, code, price, born, seen, who, flag, mixed, nest, list, nothing FROM dim ORDER BY id;

-- Generated values of all kinds are those that row_to_json wrote, for every size of the buffer.
CREATE TABLE made AS
SELECT g AS id, g * 1000000007::bigint AS big, (g / 7.0)::numeric AS exact, g / 3.0::float8 AS approx, g % 3 = 0 AS flag,
  repeat(chr(32 + g % 900), g % 40) || e'"\\\n\t' AS name, DATE '2000-01-01' + g AS day, TIMESTAMPTZ '2000-01-01 00:00+00' + g * interval '1 h' AS at,
  md5(g::text)::uuid AS uid, CASE WHEN g % 4 > 0 THEN ARRAY[g::text, NULL, 'a"b'] END AS list, jsonb_build_object('k', g, 'l', '[]'::jsonb) AS nest,
  ROW(g, 'y')::place AS spot
FROM generate_series(1, 1000) g;
\set program 'mkdir -p ' :tmp '/json && cat > ' :tmp '/json/made.jsonl'
\set array 'mkdir -p ' :tmp '/json && cat > ' :tmp '/json/made.json'
COPY (SELECT row_to_json(m) FROM made m ORDER BY id) TO PROGRAM :'program' WITH (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02');
COPY (SELECT replace(json_agg(m ORDER BY id)::text, e'\n', '') FROM made m) TO PROGRAM :'array' WITH (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02');
\set endpoint 'file://' :tmp
CREATE SERVER json_made FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE made_lines (id int, big bigint, exact numeric, approx float8, flag boolean, name text, day date, at timestamptz, uid uuid,
  list text[], nest jsonb, spot place) SERVER json_made OPTIONS (url 's3://json/made.jsonl', format 'jsonl');
CREATE FOREIGN TABLE made_array (id int, big bigint, exact numeric, approx float8, flag boolean, name text, day date, at timestamptz, uid uuid,
  list text[], nest jsonb, spot place) SERVER json_made OPTIONS (url 's3://json/made.json', format 'json');
SELECT count(*) FROM made_lines;
SELECT count(*) FROM (SELECT * FROM made_lines EXCEPT SELECT * FROM made) d;
SELECT count(*) FROM (SELECT * FROM made EXCEPT SELECT * FROM made_array) d;
SET datamill.csv_buffer_size = 64;
SELECT count(*) FROM (SELECT * FROM made EXCEPT SELECT * FROM made_lines) d;
SELECT count(*) FROM (SELECT * FROM made EXCEPT SELECT * FROM made_array) d;
RESET datamill.csv_buffer_size;
DROP SCHEMA codec_json CASCADE;
DROP SERVER json_lake;
DROP SERVER json_made;
