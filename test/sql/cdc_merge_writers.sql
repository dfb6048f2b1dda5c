-- A merge writes as any writer: triggers, generated columns, defaults, constraints, foreign keys, indexes, toast, rights.
SET client_min_messages = warning;
CREATE SCHEMA cdc_writers;
CREATE TABLE cdc_writers.src (id int, name text, qty int);
INSERT INTO cdc_writers.src VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3);
SELECT inserted FROM datamill.cdc_merge('cdc_writers.t', 'cdc_writers.src', keys => '{id}', effective => '2020-01-01');

-- generated column, check, index and a foreign key from another table
ALTER TABLE cdc_writers.t ADD COLUMN twice int GENERATED ALWAYS AS (qty * 2) STORED, ADD CHECK (qty < 100);
CREATE INDEX t_name_idx ON cdc_writers.t (name);
CREATE INDEX t_history_id_idx ON cdc_writers.t_history (id);
CREATE TABLE cdc_writers.child (t_id int REFERENCES cdc_writers.t);
UPDATE cdc_writers.src SET qty = 20, name = 'TWO' WHERE id = 2;
INSERT INTO cdc_writers.src VALUES (4, 'four', 4);
SELECT inserted, updated, unchanged FROM datamill.cdc_merge('cdc_writers.t', 'cdc_writers.src', effective => '2020-01-02');
SELECT id, name, qty, twice FROM cdc_writers.t ORDER BY id;
SET enable_seqscan = off;
SELECT id, name FROM cdc_writers.t WHERE name = 'TWO';
SELECT id, name FROM cdc_writers.t WHERE name = 'two';
SELECT id, name FROM cdc_writers.t_history WHERE id = 2;
RESET enable_seqscan;
INSERT INTO cdc_writers.child VALUES (3);
DELETE FROM cdc_writers.src WHERE id = 3;
SELECT datamill.cdc_merge('cdc_writers.t', 'cdc_writers.src', effective => '2020-01-03');
DELETE FROM cdc_writers.child;
INSERT INTO cdc_writers.src VALUES (5, 'five', 500);
\set VERBOSITY terse
SELECT datamill.cdc_merge('cdc_writers.t', 'cdc_writers.src', effective => '2020-01-03');
\set VERBOSITY default
UPDATE cdc_writers.src SET qty = 5 WHERE id = 5;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_writers.t', 'cdc_writers.src', effective => '2020-01-03');

-- row and statement triggers, before and after
CREATE TABLE cdc_writers.log (nr int GENERATED ALWAYS AS IDENTITY, what text);
CREATE FUNCTION cdc_writers.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO cdc_writers.log (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_WHEN, TG_OP, TG_LEVEL,
    CASE WHEN TG_LEVEL = 'ROW' AND TG_OP <> 'INSERT' THEN OLD.id END, CASE WHEN TG_LEVEL = 'ROW' AND TG_OP <> 'DELETE' THEN NEW.name END));
  IF TG_WHEN = 'BEFORE' AND TG_LEVEL = 'ROW' AND TG_OP <> 'DELETE' THEN
    NEW.name := NEW.name || '!';
    RETURN NEW;
  END IF;
  RETURN OLD;
END
$$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON cdc_writers.t FOR EACH ROW EXECUTE FUNCTION cdc_writers.note();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON cdc_writers.t FOR EACH ROW EXECUTE FUNCTION cdc_writers.note();
CREATE TRIGGER c AFTER INSERT OR UPDATE OR DELETE ON cdc_writers.t FOR EACH STATEMENT EXECUTE FUNCTION cdc_writers.note();
CREATE TRIGGER d AFTER INSERT ON cdc_writers.t_history FOR EACH ROW EXECUTE FUNCTION cdc_writers.note();
UPDATE cdc_writers.src SET name = 'uno' WHERE id = 1;
DELETE FROM cdc_writers.src WHERE id = 4;
INSERT INTO cdc_writers.src VALUES (6, 'six', 6);
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_writers.t', 'cdc_writers.src', effective => '2020-01-04');
SELECT what FROM cdc_writers.log ORDER BY nr;
SELECT id, name FROM cdc_writers.t ORDER BY id;
SELECT id, name, ended_by FROM cdc_writers.t_history ORDER BY eff_end_date, id;
DROP TRIGGER a ON cdc_writers.t;

-- values stored out of line survive an update of another column, in current and in history
CREATE TABLE cdc_writers.wide AS
SELECT i AS id, 0 AS n, string_agg(md5(i || '/' || j), '') AS doc FROM generate_series(1, 20) i, generate_series(1, 400) j GROUP BY i;
SELECT inserted FROM datamill.cdc_merge('cdc_writers.w', 'cdc_writers.wide', keys => '{id}', effective => '2020-01-01');
UPDATE cdc_writers.wide SET n = 1 WHERE id % 2 = 0;
UPDATE cdc_writers.wide SET doc = reverse(doc) WHERE id % 5 = 0;
DELETE FROM cdc_writers.wide WHERE id = 7;
CREATE TABLE cdc_writers.wide_before AS SELECT id, n, doc FROM cdc_writers.w;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_writers.w', 'cdc_writers.wide', effective => '2020-01-02');
SELECT count(*) AS same FROM cdc_writers.w JOIN cdc_writers.wide USING (id, n, doc);
SELECT count(*) AS same FROM cdc_writers.w_history JOIN cdc_writers.wide_before USING (id, n, doc);

-- odd names are quoted everywhere
SELECT inserted FROM datamill.cdc_merge('cdc_writers."Odd ""name"" é"', $$SELECT 1 AS "Key ""1""", 'x' AS "select", 2 AS "a b"$$,
  keys => ARRAY['Key "1"'], effective => '2020-01-01');
SELECT updated FROM datamill.cdc_merge('cdc_writers."Odd ""name"" é"', $$SELECT 1 AS "Key ""1""", 'y' AS "select", 2 AS "a b"$$,
  effective => '2020-01-02');
SELECT "Key ""1""", "select", "a b", operation, valid FROM cdc_writers."Odd ""name"" é_versions" ORDER BY eff_start_date;

DROP SCHEMA cdc_writers CASCADE;
