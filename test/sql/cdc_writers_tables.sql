-- A merge writes as any writer: transition tables, foreign keys, BEFORE triggers that skip, exclusion, unlogged, tablespaces, row-level security.
SET client_min_messages = warning;
CREATE SCHEMA cdc_wt;
CREATE TABLE cdc_wt.src (id int, name text, qty int);
INSERT INTO cdc_wt.src VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
SELECT inserted FROM datamill.cdc_merge('cdc_wt.t', 'cdc_wt.src', keys => '{id}', effective => '2020-01-01');

-- transition tables: what statement triggers see of a merge is what they see of the same INSERT, UPDATE and DELETE
CREATE TABLE cdc_wt.log (nr int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION cdc_wt.note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  seen text := '';
BEGIN
  IF TG_OP <> 'INSERT' THEN seen := (SELECT coalesce(string_agg(id || ' ' || name, ', ' ORDER BY id), 'none') FROM o); END IF;
  seen := seen || ' -> ';
  IF TG_OP <> 'DELETE' THEN seen := seen || (SELECT coalesce(string_agg(id || ' ' || name, ', ' ORDER BY id), 'none') FROM n); END IF;
  INSERT INTO cdc_wt.log (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_OP, seen));
  RETURN NULL;
END
$$;
CREATE TRIGGER i AFTER INSERT ON cdc_wt.t REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION cdc_wt.note();
CREATE TRIGGER u AFTER UPDATE ON cdc_wt.t REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION cdc_wt.note();
CREATE TRIGGER d AFTER DELETE ON cdc_wt.t REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION cdc_wt.note();
CREATE TRIGGER h AFTER INSERT ON cdc_wt.t_history REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION cdc_wt.note();
CREATE TABLE cdc_wt.src2 AS SELECT * FROM cdc_wt.src WHERE id < 3;
UPDATE cdc_wt.src2 SET name = 'TWO' WHERE id = 2;
INSERT INTO cdc_wt.src2 VALUES (4, 'four', 4), (5, 'five', 5);
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_wt.t', 'cdc_wt.src2', effective => '2020-01-02');
SELECT what FROM cdc_wt.log ORDER BY nr;
TRUNCATE cdc_wt.log;
BEGIN;
INSERT INTO cdc_wt.t SELECT id + 10, name, qty, operation, eff_start_date, merge_id, key_hash, row_hash FROM cdc_wt.t WHERE id > 3;
UPDATE cdc_wt.t SET name = upper(name) WHERE id = 14;
DELETE FROM cdc_wt.t WHERE id = 15;
SELECT what FROM cdc_wt.log ORDER BY nr;
ROLLBACK;
TRUNCATE cdc_wt.log;
-- what a BEFORE trigger changes or skips: a row that is skipped keeps its version, and no other comes
CREATE FUNCTION cdc_wt.skip() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(NEW.id, OLD.id) % 2 = 0 THEN RETURN NULL; END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  NEW.name := NEW.name || '!';
  RETURN NEW;
END
$$;
CREATE TRIGGER s BEFORE INSERT OR UPDATE OR DELETE ON cdc_wt.t FOR EACH ROW EXECUTE FUNCTION cdc_wt.skip();
DELETE FROM cdc_wt.src2 WHERE id IN (4, 5);
UPDATE cdc_wt.src2 SET name = upper(name) || 's';
INSERT INTO cdc_wt.src2 VALUES (6, 'six', 6), (7, 'seven', 7);
SELECT inserted, updated, deleted, unchanged, missing FROM datamill.cdc_merge('cdc_wt.t', 'cdc_wt.src2', effective => '2020-01-03');
SELECT id, name, eff_start_date, eff_end_date FROM cdc_wt.t_versions ORDER BY id, eff_start_date;
SELECT what FROM cdc_wt.log ORDER BY nr;
SELECT problem, key FROM datamill.check_dataset('cdc_wt.t') WHERE problem <> 'edited by hand';
SELECT removed, restored FROM datamill.cdc_undo('cdc_wt.t');
DROP TRIGGER s ON cdc_wt.t;
DROP TRIGGER i ON cdc_wt.t;
DROP TRIGGER u ON cdc_wt.t;
DROP TRIGGER d ON cdc_wt.t;

-- foreign keys: from current (deferred and not) and to it (restrict, cascade, set null)
CREATE TABLE cdc_wt.parent (qty int PRIMARY KEY);
INSERT INTO cdc_wt.parent SELECT generate_series(1, 9);
SELECT inserted FROM datamill.cdc_merge('cdc_wt.f', 'cdc_wt.src', keys => '{id}', effective => '2020-01-01');
ALTER TABLE cdc_wt.f ADD CONSTRAINT f_parent FOREIGN KEY (qty) REFERENCES cdc_wt.parent DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE cdc_wt.cascading (f int REFERENCES cdc_wt.f ON DELETE CASCADE);
CREATE TABLE cdc_wt.nulling (f int REFERENCES cdc_wt.f ON DELETE SET NULL);
CREATE TABLE cdc_wt.restricting (f int REFERENCES cdc_wt.f ON DELETE RESTRICT);
INSERT INTO cdc_wt.cascading VALUES (1), (3);
INSERT INTO cdc_wt.nulling VALUES (1), (3);
INSERT INTO cdc_wt.restricting VALUES (3);
SELECT datamill.cdc_merge('cdc_wt.f', 'SELECT * FROM cdc_wt.src WHERE id < 3', effective => '2020-01-02');
DELETE FROM cdc_wt.restricting;
SELECT deleted FROM datamill.cdc_merge('cdc_wt.f', 'SELECT * FROM cdc_wt.src WHERE id < 3', effective => '2020-01-02');
SELECT * FROM cdc_wt.cascading ORDER BY 1;
SELECT * FROM cdc_wt.nulling ORDER BY 1;
BEGIN;
SELECT inserted FROM datamill.cdc_merge('cdc_wt.f', $$SELECT * FROM cdc_wt.src WHERE id < 3 UNION ALL SELECT 8, 'eight', 80$$, effective => '2020-01-03');
INSERT INTO cdc_wt.parent VALUES (80);
COMMIT;
SELECT updated FROM datamill.cdc_merge('cdc_wt.f', $$SELECT 8 AS id, 'eight' AS name, 90 AS qty$$, effective => '2020-01-04', mode => 'delta');
SELECT id, qty FROM cdc_wt.f ORDER BY id;

-- exclusion and deferred unique constraints hold for each row, or at the end
SELECT inserted FROM datamill.cdc_merge('cdc_wt.x', $$SELECT 1 AS id, int4range(1, 5) AS r, 1 AS pos UNION ALL SELECT 2, int4range(5, 9), 2$$,
  keys => '{id}', effective => '2020-01-01');
ALTER TABLE cdc_wt.x ADD CONSTRAINT apart EXCLUDE USING gist (r WITH &&), ADD CONSTRAINT pos UNIQUE (pos) DEFERRABLE INITIALLY DEFERRED;
SELECT datamill.cdc_merge('cdc_wt.x', $$SELECT 3 AS id, int4range(4, 6) AS r, 3 AS pos$$, effective => '2020-01-02', mode => 'delta');
SELECT updated FROM datamill.cdc_merge('cdc_wt.x', $$SELECT 1 AS id, int4range(1, 5) AS r, 2 AS pos UNION ALL SELECT 2, int4range(5, 9), 1$$, effective => '2020-01-02');
SELECT id, pos FROM cdc_wt.x ORDER BY id;

-- unlogged, and in a tablespace
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE cdc_wt_space LOCATION '';
CREATE UNLOGGED TABLE cdc_wt.un (id int PRIMARY KEY, name text, qty int) TABLESPACE cdc_wt_space;
SELECT datamill.create_dataset('cdc_wt.un', '{id}') IS NOT NULL AS adopted;
SELECT inserted FROM datamill.cdc_merge('cdc_wt.un', 'cdc_wt.src', effective => '2100-01-01');
SELECT deleted FROM datamill.cdc_merge('cdc_wt.un', 'SELECT * FROM cdc_wt.src WHERE id > 1', effective => '2100-01-02');
SELECT relname, relpersistence, spcname FROM pg_class LEFT JOIN pg_tablespace s ON s.oid = reltablespace
  WHERE relname IN ('un', 'un_history') AND relnamespace = 'cdc_wt'::regnamespace ORDER BY relname;

-- row-level security: the owner and BYPASSRLS write as if it were not there; whom policies hold back is told so
CREATE ROLE cdc_wt_bound;
CREATE ROLE cdc_wt_free BYPASSRLS;
GRANT USAGE ON SCHEMA cdc_wt TO cdc_wt_bound, cdc_wt_free;
GRANT ALL ON ALL TABLES IN SCHEMA cdc_wt TO cdc_wt_bound, cdc_wt_free;
ALTER TABLE cdc_wt.f ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON cdc_wt.f USING (id < 5);
SET ROLE cdc_wt_bound;
SELECT datamill.cdc_merge('cdc_wt.f', 'SELECT * FROM cdc_wt.src', effective => '2020-01-05');
SELECT rows FROM datamill.cdc_plan('cdc_wt.f', 'SELECT * FROM cdc_wt.src', effective => '2020-01-05');
RESET ROLE;
SET ROLE cdc_wt_free;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_wt.f', 'SELECT * FROM cdc_wt.src', effective => '2020-01-05');
RESET ROLE;
DROP SCHEMA cdc_wt CASCADE;
DROP TABLESPACE cdc_wt_space;
DROP ROLE cdc_wt_bound, cdc_wt_free;
