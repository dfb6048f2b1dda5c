-- Parallel scans give the rows of a serial one: objects cut into ranges of every size, records over their borders.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
\set folder :buckets '/par'
\! mkdir -p $DM_BUCKETS/par && chmod 777 $DM_BUCKETS/par
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;

-- Writes bytes to an object.
CREATE FUNCTION pg_temp.put(folder text, key text, content bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE lob oid := lo_from_bytea(0, content);
BEGIN
  PERFORM lo_export(lob, folder || '/' || key);
  PERFORM lo_unlink(lob);
END $$;

-- The rows of a table as text, or the error's code; with how many workers, cut into ranges of what size.
CREATE FUNCTION pg_temp.rows_of(tab text, workers int, size int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE found text;
BEGIN
  PERFORM set_config('max_parallel_workers_per_gather', workers::text, true), set_config('datamill.split_size', size::text, true);
  EXECUTE format('SELECT count(*) || E''\n'' || coalesce(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C"), '''') FROM %I t', tab) INTO found;
  RETURN found;
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
  RETURN SQLSTATE;
END $$;

-- Bytes of text.
CREATE FUNCTION pg_temp.b(content text) RETURNS bytea LANGUAGE sql AS $$ SELECT convert_to(content, 'UTF8') $$;

CREATE TEMP TABLE file (name text PRIMARY KEY, options text, content bytea);
INSERT INTO file VALUES
  ('quoted', '', pg_temp.b(E'a,b\n1,"x\ny"\n2,"""\n"""\n3,"\n\n"\n4,z\n')),
  ('crlf', '', pg_temp.b(E'a,b\r\n1,"x\r\ny"\r\n2,\r\n3,"\r\n"\r\n')),
  ('cr', '', pg_temp.b(E'a,b\r1,"x\ry"\r2,"\r"\r3,z\r')),
  ('mixed_ends', '', pg_temp.b(E'a,b\n1,x\r\n2,y\n3,z\r\n')),
  ('bom', '', '\xefbbbf'::bytea || pg_temp.b(E'a,b\n1,x\n2,"\n"\n')),
  ('bom_no_header', 'header ''false''', '\xefbbbf'::bytea || pg_temp.b(E'1,x\n2,"\n"\n')),
  ('no_end', '', pg_temp.b(E'a,b\n1,x\n2,"y\n"')),
  ('no_header', 'header ''false''', pg_temp.b(E'1,"\n"\n2,y\n3,z\n')),
  ('long_header', 'ignoreheader ''3''', pg_temp.b(E'"some\n\n\n\nwords"\n\na,b\n1,x\n2,y\n')),
  ('blank_lines', 'ignoreblanklines ''true''', pg_temp.b(E'a,b\n\n\n1,x\n\n\n2,"\n\n"\n\n\n')),
  ('long_record', '', pg_temp.b(E'a,b\n1,"' || repeat(E'x\n', 300) || E'"\n2,y\n')),
  ('escape', 'escape ''\''', pg_temp.b(E'a,b\n1,"x\\"\ny"\n2,"\\\\"\n3,"\\\\\\""\n4,z\\\n')),
  ('only_header', '', pg_temp.b(E'a,b\n')),
  ('empty', '', pg_temp.b('')),
  ('latin1', 'encoding ''LATIN1''', '\x612c620a312c22e90ae9220a322c780a'),
  ('bare_cr', '', pg_temp.b(E'a,b\n1,x\n2,y\r3,z\n')),
  ('bare_lf', '', pg_temp.b(E'a,b\r1,x\r2,y\n3,z\r')),
  ('open_quote', '', pg_temp.b(E'a,b\n1,x\n2,"y\n3,z\n')),
  ('no_number', '', pg_temp.b(E'a,b\n1,x\n2,y\nthree,z\n')),
  ('long', '', pg_temp.b(E'a,b\n' || (SELECT string_agg(i || CASE WHEN i % 3 = 0 THEN ',"x\n""' || repeat(E'\n', i % 50) || '"' ELSE ',y' END, E'\n') FROM generate_series(1, 3000) i))),
  ('long_bad', '', pg_temp.b(E'a,b\n' || repeat(E'1,"\n"\n', 3000) || E'three,z\n')),
  ('too_many', '', pg_temp.b(E'a,b\n1,x\n2,y,y\n3,z\n')),
  ('lines', 'format ''jsonl''', pg_temp.b(E'{"a":1,"b":"x\\ny"}\n{"a":2}\n\n \r\n  {"a":3,"b":"z"}\r\n{"b":"last"}')),
  ('bad_line', 'format ''jsonl''', pg_temp.b(E'{"a":1}\n{"a":\n{"a":3}\n'));
SELECT pg_temp.put(:'folder', name, content) FROM file \g (format=unaligned tuples_only=on)
SELECT format('CREATE FOREIGN TABLE %I (a int, b text) SERVER lake OPTIONS (url %L%s)', name, 's3://par/' || name, nullif(', ' || options, ', ')) FROM file \gexec

SET max_parallel_workers_per_gather = 2;
SET datamill.split_size = 8;
EXPLAIN (COSTS OFF) SELECT count(*), max(b) FROM quoted;

-- Serial, and the same in ranges of 1 to 64 bytes.
SELECT name, left(replace(replace(pg_temp.rows_of(name, 0, 0), E'\n', '|'), E'\r', '\r'), 70) AS serial,
       (SELECT coalesce(string_agg(size::text, ',' ORDER BY size), 'none') FROM generate_series(1, 64) size
        WHERE pg_temp.rows_of(name, 2, size) <> pg_temp.rows_of(name, 0, 0)) AS sizes_that_differ
FROM file WHERE name !~ '^long(_bad)?$' ORDER BY name COLLATE "C";

-- What only looks uncompressed is found out; who has the first range reads all of it.
\! gzip -c $DM_BUCKETS/par/quoted > $DM_BUCKETS/par/disguised.csv
CREATE FOREIGN TABLE disguised (a int, b text) SERVER lake OPTIONS (url 's3://par/disguised.csv');
SELECT pg_temp.rows_of('disguised', 2, 10) = pg_temp.rows_of('quoted', 0, 0) AS same;

-- Many objects in one scan, with other orders of columns, some cut and some not.
\! cd $DM_BUCKETS/par && mkdir -p many && for i in 1 2 3 4 5 6 7 8 9; do printf 'b,a\n"x\n",%d\n' $i > many/$i.csv; printf 'a,b\n%d0,y\n%d1,"\n\n\n\n"\n' $i $i | gzip > many/$i.csv.gz; printf 'a,b\n%d,"\n\n\n"\n' 10$i > many/big$i.csv; done; chmod -R a+rX many
CREATE FOREIGN TABLE many (a int, b text, _file text, _size bigint) SERVER lake OPTIONS (url 's3://par/many/*');
SELECT (regexp_match(pg_temp.rows_of('many', 0, 0), '^\d+'))[1] AS rows,
       (SELECT count(*) FROM generate_series(1, 40) size WHERE pg_temp.rows_of('many', 2, size) <> pg_temp.rows_of('many', 0, 0)) AS differ;

-- A row's number takes whole objects.
CREATE FOREIGN TABLE numbered (a int, b text, _row bigint) SERVER lake OPTIONS (url 's3://par/*uoted');
SELECT _row, a FROM numbered ORDER BY a;

-- Workers alone; errors in the middle of an object say at which byte.
SET parallel_leader_participation = off;
SELECT size, pg_temp.rows_of('long', 2, size) = pg_temp.rows_of('long', 0, 0) AS same FROM (VALUES (50), (1000), (30000)) v (size);
SET datamill.split_size = 5000;
SELECT count(a) FROM long_bad;
RESET parallel_leader_participation;

-- What was done by all processes is summed up.
CREATE FUNCTION pg_temp.work(query text) RETURNS TABLE (node jsonb) LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) ' || query INTO plan;
  RETURN QUERY SELECT jsonb_path_query(plan::jsonb, '$.**.Plans ? (@."Node Type" == "Foreign Scan")');
END $$;
SELECT DISTINCT node->'Parallel Aware' AS parallel, node->'Objects' AS objects, node->'Objects Read' AS objects_read,
       node->'Bytes Read' = node->'Size' AS all_bytes, (node->'Requests')::int > 27 AS all_requests
FROM pg_temp.work('SELECT count(b) FROM many');

-- Scans that start over; a LIMIT; more workers than ranges; a join of two parallel scans.
SELECT v, (SELECT count(*) FROM quoted WHERE a >= v) FROM generate_series(1, 4) v;
SELECT count(*) FROM (SELECT FROM many LIMIT 5) s;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT count(*) FROM many m JOIN quoted q USING (a);
SET enable_material = off;
SELECT count(*) FROM many m JOIN quoted q USING (a);
RESET ALL;

-- No parallel scan of a domain, or with bad rows left out.
SET parallel_setup_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE DOMAIN small AS int CHECK (VALUE < 1000000);
CREATE FOREIGN TABLE domains (a small, b text) SERVER lake OPTIONS (url 's3://par/long');
CREATE FOREIGN TABLE lenient (a int, b text) SERVER lake OPTIONS (url 's3://par/long', on_error 'ignore');
SET datamill.split_size = 1000;
EXPLAIN (COSTS OFF) SELECT count(a) FROM long;
EXPLAIN (COSTS OFF) SELECT count(a) FROM domains;
EXPLAIN (COSTS OFF) SELECT count(a) FROM lenient;
RESET ALL;
SET client_min_messages = warning;
DROP SERVER lake CASCADE;
DROP DOMAIN small;
