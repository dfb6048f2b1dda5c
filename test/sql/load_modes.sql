-- load() in modes replace and upsert, and into targets of every kind, compared with plain SQL.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA load_m;
SET search_path = load_m;
CREATE SERVER load_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'load_lake';
CREATE TABLE t (id int PRIMARY KEY, name text, amount numeric(10,2), note text DEFAULT 'none');
SELECT rows FROM datamill.load('s3://load/day/[ab].csv', 't');
UPDATE t SET note = 'kept';

-- upsert: rows of known keys change in place and keep what the source lacks
SELECT files, rows FROM datamill.load('s3://load/bad/upsert.csv', 't', 'upsert', '{id}');
SELECT * FROM t ORDER BY id;
SELECT files, files_skipped, rows FROM datamill.load('s3://load/bad/upsert.csv', 't', 'upsert', '{id}');
SELECT rows FROM datamill.load('SELECT 9 AS id', 't', 'upsert', '{id}');
SELECT datamill.load('s3://load/bad/twice.csv', 't', 'upsert', '{id}');
SELECT datamill.load('SELECT 6 AS id UNION ALL SELECT 6', 't', 'upsert', '{id}');
SELECT datamill.load('s3://load/bad/upsert.csv', 't', 'upsert', options => '{"force": true}');
SELECT datamill.load('s3://load/bad/upsert.csv', 't', 'upsert', '{name}', '{"force": true}');
SELECT datamill.load('s3://load/bad/upsert.csv', 't', 'upsert', '{note}', '{"force": true}');

-- replace: the table and its ledger are what the source holds, whatever was loaded before
SELECT files, files_skipped, rows FROM datamill.load('s3://load/day/a.csv', 't', 'replace');
SELECT files, files_skipped, rows FROM datamill.load('s3://load/day/a.csv', 't', 'replace');
SELECT * FROM t ORDER BY id;
SELECT key, rows FROM datamill.loaded_objects WHERE target = 't'::regclass ORDER BY key;

-- partitions, also directly
CREATE TABLE p (id int, name text, amount numeric, low boolean GENERATED ALWAYS AS (amount < 2) STORED) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (3);
CREATE TABLE p2 (amount numeric, dropped int, name text, id int, low boolean GENERATED ALWAYS AS (amount < 2) STORED);
ALTER TABLE p2 DROP dropped;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (3) TO (10);
SELECT files, rows FROM datamill.load('s3://load/day/[ab].csv', 'p');
SELECT tableoid::regclass, * FROM p ORDER BY id;
SELECT datamill.load('s3://load/day/b.csv', 'p1');
SELECT datamill.load('s3://load/bad/check.csv', 'p');

-- triggers: before (may leave rows out), after, of statements, with transition tables; foreign keys
CREATE TABLE r (id int, name text, amount numeric);
CREATE TABLE log (what text);
CREATE FUNCTION before_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN CASE WHEN NEW.id = 2 THEN NULL ELSE NEW END; END $$;
CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO load_m.log VALUES (TG_WHEN || ' ' || NEW.id); RETURN NULL; END $$;
CREATE FUNCTION after_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO load_m.log SELECT 'all ' || count(*) FROM new_rows; RETURN NULL; END $$;
CREATE TRIGGER a AFTER INSERT ON r FOR EACH ROW EXECUTE FUNCTION after_row();
SELECT rows FROM datamill.load('s3://load/day/b.csv', 'r');
CREATE TRIGGER b BEFORE INSERT ON r FOR EACH ROW EXECUTE FUNCTION before_row();
CREATE TRIGGER c AFTER INSERT ON r REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION after_all();
SELECT rows FROM datamill.load('s3://load/day/a.csv', 'r');
TABLE r ORDER BY id;
TABLE log ORDER BY what;
CREATE TABLE child (id int REFERENCES t, name text, amount numeric);
SELECT datamill.load('s3://load/day/[ab].csv', 'child');
CREATE VIEW v AS SELECT id, name FROM r;
SELECT rows FROM datamill.load('SELECT 50 AS id, ''view'' AS name', 'v');
SELECT * FROM r WHERE id = 50;

-- identity values of the source are kept, as COPY keeps them; the defaults of domains
CREATE DOMAIN positive AS int DEFAULT 7 NOT NULL CHECK (VALUE > 0);
CREATE TABLE d (id int GENERATED ALWAYS AS IDENTITY, name text, n positive, s serial);
SELECT rows FROM datamill.load('SELECT 40 AS id, ''forty'' AS name', 'd');
SELECT rows FROM datamill.load('SELECT ''first'' AS name UNION ALL SELECT ''second''', 'd');
SELECT * FROM d ORDER BY s;

-- JSON
CREATE TABLE j (id int, name text, tags text[]);
SELECT files, rows FROM datamill.load('s3://load/day/*.jsonl', 'j', options => '{"format": "jsonl"}');
TABLE j ORDER BY id;
CREATE TABLE k (no int GENERATED ALWAYS AS IDENTITY, id int, name text NOT NULL DEFAULT 'none', tags text[] DEFAULT '{x}');
SELECT files, rows FROM datamill.load('s3://load/day/*.jsonl', 'k', options => '{"format": "jsonl"}');
TABLE k ORDER BY id;
CREATE TRIGGER b BEFORE INSERT ON k FOR EACH ROW WHEN (false) EXECUTE FUNCTION before_row();
SELECT files, rows FROM datamill.load('s3://load/day/*.jsonl', 'k', options => '{"format": "jsonl", "force": true}');
TABLE k ORDER BY no;

-- rights
CREATE ROLE load_user;
GRANT USAGE ON SCHEMA load_m TO load_user;
GRANT SELECT ON log TO load_user;
SET ROLE load_user;
SELECT datamill.load('log', 'child');
RESET ROLE;
GRANT INSERT (id, name) ON child TO load_user;
SET ROLE load_user;
SELECT rows FROM datamill.load('SELECT 1 AS id, ''x'' AS name', 'child');
SELECT datamill.load('SELECT 1 AS id, 2 AS amount', 'child');
SELECT datamill.load('SELECT 1 AS id, ''x'' AS name', 'child', 'replace');
SELECT datamill.load('s3://load/day/a.csv', 'child');
SELECT count(*) FROM datamill.loaded_objects;
SELECT * FROM datamill.load_catalog;
RESET ROLE;
ALTER TABLE child ENABLE ROW LEVEL SECURITY;
SET ROLE load_user;
SELECT datamill.load('SELECT 1 AS id', 'child');
RESET ROLE;
DROP SCHEMA load_m CASCADE;
DROP SERVER load_lake;
DROP ROLE load_user;
