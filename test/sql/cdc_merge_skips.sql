-- What triggers do to a merge: rows that they skip, move, or change under it.
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
CREATE SCHEMA cdc_skips;
CREATE FUNCTION cdc_skips.skip() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end';

-- a version that history does not take: an error, for it would be nowhere
SELECT inserted FROM datamill.cdc_merge('cdc_skips.h', 'SELECT i AS id, i AS v FROM generate_series(1, 3) i', keys => '{id}', effective => '2020-01-01');
CREATE TRIGGER s BEFORE INSERT ON cdc_skips.h_history FOR EACH ROW EXECUTE FUNCTION cdc_skips.skip();
SELECT datamill.cdc_merge('cdc_skips.h', 'SELECT i AS id, 0 AS v FROM generate_series(1, 3) i', effective => '2020-01-02');
\echo :SQLSTATE
SELECT datamill.cdc_merge('cdc_skips.h', 'SELECT 1 AS id, 1 AS v', effective => '2020-01-02');
\echo :SQLSTATE
SELECT id, v FROM cdc_skips.h ORDER BY id;

-- a row that moves to a partition that does not take it
CREATE TABLE cdc_skips.p (id int NOT NULL, r text, v int) PARTITION BY LIST (r);
CREATE TABLE cdc_skips.pa PARTITION OF cdc_skips.p FOR VALUES IN ('a');
CREATE TABLE cdc_skips.pb PARTITION OF cdc_skips.p FOR VALUES IN ('b');
INSERT INTO cdc_skips.p VALUES (1, 'a', 1), (2, 'a', 2), (3, 'b', 3);
SELECT datamill.create_dataset('cdc_skips.p', '{id}', effective => '2020-01-01', options => '{"adopt": true}');
CREATE TRIGGER s BEFORE INSERT ON cdc_skips.pb FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION cdc_skips.skip();
SELECT datamill.cdc_merge('cdc_skips.p', $$SELECT * FROM (VALUES (1, 'b', 5), (2, 'b', 5), (3, 'b', 3)) s (id, r, v)$$, effective => '2020-01-02');
\echo :SQLSTATE
SELECT tableoid::regclass AS partition, id, v FROM cdc_skips.p ORDER BY id;
DROP TRIGGER s ON cdc_skips.pb;
-- one that the partition it leaves keeps stays as it is
CREATE TRIGGER s BEFORE DELETE ON cdc_skips.pa FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION cdc_skips.skip();
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_skips.p', $$SELECT * FROM (VALUES (1, 'b', 5), (2, 'b', 5), (3, 'b', 3)) s (id, r, v)$$, effective => '2020-01-02');
SELECT tableoid::regclass AS partition, id, v FROM cdc_skips.p ORDER BY id;
DROP TRIGGER s ON cdc_skips.pa;

-- a trigger that sets the partition key moves the row, as under UPDATE, and fires once
CREATE FUNCTION cdc_skips.route() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.r := CASE WHEN NEW.v >= 100 THEN 'b' ELSE 'a' END;
  NEW.v := NEW.v + 1;
  RETURN NEW;
END
$$;
CREATE TRIGGER r BEFORE UPDATE ON cdc_skips.p FOR EACH ROW EXECUTE FUNCTION cdc_skips.route();
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_skips.p', $$SELECT * FROM (VALUES (1, 'a', 100), (2, 'a', 7), (3, 'a', 200)) s (id, r, v)$$, effective => '2020-01-03');
SELECT tableoid::regclass AS partition, id, r, v FROM cdc_skips.p ORDER BY id;
SELECT id, r, v, valid FROM cdc_skips.p_versions ORDER BY id, valid;
DROP TRIGGER r ON cdc_skips.p;
SELECT removed, restored FROM datamill.cdc_undo('cdc_skips.p');
SELECT tableoid::regclass AS partition, id, r, v FROM cdc_skips.p ORDER BY id;

-- rows that the source or a trigger changes under the merge
SELECT inserted FROM datamill.cdc_merge('cdc_skips.c', 'SELECT i AS id, i AS v FROM generate_series(1, 3) i', keys => '{id}', effective => '2020-01-01');
CREATE FUNCTION cdc_skips.meddle(id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  UPDATE cdc_skips.c SET v = 50 WHERE c.id = meddle.id + 1;
  RETURN 100;
END
$$;
SELECT datamill.cdc_merge('cdc_skips.c', 'SELECT i AS id, cdc_skips.meddle(i) AS v FROM generate_series(1, 3) i', effective => '2020-01-02');
\echo :SQLSTATE
CREATE FUNCTION cdc_skips.drop_it(id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM cdc_skips.c WHERE c.id = 3;
  RETURN 100;
END
$$;
SELECT datamill.cdc_merge('cdc_skips.c', 'SELECT i AS id, cdc_skips.drop_it(i) AS v FROM generate_series(1, 2) i', effective => '2020-01-02');
\echo :SQLSTATE
CREATE FUNCTION cdc_skips.others() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_trigger_depth() = 1 THEN
    UPDATE cdc_skips.c SET v = v + 1 WHERE id <> OLD.id;
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER o BEFORE UPDATE ON cdc_skips.c FOR EACH ROW EXECUTE FUNCTION cdc_skips.others();
SELECT datamill.cdc_merge('cdc_skips.c', 'SELECT i AS id, 100 AS v FROM generate_series(1, 3) i', effective => '2020-01-02');
\echo :SQLSTATE
DROP TRIGGER o ON cdc_skips.c;
SELECT id, v FROM cdc_skips.c ORDER BY id;

-- in a feed every event counts
SELECT inserted FROM datamill.cdc_merge('cdc_skips.f', 'SELECT 1 AS id, 1 AS v, 1::bigint AS seq', keys => '{id}', mode => 'feed', options => '{"sequence_column": "seq"}');
CREATE TRIGGER s BEFORE INSERT OR UPDATE OR DELETE ON cdc_skips.f FOR EACH ROW EXECUTE FUNCTION cdc_skips.skip();
SELECT datamill.cdc_merge('cdc_skips.f', 'SELECT 1 AS id, 2 AS v, 2::bigint AS seq', mode => 'feed', options => '{"sequence_column": "seq"}');
\echo :SQLSTATE
SELECT datamill.cdc_merge('cdc_skips.f', 'SELECT 2 AS id, 2 AS v, 2::bigint AS seq', mode => 'feed', options => '{"sequence_column": "seq"}');
\echo :SQLSTATE
SELECT datamill.cdc_undo('cdc_skips.f');
\echo :SQLSTATE
SELECT id, v FROM cdc_skips.f ORDER BY id;

DROP SCHEMA cdc_skips CASCADE;
