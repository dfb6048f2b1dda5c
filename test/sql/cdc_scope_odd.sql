-- Option scope takes one condition on current's columns; any other text is an error that says what is wrong, or has a plain meaning.
SET client_min_messages = warning;
CREATE SCHEMA cdc_odd;
SET search_path = cdc_odd;
CREATE TABLE other (id int, name text);
CREATE FUNCTION is_one(n int DEFAULT 1) RETURNS boolean LANGUAGE sql AS 'SELECT n = 1';
CREATE FUNCTION fails(n int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'fails(%) was called', n; END$$;
CREATE FUNCTION many() RETURNS SETOF boolean LANGUAGE sql AS 'VALUES (true), (true)';
CREATE PROCEDURE proceed() LANGUAGE sql AS '';
CREATE AGGREGATE all_of(boolean) (sfunc = booland_statefunc, stype = boolean);
SELECT inserted FROM datamill.cdc_merge('cdc_odd.t', $$SELECT i AS id, chr(64 + i) AS name, i > 2 AS flag, '{1,2}'::int[] AS list FROM generate_series(1, 4) i$$, '{id}', '2020-01-01');
-- what a full merge of the first row would delete, or the error
CREATE FUNCTION plan(scope text, target text DEFAULT 't') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  SELECT string_agg(operation || rows, ' ' ORDER BY operation) FILTER (WHERE rows > 0) INTO result
    FROM datamill.cdc_plan('cdc_odd.' || target, 'SELECT id, name, flag, list FROM cdc_odd.t WHERE id = 1', effective => '2020-01-02', options => jsonb_build_object('scope', scope));
  RETURN result;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE TABLE odd (nr serial, scope text);
INSERT INTO odd (scope) VALUES
  ('id > 2'), ('flag'), ('t.id > 2'), ('cdc_odd.t.id > 2'), ('t.flag AND t.name = ''D'''), ('(id, name) > (2, ''B'')'), ('id = ANY (list)'), ('name COLLATE "C" > ''B'''), ('operation = ''I'' AND merge_id > 0'),
  ('eff_start_date < now()'), ('NULL'), ('NULL::boolean'), ('true'), ('false'), ('''true'''), ('1'), ('''no'''), ('id'), ('now()'), ('random() >= 0'), ('is_one(n => id - 2)'), ('is_one()'), ('id > 2 -- the end'), ('/* first */ id > 2'),
  ('CASE WHEN id > 2 THEN true END'), ('id BETWEEN 2 AND 3'), ('id IS DISTINCT FROM 1'), ('(t.*) IS NOT NULL'), ('t IS NOT NULL'), ('ROW(t.*) IS NOT NULL'), ('xmlelement(name a, id)::text = ''<a>3</a>'''), ('1 / (id - 2) > 0'), ('fails(id)'),
  ('CAST(id AS boolean)'), ('current_user IS NOT NULL'), ('tableoid = ''cdc_odd.t''::regclass'), ('ctid IS NOT NULL'), ('xmin IS NOT NULL'), ('cmax IS NOT NULL'), ('id > 2;'),
  (''), (' '), ('-- only a comment'), ('/* only a comment */'), ('/* open'), (''''), ('"'), ('(((('), ('t'), ('*'), ('t.*'), ('ROW(*)'), ('ARRAY[*]'), ('t.* AND true'), ('count(*) > 0'), ('all_of(flag)'), ('GROUPING(id) = 0'), ('row_number() OVER () > 0'), ('sum(id) OVER w > 0'),
  ('(SELECT true)'), ('EXISTS (SELECT FROM other)'), ('id IN (SELECT id FROM other)'), ('id = ANY (SELECT 1)'), ('ARRAY(SELECT 1) IS NULL'), ('x; DROP TABLE t'), ('true; SELECT true'), ('true) OR (true'), ('many()'), ('generate_series(1, 2) > 0'), ('unnest(list) = 1'),
  ('DEFAULT'), ('$1'), ('$1 > id'), ('id > $0'), (':id > 2'), ('is_one(m => 1)'), ('is_one(1, 2)'), ('nothing(id)'), ('proceed()'), ('int'), ('id::nothing'), ('z.t.id > 2'), ('other.id > 2'), ('nothing > 2'), ('t.nothing'), ('t.ctid.x'), ('oid > 0'), ('excluded.id > 2'), ('new.id > 2'), ('CURRENT OF c'),
  ('flag, flag'), ('flag AS f'), ('flag f'), ('SELECT flag'), ('flag FROM t'), ('flag WHERE flag'), ('flag ORDER BY id'), ('flag LIMIT 1'), ('flag GROUP BY id'), ('flag HAVING flag'), ('flag UNION SELECT true'), ('flag FOR UPDATE'), ('DISTINCT flag'), ('ALL flag'), ('DISTINCT ON (id) flag'), ('flag INTO x'),
  ('flag WINDOW w AS ()'), ('flag INTERSECT ALL SELECT true'), ('id := 2'), ('id ==> 2'), ('name COLLATE "nothing" > ''B'''), ('name COLLATE "C" > name COLLATE "POSIX"'), ('id COLLATE "C" > 2'), ('list[1][2:3] = 1'), ('list[*] = 1'), ('(id).x'), ('(t).id > 2'), ('(t).nothing'), ('(t.*).id > 2'), ('VARIADIC list'), ('is_one(VARIADIC list)'), ('pg_catalog.pg_sleep(0) IS NOT NULL'),
  (U&'id > 2 \00e9'), ('id > 2e400'), ('id > 99999999999999999999'), ('id = ''x'''), ('name = E''\u0041'''), ('X''1'' = B''0001'''), ('row(id)::t IS NOT NULL'), ('NOT'), ('setval(''odd_nr_seq'', 1) IS NULL'), ('nextval(''odd_nr_seq'') > 0'),
  ('generate_subscripts(list, 1) > 0'), ('coalesce(many(), true)'), ('CASE WHEN flag THEN many() END'), ('pg_typeof(id) = ''int''::regtype'), ('(VALUES (true))'), ('TABLE t'), ('WITH w AS (SELECT true) SELECT true'), ('id OPERATOR(pg_catalog.>) 2'), ('id OPERATOR(nothing.>) 2'), ('t = t'), ('t IS NULL'), ('ROW() IS NULL'), ('ROW(1) = ROW(id)'), ('ROW(1, 2) = ROW(id)');
SELECT nr, scope, plan(scope) FROM odd ORDER BY nr;
SELECT depth, left(plan(repeat('(', depth) || 'id > 2' || repeat(')', depth)), 100) FROM (VALUES (100), (10000), (100000)) v (depth) ORDER BY depth;
SELECT length, left(plan('id > 2' || repeat(' AND id > 2', length)), 100) FROM (VALUES (100), (10000)) v (length) ORDER BY length;
SELECT depth, left(plan(repeat('NOT ', depth) || '(id > 2)'), 100) FROM (VALUES (100), (9000)) v (depth) ORDER BY depth;
SELECT left(plan('id IN (0' || repeat(', 3', 10000) || ')'), 100);
-- rows of partitions are looked at as rows of the table, whatever the order of their columns
CREATE TABLE parted (id int NOT NULL, name text, flag boolean, list int[]) PARTITION BY RANGE (id);
CREATE TABLE parted_1 (gone int, list int[], flag boolean, id int NOT NULL, name text);
ALTER TABLE parted_1 DROP COLUMN gone;
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (MINVALUE) TO (3);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (3) TO (MAXVALUE);
INSERT INTO parted SELECT id, name, flag, list FROM t;
SELECT datamill.create_dataset('cdc_odd.parted', '{id}', effective => '2020-01-01', options => '{"adopt": true}');
SELECT scope, plan(scope, 'parted') FROM (VALUES (1, 'flag'), (2, 'parted.name > ''B'''), (3, 'tableoid = ''cdc_odd.parted_2''::regclass'), (4, 'ctid IS NOT NULL'), (5, 'xmin IS NOT NULL'), (6, 'parted IS NOT NULL'), (7, '(parted).flag'),
  (8, 'to_jsonb(parted)->>''name'' > ''B'''), (9, 'parted_1.id > 2')) v (nr, scope) ORDER BY nr;
-- nothing was written
SELECT id, name FROM t ORDER BY id;
DROP SCHEMA cdc_odd CASCADE;
