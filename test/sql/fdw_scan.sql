-- Objects as a foreign table: matching by name, formats, projection, rescans, EXPLAIN, rights.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');

-- Three objects with three orders of columns, quoted newlines, one of them gzip.
CREATE FOREIGN TABLE people (id int, name text, born date, score numeric(6,2))
  SERVER lake OPTIONS (url 's3://fdw/people/*');
SELECT * FROM people ORDER BY id;
SELECT id FROM people WHERE score > 5 ORDER BY id;
SELECT count(*), count(name), sum(score) FROM people;
SELECT p FROM people p WHERE id < 3 ORDER BY id;
SELECT tableoid::regclass, name FROM people WHERE born = '2024-02-29';
SELECT id, name IS NULL AS is_null, name = '' AS is_empty FROM people WHERE id IN (5, 7) ORDER BY id;

-- Columns that a query does not use are not converted: born is no int, and that shows only when it is used.
CREATE FOREIGN TABLE misfit (id int, name text, born int, score numeric) SERVER lake OPTIONS (url 's3://fdw/people/a.csv');
SELECT id, name FROM misfit ORDER BY id LIMIT 2;
SELECT count(*) FROM misfit WHERE born > 0;

-- A column can have another name than its field; special columns tell where a row comes from.
CREATE FOREIGN TABLE renamed (customer int OPTIONS (name 'Customer Id'), "Full Name" text, _file text, _row bigint, _size bigint)
  SERVER lake OPTIONS (url 's3://fdw/dialect/spaces.csv');
SELECT * FROM renamed;

-- Dialects.
CREATE FOREIGN TABLE dialect (id int, name text) SERVER lake
  OPTIONS (url 's3://fdw/dialect/semicolon.csv', delimiter ';', quote '''', null '\N');
SELECT id, name, name IS NULL AS is_null FROM dialect ORDER BY id;
CREATE FOREIGN TABLE no_header (a int, b text) SERVER lake OPTIONS (url 's3://fdw/dialect/no_header.csv', header 'false');
SELECT * FROM no_header ORDER BY a;
CREATE FOREIGN TABLE by_position (a int, b text) SERVER lake
  OPTIONS (url 's3://fdw/dialect/spaces.csv', match 'position');
SELECT * FROM by_position;
CREATE FOREIGN TABLE latin1 (id int, name text) SERVER lake OPTIONS (url 's3://fdw/bad/latin1.csv', encoding 'LATIN1');
SELECT * FROM latin1;

-- Rescans: as a correlated subquery, and as the inner side of a nested loop.
SELECT v, (SELECT name FROM people WHERE id = v) AS name FROM generate_series(1, 8, 3) v ORDER BY v;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SELECT count(*) FROM people a, people b WHERE a.id <> b.id;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
SELECT x.id FROM no_header n, LATERAL (SELECT id FROM people WHERE id > n.a ORDER BY id LIMIT 1) x ORDER BY x.id;

-- Cursors, prepared statements, LIMIT.
PREPARE one (int) AS SELECT name FROM people WHERE id = $1;
EXECUTE one (1);
EXECUTE one (4);
DEALLOCATE one;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people;
FETCH 2 FROM c;
FETCH 1 FROM c;
CLOSE c;
COMMIT;

-- Dropped and added columns.
ALTER FOREIGN TABLE people DROP COLUMN score, ADD COLUMN score text;
SELECT id, score FROM people WHERE score IS NOT NULL ORDER BY id;

-- EXPLAIN shows what would be read and what was.
EXPLAIN (COSTS OFF) SELECT name FROM people WHERE id > 1;
EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF) SELECT name FROM people LIMIT 1;
EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF, SUMMARY OFF) SELECT count(*) FROM people;
EXPLAIN (COSTS OFF, FORMAT YAML) SELECT FROM people;

-- Nothing there: an error, unless that may be.
CREATE FOREIGN TABLE nothing (a int) SERVER lake OPTIONS (url 's3://fdw/nothing/*.csv', allow_empty 'true');
SELECT * FROM nothing;
EXPLAIN (COSTS OFF) SELECT * FROM nothing;

-- Writing is not supported.
INSERT INTO people (id) VALUES (9);
UPDATE people SET id = 9;
DELETE FROM people;

-- The user whose rights count needs USAGE on the server: the caller, or the owner of a view.
CREATE ROLE fdw_scan_owner;
CREATE ROLE fdw_scan_reader;
GRANT SELECT ON people TO fdw_scan_owner, fdw_scan_reader;
GRANT USAGE ON FOREIGN SERVER lake TO fdw_scan_owner;
CREATE VIEW seen AS SELECT id FROM people;
ALTER VIEW seen OWNER TO fdw_scan_owner;
GRANT SELECT ON seen TO fdw_scan_reader;
SET ROLE fdw_scan_reader;
SELECT count(*) FROM people;
EXPLAIN (COSTS OFF) SELECT count(*) FROM people;
SELECT count(*) FROM seen;
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER lake FROM fdw_scan_owner;
SET ROLE fdw_scan_reader;
SELECT count(*) FROM seen;
RESET ROLE;

DROP VIEW seen;
DROP SERVER lake CASCADE;
DROP ROLE fdw_scan_owner, fdw_scan_reader;
