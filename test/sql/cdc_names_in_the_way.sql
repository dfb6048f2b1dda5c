-- What is asked about a dataset does not depend on what others made along the search_path, nor on the names of its columns.
\set VERBOSITY terse
CREATE SCHEMA trap;
CREATE SCHEMA off_path;
CREATE EXTENSION citext SCHEMA off_path;
CREATE FUNCTION trap.step(date, date) RETURNS date LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap.step() as %', current_user; END$$;
CREATE AGGREGATE trap.lead(date) (sfunc = trap.step, stype = date);
CREATE FUNCTION trap.eq(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap.eq() as %', current_user; END$$;
CREATE OPERATOR trap.= (leftarg = varchar, rightarg = varchar, function = trap.eq);
CREATE FUNCTION trap.glue(text, bigint) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap.glue() as %', current_user; END$$;
CREATE OPERATOR trap.|| (leftarg = text, rightarg = bigint, function = trap.glue);
SET search_path = trap, public;

-- a sensitive dataset with a key of varchar: its view, its check, its differences
SELECT inserted FROM datamill.cdc_merge('trap.s', $$SELECT 'a'::varchar(10) AS k, 'x' AS secret, 1 AS v$$, keys => '{k}', effective => '2026-01-01', options => '{"sensitive": ["secret"]}');
SELECT updated FROM datamill.cdc_merge('trap.s', $$SELECT 'a'::varchar(10) AS k, 'y' AS secret, 2 AS v$$, effective => '2026-01-02');
SELECT k, secret, v, valid FROM trap.s_sensitive_versions ORDER BY valid;
SELECT problem, key FROM datamill.check_dataset('trap.s');
SELECT * FROM datamill.cdc_diff('trap.s', '2026-01-01', '2026-01-02');
SELECT count(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_operator o ON o.oid = d.refobjid AND d.refclassid = 'pg_operator'::regclass
WHERE r.ev_class = 'trap.s_sensitive_versions'::regclass AND o.oprnamespace = 'trap'::regnamespace;
DELETE FROM trap.s_sensitive;
SELECT problem, key FROM datamill.check_dataset('trap.s');

-- the key type's own =, where it is not on the search_path
SELECT inserted FROM datamill.cdc_merge('trap.ci', $$SELECT 'A'::off_path.citext AS id, 1 AS v, 'p' AS secret$$, keys => '{id}', effective => '2026-01-01', options => '{"sensitive": ["secret"]}');
SELECT deleted FROM datamill.cdc_merge('trap.ci', $$SELECT 'B'::off_path.citext AS id, 1 AS v, 'p' AS secret$$, effective => '2026-01-02');
SELECT inserted FROM datamill.cdc_merge('trap.ci', $$SELECT 'a'::off_path.citext AS id, 2 AS v, 'p' AS secret$$, effective => '2026-01-03');
SELECT * FROM datamill.cdc_diff('trap.ci', '2026-01-01', '2026-01-03');
SELECT pg_get_viewdef('trap.ci_sensitive_versions') ~ 'OPERATOR\(off_path\.=\)' AS own_operator;

-- columns with names that queries might use
SELECT inserted FROM datamill.cdc_merge('trap.j', $$SELECT 1 AS id, '{"x": 1}'::jsonb AS c, 1 AS v$$, keys => '{id}', effective => '2026-01-01');
SELECT updated FROM datamill.cdc_merge('trap.j', $$SELECT 1 AS id, '{"x": 1}'::jsonb AS c, 2 AS v$$, effective => '2026-01-02');
SELECT * FROM datamill.cdc_diff('trap.j', '2026-01-01', '2026-01-02');
SELECT inserted FROM datamill.cdc_merge('trap.n', $$SELECT 1 AS since, 2 AS until, 3 AS next, 4 AS next_until, 5 AS version, 6 AS before, 7 AS after, 8 AS k1, 9 AS d, 10 AS h, 11 AS t, 12 AS merge, 13 AS v$$,
  keys => '{since,until,next,next_until,version,before,after,k1,d,h,t,merge}', effective => '2026-01-01');
SELECT updated FROM datamill.cdc_merge('trap.n', $$SELECT 1 AS since, 2 AS until, 3 AS next, 4 AS next_until, 5 AS version, 6 AS before, 7 AS after, 8 AS k1, 9 AS d, 10 AS h, 11 AS t, 12 AS merge, 14 AS v$$, effective => '2026-01-02');
SELECT * FROM datamill.check_dataset('trap.n');
SELECT operation, key, before -> 'v' AS before, after -> 'v' AS after FROM datamill.cdc_diff('trap.n', '2026-01-01', '2026-01-02');

-- generated columns are of current only
CREATE TABLE trap.g (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v * 2) STORED);
INSERT INTO trap.g VALUES (1, 1);
SELECT datamill.create_dataset('trap.g', '{id}', effective => '2026-01-01');
SELECT updated FROM datamill.cdc_merge('trap.g', 'SELECT 1 AS id, 2 AS v', effective => '2026-01-02');
SELECT updated FROM datamill.cdc_merge('trap.g', 'SELECT 1 AS id, 1 AS v', effective => '2026-01-03');
SELECT * FROM datamill.cdc_diff('trap.g', '2026-01-01', '2026-01-03');
SELECT * FROM datamill.cdc_diff('trap.g', '2026-01-01', '2026-01-02');

-- NULL in a key
SELECT inserted FROM datamill.cdc_merge('trap.z', 'SELECT * FROM (VALUES (1, 1), (NULL, 2)) v (id, v)', keys => '{id}', effective => '2026-01-01', options => '{"null_keys": "allow"}');
SELECT updated FROM datamill.cdc_merge('trap.z', 'SELECT * FROM (VALUES (1, 1), (NULL, 3)) v (id, v)', effective => '2026-01-02');
SELECT * FROM datamill.cdc_diff('trap.z', '2026-01-01', '2026-01-02');
SELECT * FROM datamill.check_dataset('trap.z');

-- a scope is one condition
SELECT * FROM datamill.cdc_plan('trap.j', 'SELECT 1 AS id, NULL::jsonb AS c, 1 AS v', effective => '2026-01-03', options => '{"scope": "*"}');
SELECT * FROM datamill.cdc_plan('trap.j', 'SELECT 1 AS id, NULL::jsonb AS c, 1 AS v', effective => '2026-01-03', options => '{"scope": "j.*"}');
SELECT * FROM datamill.cdc_plan('trap.j', 'SELECT 1 AS id, NULL::jsonb AS c, 1 AS v', effective => '2026-01-03', options => '{"scope": "j"}');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA trap CASCADE;
DROP SCHEMA off_path CASCADE;
