-- unload() and COPY TO write the bytes that COPY TO writes to a file, and row_to_json makes of the rows.
\getenv buckets DM_BUCKETS
\getenv tmp DM_TMP
\set endpoint 'file://' :buckets
SET client_min_messages = warning;
CREATE SCHEMA unload_a;
SET search_path = unload_a;
CREATE SERVER unload_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'unload_lake';
LOAD 'datamill';
SELECT set_config('test.buckets', :'buckets', false) IS NULL AS a, set_config('test.tmp', :'tmp', false) IS NULL AS b;

CREATE TYPE mood AS ENUM ('fine', 'so "so"');
CREATE TYPE pair AS (x int, y text);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN stamp AS timestamptz;
CREATE TABLE wide AS SELECT i AS id, i::smallint AS i2, i * 9007199254740993::bigint AS i8, i::positive AS dom, (i / 7.0)::numeric AS num,
  CASE i WHEN 1 THEN 'NaN'::numeric WHEN 2 THEN 'Infinity' ELSE i * 1e40 END AS num2, (i / 7.0)::real AS f4, CASE i WHEN 1 THEN 'NaN'::float8 WHEN 2 THEN '-Infinity'
  WHEN 3 THEN -0.0 WHEN 4 THEN 1e300 ELSE i / 7.0 END AS f8, i % 2 = 0 AS flag, 'text, "' || i AS t, 'a'::char(5) AS c5, 'é ☃'::varchar(9) AS vc, 'a "name"'::name AS nm, 'x'::"char" AS ch,
  (ARRAY[NULL, '', ' ', E'line\nfeed', E'carriage\rreturn', E'\\.', '"', '""', 'a,b', E'tab\t', 'NULL', E'back\\slash', E'\u2028\u0001\u007f', 'f', '1', ';'])[i] AS odd,
  (ARRAY[date '2020-02-29', '0001-01-01', '9999-12-31', '10000-01-01', '0044-03-15 BC', 'infinity', '-infinity', '1582-10-15', NULL])[i % 9 + 1] AS d,
  (ARRAY[timestamp '2020-02-29 23:59:59.999999', '0001-01-01 00:00:00', '2000-01-01 00:00:00.1', '12345-01-01 10:00', '0044-03-15 12:00 BC', 'infinity', '-infinity', '1999-12-31 24:00:00'])[i % 8 + 1] AS ts,
  (ARRAY[timestamptz '2020-02-29 23:59:59.000001+05:30', '1883-11-18 12:00:00+00', '0001-06-01 00:00:00+00', '12345-01-01 10:00+00', '0044-03-15 12:00+00 BC', 'infinity', '-infinity'])[i % 7 + 1]::stamp AS tz,
  make_time(i, i, i + 0.5) AS tm, make_time(i, 0, 0)::timetz AS tmz, make_interval(i - 8, i, i, -i, i) AS iv, ('00000000-0000-0000-0000-' || lpad(to_hex(i * 1000003), 12, 'a'))::uuid AS u,
  decode(md5(i::text), 'hex') AS by, ARRAY[i, NULL, -i] AS a, ARRAY[ARRAY['a"b', NULL], ARRAY['', 'c,d']] AS a2, ROW(i, E'x"\ny')::pair AS r, ARRAY[ROW(i, NULL)::pair] AS ar,
  'so "so"'::mood AS e, ('{"a": ' || i || ',  "a": [1.0, "é"]}')::json AS j, ('{"b": {"c": null}, "a": ' || i || '}')::jsonb AS jb, int4range(i, i + 5) AS rng, ('10.0.0.' || i)::inet AS ip,
  point(i, i / 3.0) AS p, B'101' AS bits, '<a>&amp;</a>'::xml AS x, 'pg_class'::regclass AS rc, i::money AS m, to_tsvector('a fat cat') AS v, repeat('long "text" ', 1000 * i) AS toasted
FROM generate_series(1, 16) i;

-- Writes a query both ways and tells whether the files are the same.
CREATE FUNCTION same(query text, copy_options text, options jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  copied text := current_setting('test.tmp') || '/same.csv';
  expected bytea;
BEGIN
  EXECUTE format('COPY (%s) TO %L WITH (FORMAT csv%s)', query, copied, copy_options);
  EXECUTE format('COPY (%s) TO %L WITH (FORMAT csv%s, overwrite true)', query, 's3://unload/copy/same.csv', copy_options);
  PERFORM datamill.unload(query, 's3://unload/same/f', '{"header": false, "overwrite": "clean"}' || options);
  expected := pg_read_binary_file(copied);
  RETURN CASE WHEN expected = pg_read_binary_file(current_setting('test.buckets') || '/unload/same/f00000.csv') THEN 'same' ELSE 'DIFFERENT' END
    || ', ' || CASE WHEN expected = pg_read_binary_file(current_setting('test.buckets') || '/unload/copy/same.csv') THEN 'same' ELSE 'DIFFERENT' END;
END $$;

SELECT same('TABLE wide', '');
SELECT same('TABLE wide', ', HEADER', '{"header": true}');
SELECT same('TABLE wide', $$, DELIMITER ';', QUOTE '''', ESCAPE '\', NULL 'NULL'$$, '{"delimiter": ";", "quote": "''", "escape": "\\", "null": "NULL"}');
SELECT same('TABLE wide', $$, NULL '1'$$, '{"null": "1"}');
SELECT same('TABLE wide', $$, NULL 'f'$$, '{"null": "f"}');
SELECT same('TABLE wide', $$, DELIMITER '1'$$, '{"delimiter": "1"}');
SELECT same('TABLE wide', $$, QUOTE '-'$$, '{"quote": "-"}');
SELECT same('TABLE wide', $$, FORCE_QUOTE *$$, '{"force_quote": "*"}');
SELECT same('TABLE wide', $$, FORCE_QUOTE *$$, '{"addquotes": true}');
SELECT same('TABLE wide', $$, FORCE_QUOTE (id, odd, d)$$, '{"force_quote": ["id", "odd", "d"]}');
SELECT same('SELECT odd FROM wide', '');
SELECT same('SELECT id, flag FROM wide WHERE false', ', HEADER', '{"header": true}');
SELECT same('SELECT 1 AS "a,b", 2 AS "c""d", 3 AS "e" WHERE true', ', HEADER', '{"header": true}');
SELECT same('SELECT row(1, ''a'') AS r, ''x'' AS u, ARRAY[]::int[] AS e', '');
SET datestyle = 'German';
SELECT same('TABLE wide', '');
SET datestyle = 'SQL, DMY';
SELECT same('TABLE wide', '');
SET datestyle = 'Postgres, MDY';
SET intervalstyle = 'iso_8601';
SELECT same('TABLE wide', '');
RESET datestyle;
SET timezone = 'America/New_York';
SET extra_float_digits = 0;
SET bytea_output = 'escape';
SELECT same('TABLE wide', '');
SET timezone = 'Asia/Kolkata';
SET extra_float_digits = -3;
SELECT same('TABLE wide', '');
RESET extra_float_digits;
RESET bytea_output;
RESET intervalstyle;
SET timezone = 'UTC';
-- other encodings; in SJIS the second byte of a character may be a backslash
SELECT same('SELECT id, ''é, ü'' || id AS t, NULL::text AS n FROM wide', $$, HEADER, ENCODING 'LATIN1', NULL 'né'$$, '{"header": true, "encoding": "LATIN1", "null": "né"}');
SELECT same('SELECT id, ''表, ソ"能'' || id AS "表" FROM wide', $$, HEADER, ENCODING 'SJIS', ESCAPE '\'$$, '{"header": true, "encoding": "SJIS", "escape": "\\"}');
SELECT same('SELECT id, ''表|ソ能'' || id AS t FROM wide', $$, ENCODING 'SJIS', DELIMITER '|', QUOTE '\'$$, '{"encoding": "SJIS", "delimiter": "|", "quote": "\\"}');
SELECT datamill.unload('TABLE wide', 's3://unload/failed/f', '{"encoding": "LATIN1"}');
SELECT * FROM pg_ls_dir(:'buckets' || '/unload/failed');

-- JSON lines are row_to_json's; COPY as CSV with a quote and delimiter that do not occur writes them as they are.
CREATE FUNCTION same_json(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  copied text := current_setting('test.tmp') || '/same.jsonl';
BEGIN
  EXECUTE format('COPY (SELECT row_to_json(s) FROM (%s) s) TO %L WITH (FORMAT csv, QUOTE e''\x02'', DELIMITER e''\x03'')', query, copied);
  PERFORM datamill.unload(query, 's3://unload/json/f', '{"format": "jsonl", "overwrite": "clean"}');
  RETURN CASE WHEN pg_read_binary_file(copied) = pg_read_binary_file(current_setting('test.buckets') || '/unload/json/f00000.jsonl')
    THEN 'same' ELSE 'DIFFERENT' END;
END $$;
-- a type with a cast to json, which row_to_json uses
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql AS $$ SELECT json_build_object('mood', $1::text) $$;
SELECT same_json('TABLE wide');
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
SELECT same_json('TABLE wide');
SET datestyle = 'German';
SET timezone = 'America/New_York';
SELECT same_json('TABLE wide');
RESET datestyle;
SELECT same_json($$SELECT 1 AS "a ""b", NULL AS "é", row(1, row('x', NULL)) AS r, ARRAY[]::int[] AS e$$);
SELECT same_json('SELECT id FROM wide WHERE false');
-- one array of all rows
SELECT files, rows FROM datamill.unload('SELECT id, odd FROM wide WHERE id < 4', 's3://unload/array/f', '{"format": "json"}');
SELECT convert_from(pg_read_binary_file(:'buckets' || '/unload/array/f00000.json'), 'UTF8')::json;
SELECT datamill.unload('SELECT id, odd FROM wide WHERE false', 's3://unload/array/g', '{"format": "json"}') IS NULL AS "null";
SELECT convert_from(pg_read_binary_file(:'buckets' || '/unload/array/g00000.json'), 'UTF8');
-- Latin-1 JSON
SELECT rows FROM datamill.unload('SELECT ''é'' AS x', 's3://unload/latin/f', '{"format": "jsonl", "encoding": "LATIN1"}');
SELECT pg_read_binary_file(:'buckets' || '/unload/latin/f00000.jsonl');
DROP SCHEMA unload_a CASCADE;
DROP SERVER unload_lake;
