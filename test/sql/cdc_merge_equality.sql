-- What counts as changed is decided by each type's own equality, whatever the hashes say.
SET timezone = 'UTC';
CREATE COLLATION cdc_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE cdc_mood AS ENUM ('sad', 'happy');
CREATE DOMAIN cdc_money AS numeric(12, 2);
CREATE TYPE cdc_pair AS (a int, b text);
CREATE TABLE pairs (what text, type text, before text, after text);
INSERT INTO pairs VALUES
  ('scale of numeric', 'numeric', '1.0', '1.00'), ('numeric NaN', 'numeric', 'NaN', 'NaN'),
  ('numeric', 'numeric', '1.0', '1.01'), ('domain', 'cdc_money', '5', '5.00'),
  ('minus zero', 'float8', '0', '-0'), ('float NaN', 'float8', 'NaN', 'NaN'), ('minus zero', 'float4', '0', '-0'),
  ('one instant', 'timestamptz', '2020-01-01 12:00+00', '2020-01-01 21:00+09'),
  ('another instant', 'timestamptz', '2020-01-01 12:00+00', '2020-01-01 12:00+09'),
  ('interval of a day', 'interval', '1 day', '24 hours'),
  ('order of keys', 'jsonb', '{"a": 1, "b": 1.0}', '{"b": 1.00, "a": 1}'), ('jsonb', 'jsonb', '{"a": 1}', '{"a": 2}'),
  ('json has no =', 'json', '{"a": 1}', '{"a":  1}'), ('json has no =', 'json', '{"a": 1}', '{"a": 1}'),
  ('point has no =', 'point', '(1,2)', '(1,2)'), ('point has no =', 'point', '(1,2)', '(1,3)'),
  ('NULL and empty', 'text', NULL, ''), ('NULL and NULL', 'text', NULL, NULL), ('value and NULL', 'int', '1', NULL),
  ('trailing blank', 'text', 'a', 'a '), ('trailing blank', 'char(3)', 'a', 'a '),
  ('case, nondeterministic', 'text COLLATE cdc_ci', 'abc', 'ABC'), ('case', 'text', 'abc', 'ABC'),
  ('enum', 'cdc_mood', 'sad', 'happy'), ('enum', 'cdc_mood', 'sad', 'sad'),
  ('array', 'numeric[]', '{1.0,2}', '{1,2.0}'), ('array', 'int[]', '{1,2}', '{2,1}'),
  ('composite', 'cdc_pair', '(1,x)', '(1,x)'), ('composite', 'cdc_pair', '(1,x)', '(1,y)'),
  ('range', 'int4range', '[1,3)', '[1,2]'), ('range', 'numrange', '[1,3)', '[1,3]'),
  ('uuid', 'uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11'),
  ('bytea', 'bytea', '\x00ff', '\x00fe'), ('bit', 'varbit', '101', '101'), ('bit', 'varbit', '101', '1010'),
  ('inet', 'inet', '10.0.0.1', '10.0.0.1/32'), ('money', 'money', '1', '1.00'),
  ('tsvector', 'tsvector', 'a b', 'b a'), ('boolean', 'bool', 't', 'true'), ('smallint', 'int2', '7', '-7'),
  ('time', 'time', '12:00', '12:00:00'), ('timetz', 'timetz', '12:00+00', '12:00:00+00'), ('xml has no =', 'xml', '<a/>', '<a/>');

-- each pair through cdc_merge; the server's own IS NOT DISTINCT FROM beside it, where the type has =
CREATE FUNCTION pg_temp.judge(type text, before text, after text, OUT merged text, OUT server text) AS $$
DECLARE
  counts record;
BEGIN
  PERFORM datamill.cdc_merge('cdc_equality.t', format('SELECT 1 AS id, %L::%s AS v', before, type), keys => '{id}',
                             effective => '2020-01-01');
  SELECT * INTO counts FROM datamill.cdc_merge('cdc_equality.t', format('SELECT 1 AS id, %L::%s AS v', after, type),
                                               effective => '2020-01-02');
  merged := CASE WHEN counts.unchanged = 1 THEN 'same' WHEN counts.updated = 1 THEN 'changed' END;
  DROP SCHEMA cdc_equality CASCADE;
  BEGIN
    EXECUTE format('SELECT CASE WHEN %L::%s IS NOT DISTINCT FROM %L::%s THEN ''same'' ELSE ''changed'' END',
                   before, type, after, type) INTO server;
  EXCEPTION WHEN undefined_function THEN
    server := 'no =';
  END;
END
$$ LANGUAGE plpgsql;
SET client_min_messages = warning;
SELECT what, type, before, after, merged, server, CASE WHEN merged <> server AND server <> 'no =' THEN 'WRONG' END AS verdict
FROM pairs, pg_temp.judge(type, before, after) ORDER BY what, type, before, after;

-- keys: fields do not run into each other, and equal keys meet whatever their spelling
CREATE TABLE runs (a text, b text, v int);
INSERT INTO runs VALUES ('a', 'bc', 1), ('ab', 'c', 2), ('', 'abc', 3), ('abc', '', 4);
SELECT inserted FROM datamill.cdc_merge('cdc_equality.runs', 'runs', keys => '{a,b}', effective => '2020-01-01');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_equality.runs', 'runs', effective => '2020-01-02');
SELECT inserted FROM datamill.cdc_merge('cdc_equality.num', 'SELECT 1.0 AS k, 1 AS v', keys => '{k}', effective => '2020-01-01');
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_equality.num', 'SELECT 1.00 AS k, 2 AS v', effective => '2020-01-02');
SELECT k, v FROM cdc_equality.num;
SELECT inserted FROM datamill.cdc_merge('cdc_equality.ci', $$SELECT 'abc' COLLATE cdc_ci AS k, 1 AS v$$, keys => '{k}',
                                        effective => '2020-01-01');
SELECT inserted, updated FROM datamill.cdc_merge('cdc_equality.ci', $$SELECT 'ABC' COLLATE cdc_ci AS k, 2 AS v$$,
                                                 effective => '2020-01-02');
SELECT datamill.cdc_merge('cdc_equality.ci', $$SELECT 'abc' COLLATE cdc_ci AS k, 1 AS v UNION ALL SELECT 'Abc', 2$$, effective => '2020-01-03');

-- rows that were edited by hand are compared as they are, not by their stored hashes
UPDATE cdc_equality.runs SET v = 20 WHERE v = 2;
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_equality.runs', 'SELECT a, b, CASE v WHEN 2 THEN 20 ELSE v END AS v FROM runs',
                                                  effective => '2020-01-03');
UPDATE cdc_equality.runs SET v = 30 WHERE v = 3;
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_equality.runs', 'SELECT a, b, CASE v WHEN 2 THEN 20 ELSE v END AS v FROM runs',
                                                  effective => '2020-01-04');

-- the stored hashes are XXH3-128 of documented bytes: of a little-endian 7 after a tag byte, by xxhsum -H2
SELECT inserted FROM datamill.cdc_merge('cdc_equality.hash', 'SELECT 7::bigint AS k', keys => '{k}', effective => '2020-01-01');
SELECT replace(key_hash::text, '-', '') AS key_hash FROM cdc_equality.hash;

DROP SCHEMA cdc_equality CASCADE;
DROP TABLE pairs, runs;
DROP TYPE cdc_pair, cdc_mood;
DROP DOMAIN cdc_money;
DROP COLLATION cdc_ci;
