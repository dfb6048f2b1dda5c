-- unload(): names, sizes, folders of partitions, manifests, what is there already; and all of it read back.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
\set root :buckets '/unload'
SET client_min_messages = warning;
CREATE SCHEMA unload_f;
SET search_path = unload_f;
CREATE SERVER unload_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'unload_lake';
SELECT set_config('test.root', :'root', false) IS NULL AS a;
CREATE TABLE t AS SELECT i AS id, (ARRAY['eu', 'us/1', NULL, 'a=b%', '', 'été'])[i % 6 + 1] AS region, date '2020-01-01' + i % 2 AS day,
  CASE WHEN i % 7 > 0 THEN md5(i::text) END AS note, i % 5 = 0 AS flag FROM generate_series(1, 3000) i;
-- Files below a folder with their sizes.
CREATE FUNCTION files(folder text, OUT name text, OUT size bigint) RETURNS SETOF record LANGUAGE sql AS $$
  WITH RECURSIVE f(path) AS (SELECT $1 UNION ALL SELECT path || '/' || d FROM f, pg_ls_dir(current_setting('test.root') || '/' || path, true, false) d
    WHERE (pg_stat_file(current_setting('test.root') || '/' || path, true)).isdir)
  SELECT path, (pg_stat_file(current_setting('test.root') || '/' || path, true)).size FROM f
  WHERE NOT (pg_stat_file(current_setting('test.root') || '/' || path, true)).isdir ORDER BY path COLLATE "C" $$;

-- Every format and compression, split and not: read back equal, no file too large.
CREATE SEQUENCE trip;
CREATE FUNCTION round_trip(options jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  u record;
  l record;
  wrong bigint;
  largest bigint;
  folder text := 'trip' || nextval('trip');
BEGIN
  SELECT * INTO u FROM datamill.unload('t', format('s3://unload/%s/f_', folder), options);
  CREATE TABLE back (LIKE t);
  SELECT * INTO l FROM datamill.load(format('s3://unload/%s/**/f_*', folder), 'back', options => jsonb_build_object('format', options -> 'format'));
  SELECT count(*) INTO wrong FROM ((TABLE t EXCEPT ALL TABLE back) UNION ALL (TABLE back EXCEPT ALL TABLE t)) x;
  SELECT max(size) INTO largest FROM files(folder);
  DROP TABLE back;
  RETURN format('%s rows, %s wrong, %sas many files and bytes, %s', l.rows, wrong, CASE WHEN (u.files, u.bytes) = (l.files, l.bytes) THEN '' ELSE 'not ' END,
    CASE WHEN largest <= pg_size_bytes(coalesce(options ->> 'max_file_size', '1GB')) THEN 'no file too large' ELSE 'TOO LARGE' END);
END $$;
SELECT format, compression, size, round_trip(jsonb_build_object('format', format, 'compression', compression) || size)
FROM unnest('{csv,jsonl,json}'::text[]) format, unnest('{none,gzip,zstd}'::text[]) compression,
  unnest(ARRAY['{}', '{"max_file_size": "10kB"}', '{"max_file_size": "1kB"}', '{"partition_by": ["region", "day"], "include": true, "max_file_size": "4kB"}']::jsonb[]) size
ORDER BY 1, 2, 3;

-- Folders of partitions: names escaped as hive does, one file a folder, the columns gone from the files unless asked for.
SELECT files, rows FROM datamill.unload('t', 's3://unload/parts/f_', '{"partition_by": ["region", "flag"], "extension": "txt", "manifest": true}');
SELECT name FROM files('parts');
SELECT split_part(convert_from(pg_read_binary_file(:'root' || '/parts/region=eu/flag=true/f_00000.txt'), 'UTF8'), E'\n', 1);
-- the same rows make the same bytes, whatever their order is worth, and rows keep theirs within a file
CREATE TABLE first AS SELECT name, pg_read_binary_file(:'root' || '/' || name) AS content FROM files('parts');
SELECT files, rows FROM datamill.unload('SELECT * FROM t', 's3://unload/parts/f_', '{"partition_by": ["region", "flag"], "extension": ".txt", "manifest": true, "overwrite": true}');
SELECT count(*) FROM first f WHERE content <> pg_read_binary_file(:'root' || '/' || name);
SELECT count(*) FROM first f, regexp_split_to_table(rtrim(convert_from(content, 'UTF8'), E'\n'), E'\n') WITH ORDINALITY l(line, no) WHERE name LIKE '%txt' AND no > 1
  AND line IS DISTINCT FROM (SELECT string_agg(format('%s,%s,%s', id, day, note), E'\n' ORDER BY id) FROM t WHERE id = split_part(line, ',', 1)::int);
SELECT json_array_length(j -> 'entries') AS entries, j #>> '{entries,0,url}' AS url, j #> '{entries,0,meta}' AS meta
FROM (SELECT convert_from(pg_read_binary_file(:'root' || '/parts/f_manifest'), 'UTF8')::json AS j) m;
SELECT files FROM datamill.unload('t', 's3://unload/days/', '{"partition_by": "day", "include": true, "max_file_size": "40kB", "format": "jsonl", "manifest": "verbose"}');
SELECT name, size <= 40960 AS fits FROM files('days');
SELECT jsonb_pretty(j #- '{entries}' #- '{meta,content_length}') FROM (SELECT convert_from(pg_read_binary_file(:'root' || '/days/manifest'), 'UTF8')::jsonb AS j) m;
CREATE TABLE back (LIKE t);
SELECT rows FROM datamill.load('s3://unload/days/**/*.jsonl', 'back', options => '{"format": "jsonl"}');
(TABLE t EXCEPT ALL TABLE back) UNION ALL (TABLE back EXCEPT ALL TABLE t);

-- What is there already.
\set VERBOSITY default
SELECT datamill.unload('t', 's3://unload/days/');
SELECT datamill.unload('t', 's3://unload/parts/f_', '{"partition_by": ["day"]}');
SELECT files FROM datamill.unload('SELECT 1 AS a', 's3://unload/over/f_');
SELECT files FROM datamill.unload('SELECT 2 AS a', 's3://unload/over/f_1', '{"gzip": true}');
SELECT datamill.unload('SELECT 3 AS a', 's3://unload/over/f_');
SELECT files FROM datamill.unload('SELECT 3 AS a', 's3://unload/over/f_', '{"allowoverwrite": true}');
SELECT name FROM files('over');
SELECT files FROM datamill.unload('SELECT 4 AS a', 's3://unload/over/f_', '{"cleanpath": true}');
SELECT name, pg_read_file(:'root' || '/' || name) FROM files('over');

-- A failing row in the middle leaves nothing, and what was there stays.
SELECT datamill.unload('SELECT 10 / (2000 - id) AS a, note FROM t ORDER BY id', 's3://unload/over/f_', '{"overwrite": "clean", "max_file_size": "1kB"}');
SELECT datamill.unload('SELECT 10 / (2000 - id) AS a, region FROM t ORDER BY id', 's3://unload/fails/f_', '{"partition_by": "region"}');
SELECT name, pg_read_file(:'root' || '/' || name) FROM files('over');
SELECT name FROM files('fails');

-- Nor does an object that has come in the meantime, whichever of ours it is in the way of.
SELECT set_config('test.copy', :'root' || '/meantime/f_00001.csv', false) IS NULL AS a;
CREATE FUNCTION meantime(id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  IF id = 3000 THEN EXECUTE format('COPY (SELECT ''another'') TO %L', current_setting('test.copy')); END IF;
  RETURN id;
END $$;
SELECT datamill.unload('SELECT unload_f.meantime(id) AS id FROM unload_f.t', 's3://unload/meantime/f_', '{"max_file_size": "8kB"}');
SELECT name, pg_read_file(:'root' || '/' || name) FROM files('meantime');

-- No rows: a file with the header, or none.
SELECT files, rows, bytes FROM datamill.unload('SELECT * FROM t WHERE false', 's3://unload/empty/a');
SELECT files, rows, bytes FROM datamill.unload('SELECT * FROM t WHERE false', 's3://unload/empty/b', '{"empty": "none", "manifest": true}');
SELECT files, rows, bytes FROM datamill.unload('SELECT * FROM t WHERE false', 's3://unload/empty/c', '{"partition_by": "day"}');
SELECT name, pg_read_file(:'root' || '/' || name) FROM files('empty');
-- A single row larger than a file may be.
SELECT files, rows FROM datamill.unload('SELECT repeat(''x'', n) AS x FROM unnest(''{400,500,1500,300,23}''::int[]) n', 's3://unload/large/f', '{"max_file_size": "1kB", "header": false}');
SELECT name, size FROM files('large');
-- Objects as source; and the receipt.
SELECT files, rows FROM datamill.unload('s3://unload/over/*.csv', 's3://unload/again/f', '{"format": "jsonl", "source": {"columns": {"a": "text"}}}');
SELECT name, pg_read_file(:'root' || '/' || name) FROM files('again');
SELECT definition, i ->> 'uri' AS input, i ->> 'rows' AS rows, o ->> 'uri' AS output, o ->> 'size' AS size, o -> 'counts' AS counts, o ? 'etag' AS etag,
  o ->> 'sha256' = encode(sha256(pg_read_binary_file(:'root' || '/again/f00000.jsonl')), 'hex') AS sha256
FROM datamill.receipts, jsonb_array_elements(inputs) i, jsonb_array_elements(outputs) o WHERE kind = 'unload' AND definition = 's3://unload/again/f';
-- In a transaction that may not write there is no receipt.
BEGIN READ ONLY;
SELECT files, rows, receipt FROM datamill.unload('t', 's3://unload/read_only/f');
COMMIT;
DROP SCHEMA unload_f CASCADE;
DROP SERVER unload_lake;
