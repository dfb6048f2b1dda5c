-- COPY FROM's WHERE, FREEZE and file:// URLs, and how targets behave, beside COPY of the same file.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
SET client_min_messages = warning;
CREATE SCHEMA copy_f;
SET search_path = copy_f;
CREATE SERVER copy_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'copy_lake';
LOAD 'datamill';
\set file :buckets '/load/day/a.csv'
\set url 'file://' :buckets '/load/day/a.csv'

-- Both ways into a table of each kind: the same rows, the same triggers, the same count.
CREATE TABLE log (side text, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO copy_f.log VALUES (left(TG_TABLE_NAME, 4), format('%s %s %s', TG_WHEN, TG_LEVEL, CASE WHEN TG_LEVEL = 'ROW' THEN NEW.id END));
  IF TG_LEVEL = 'ROW' AND TG_WHEN = 'BEFORE' AND NEW.id = 2 THEN RETURN NULL; END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION beside(setup text, options text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  side text;
  counts bigint[];
  n bigint;
  result text;
BEGIN
  FOREACH side IN ARRAY '{ours,core}'::text[] LOOP
    EXECUTE format('CREATE TABLE %s (id int CHECK (id > 0), name text, amount numeric, note text DEFAULT ''none'', no int %s,'
      ' twice numeric GENERATED ALWAYS AS (amount * 2) STORED) %s', side,
      -- rows that a WHERE leaves out take no number where rows are staged
      CASE WHEN options = '' OR setup !~ '^PARTITION|BEFORE.*ROW' THEN 'GENERATED ALWAYS AS IDENTITY' END, CASE WHEN setup LIKE 'PARTITION%' THEN setup END);
    IF setup LIKE 'PARTITION%' THEN
      EXECUTE format('CREATE TABLE %s_1 PARTITION OF %1$s FOR VALUES IN (1, 2)', side);
      -- a partition whose columns stand in another order
      EXECUTE format('CREATE TABLE %s_2 (gone int, note text DEFAULT ''part'', twice numeric GENERATED ALWAYS AS (amount * 2) STORED, name text, no int %s,'
        ' amount numeric, id int, CONSTRAINT %1$s_id_check CHECK (id > 0))', side, CASE WHEN options = '' THEN 'NOT NULL' END);
      EXECUTE format('ALTER TABLE %s_2 DROP COLUMN gone', side);
      EXECUTE format('ALTER TABLE %s ATTACH PARTITION %1$s_2 DEFAULT', side);
    ELSE
      EXECUTE replace(setup, 'TARGET', side);
    END IF;
    EXECUTE format('COPY %s (id, name, amount) FROM %L WITH (FORMAT csv, HEADER) %s', side,
      CASE side WHEN 'ours' THEN current_setting('test.url') ELSE current_setting('test.file') END, options);
    GET DIAGNOSTICS n = ROW_COUNT;
    counts := counts || n;
  END LOOP;
  EXECUTE '(SELECT format(''%s rows'', count(*)) FROM ours)' INTO result;
  EXECUTE 'SELECT $1 || format('', %s differ'', count(*)) FROM ((TABLE ours EXCEPT ALL TABLE core) UNION ALL (TABLE core EXCEPT ALL TABLE ours)) x' USING result INTO result;
  SELECT result || format(', triggers %s', coalesce(string_agg(what, ', ' ORDER BY what), 'none')) INTO result FROM log WHERE log.side = 'ours';
  SELECT result || format(', %s differ', count(*)) INTO result FROM ((SELECT what FROM log WHERE log.side = 'ours' EXCEPT ALL SELECT what FROM log WHERE log.side = 'core')
    UNION ALL (SELECT what FROM log WHERE log.side = 'core' EXCEPT ALL SELECT what FROM log WHERE log.side = 'ours')) x;
  TRUNCATE log;
  DROP TABLE ours, core CASCADE;
  RETURN result || CASE WHEN counts[1] = counts[2] THEN format(', COPY %s', counts[1]) ELSE format(', COPY %s and %s', counts[1], counts[2]) END;
END $$;
SELECT set_config('test.url', :'url', false) <> set_config('test.file', :'file', false) AS ok;
\set before 'CREATE TRIGGER a BEFORE INSERT ON TARGET FOR EACH ROW EXECUTE FUNCTION copy_f.note()'
\set after 'CREATE TRIGGER a AFTER INSERT ON TARGET FOR EACH ROW EXECUTE FUNCTION copy_f.note()'
\set each 'CREATE TRIGGER a BEFORE INSERT ON TARGET EXECUTE FUNCTION copy_f.note(); CREATE TRIGGER b AFTER INSERT ON TARGET EXECUTE FUNCTION copy_f.note()'
SELECT beside('');
SELECT beside(:'before');
SELECT beside(:'after');
SELECT beside(:'each');
SELECT beside('PARTITION BY LIST (id)');
SELECT beside('ALTER TABLE TARGET ADD PRIMARY KEY (id); CREATE INDEX ON TARGET (lower(name))');
SELECT beside('ALTER TABLE TARGET DROP COLUMN twice; ALTER TABLE TARGET ADD x int DEFAULT 7, ALTER amount TYPE float8');
-- WHERE: over columns that are given and over defaults, before triggers
SELECT beside('', 'WHERE id <> 2');
SELECT beside('', 'WHERE note = ''none'' AND amount > 2');
SELECT beside('', 'WHERE note IS NULL');
SELECT beside('', 'WHERE NULL');
SELECT beside(:'before', 'WHERE id > 1 AND note = ''none''');
SELECT beside(:'after', 'WHERE id > 1');
SELECT beside(:'each', 'WHERE false');
SELECT beside('PARTITION BY LIST (id)', 'WHERE name IS NOT NULL AND note = ''none''');
CREATE TABLE g (id int, name text, amount numeric, twice numeric GENERATED ALWAYS AS (amount * 2) STORED);
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE twice > 1;
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE g IS NOT NULL;
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE id IN (SELECT 1);
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE id;
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE none = 1;
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE xmin IS NULL;
COPY g FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE 1 / (id - 2) > 0;
-- what is no table; a view with an INSTEAD OF trigger is one, with its own defaults
CREATE VIEW v AS SELECT id, name, amount FROM g;
CREATE MATERIALIZED VIEW mv AS TABLE v;
CREATE SEQUENCE s;
COPY v FROM 's3://load/day/a.csv' (FORMAT csv, HEADER);
COPY mv FROM 's3://load/day/a.csv' (FORMAT csv, HEADER);
COPY s FROM 's3://load/day/a.csv' (FORMAT csv, HEADER);
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO copy_f.g VALUES (NEW.id, NEW.name, NEW.amount); RETURN NEW; END $$;
CREATE TRIGGER a INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION instead();
ALTER VIEW v ALTER amount SET DEFAULT 7;
COPY v (id, name) FROM 's3://load/bad/lacks.csv' (FORMAT csv, HEADER) WHERE amount = 7;
TABLE g;
-- what the table's own functions try to do to it meanwhile
CREATE TABLE m (id int, name text, amount numeric, n int);
CREATE FUNCTION meanwhile() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE current_setting('test.what'); RETURN 1; END $$;
ALTER TABLE m ALTER n SET DEFAULT meanwhile();
SET test.what = 'ALTER TABLE copy_f.m DROP COLUMN name';
COPY m (id, name, amount) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER);
SET test.what = 'DROP TABLE copy_f.m';
COPY m (id, name, amount) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER) WHERE meanwhile() = 1;
SET test.what = 'TRUNCATE copy_f.m';
COPY m (id, name, amount) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER);
CREATE TABLE t (id int, name text, amount numeric, at float8 DEFAULT random()) PARTITION BY LIST (id);
CREATE TABLE t1 PARTITION OF t DEFAULT;
COPY t (id, name, amount) FROM :'url' (FORMAT csv, HEADER) WHERE at < 2;
COPY t (id, name, amount) FROM :'url' (FORMAT csv, HEADER) WHERE t IS NOT NULL;
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER) WHERE at < 2 AND t1 IS NOT NULL;
SELECT count(*) FROM t;
CREATE ROLE copy_user;
GRANT USAGE ON SCHEMA copy_f TO copy_user;
GRANT USAGE ON FOREIGN SERVER copy_lake TO copy_user;
GRANT INSERT ON t1 TO copy_user;
GRANT SELECT (name) ON t1 TO copy_user;
SET ROLE copy_user;
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER) WHERE id = 1;
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER) WHERE name IS NULL;
RESET ROLE;
SELECT count(*) FROM t;
ALTER TABLE t1 ENABLE ROW LEVEL SECURITY;
SET ROLE copy_user;
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER);
RESET ROLE;

-- FREEZE: only of a table that this transaction made or emptied
COPY t (id, name, amount) FROM :'url' (FORMAT csv, HEADER, FREEZE);
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER, FREEZE);
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER, FREEZE false);
CREATE EXTENSION IF NOT EXISTS pageinspect;
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1), (2), (3);
BEGIN;
CREATE TABLE frozen (id int REFERENCES parent, name text, amount numeric);
COPY frozen FROM :'url' (FORMAT csv, HEADER, FREEZE);
SAVEPOINT a;
COPY frozen FROM :'url' (FORMAT csv, HEADER, FREEZE);
ROLLBACK TO a;
COMMIT;
SELECT lp, (SELECT combined_flags FROM heap_tuple_infomask_flags(t_infomask, t_infomask2)) FROM heap_page_items(get_raw_page('copy_f.frozen', 0)) ORDER BY lp;
BEGIN;
TRUNCATE frozen;
DELETE FROM parent WHERE id = 2;
COPY frozen FROM :'url' (FORMAT csv, HEADER, FREEZE);
ROLLBACK;
BEGIN;
CREATE TABLE triggered (id int, name text, amount numeric);
CREATE TRIGGER a BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION note();
COPY triggered FROM :'url' (FORMAT csv, HEADER, FREEZE);
ROLLBACK;

-- file:// URLs: only below the endpoint of a server; nothing leads out of it
COPY t1 (id, name, amount) FROM 'file:///etc/passwd' (FORMAT csv);
\set VERBOSITY terse
\set outside 'file://' :buckets '/load/../load/day/a.csv'
COPY t1 (id, name, amount) FROM :'outside' (FORMAT csv, HEADER);
\set VERBOSITY default
CREATE SERVER copy_other FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file:///nowhere');
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER);
\set VERBOSITY sqlstate
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER, server 'copy_other');
CREATE SERVER copy_same FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER);
\set VERBOSITY default
COPY t1 (id, name, amount) FROM :'url' (FORMAT csv, HEADER, server 'copy_same', ledger true);
SELECT key, rows FROM datamill.loaded_objects WHERE target = 'copy_f.t1'::regclass;
DROP EXTENSION pageinspect;
DROP SCHEMA copy_f CASCADE;
DROP SERVER copy_lake, copy_other, copy_same;
DROP ROLE copy_user;
