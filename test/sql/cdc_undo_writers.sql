-- cdc_undo writes as the merge did: rows that it updated are updated back, foreign keys and triggers see that; a row that a trigger skips,
-- and versions that are not in history any more, are errors that leave all as it was.
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
CREATE SCHEMA cdc_undow;
CREATE FUNCTION cdc_undow.skip() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end';
CREATE FUNCTION cdc_undow.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO cdc_undow.log (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_OP, CASE WHEN TG_OP <> 'INSERT' THEN OLD.id END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.id END));
  RETURN NULL;
END
$$;
CREATE TABLE cdc_undow.log (nr int GENERATED ALWAYS AS IDENTITY, what text);

-- the row that was updated is updated, the one that came goes, the one that went comes: foreign keys and triggers see just that
SELECT inserted FROM datamill.cdc_merge('cdc_undow.t', 'SELECT i AS id, i AS v, i AS secret FROM generate_series(1, 4) i', keys => '{id}', effective => '2020-01-01',
  options => '{"sensitive": ["secret"]}');
CREATE TABLE cdc_undow.cascaded (t_id int REFERENCES cdc_undow.t ON DELETE CASCADE);
CREATE TABLE cdc_undow.emptied (t_id int REFERENCES cdc_undow.t ON DELETE SET NULL);
CREATE TABLE cdc_undow.restricted (t_id int REFERENCES cdc_undow.t ON DELETE RESTRICT);
CREATE TABLE cdc_undow.s_cascaded (t_id int REFERENCES cdc_undow.t_sensitive ON DELETE CASCADE);
INSERT INTO cdc_undow.cascaded SELECT id FROM cdc_undow.t WHERE id <= 3;
INSERT INTO cdc_undow.emptied SELECT id FROM cdc_undow.t WHERE id <= 3;
INSERT INTO cdc_undow.restricted SELECT id FROM cdc_undow.t WHERE id <= 3;
INSERT INTO cdc_undow.s_cascaded SELECT id FROM cdc_undow.t WHERE id <= 3;
CREATE TABLE cdc_undow.before AS SELECT * FROM cdc_undow.t;
CREATE TABLE cdc_undow.s_before AS SELECT * FROM cdc_undow.t_sensitive;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_undow.t',
  'SELECT i AS id, CASE i WHEN 3 THEN 3 ELSE i + 10 END AS v, i + CASE i WHEN 3 THEN 0 ELSE 20 END AS secret FROM unnest(ARRAY[1, 2, 3, 5]) i', effective => '2020-01-02');
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON cdc_undow.t FOR EACH ROW EXECUTE FUNCTION cdc_undow.note();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON cdc_undow.t_sensitive FOR EACH ROW EXECUTE FUNCTION cdc_undow.note();
SELECT removed, restored FROM datamill.cdc_undo('cdc_undow.t');
SELECT what FROM cdc_undow.log ORDER BY what;
SELECT (SELECT count(*) FROM cdc_undow.cascaded) AS cascaded, (SELECT count(t_id) FROM cdc_undow.emptied) AS emptied,
       (SELECT count(*) FROM cdc_undow.restricted) AS restricted, (SELECT count(*) FROM cdc_undow.s_cascaded) AS s_cascaded;
(SELECT 1, b::text FROM cdc_undow.before b EXCEPT SELECT 1, t::text FROM cdc_undow.t t) UNION ALL (SELECT 2, t::text FROM cdc_undow.t t EXCEPT SELECT 2, b::text FROM cdc_undow.before b);
(SELECT 1, b::text FROM cdc_undow.s_before b EXCEPT SELECT 1, t::text FROM cdc_undow.t_sensitive t) UNION ALL (SELECT 2, t::text FROM cdc_undow.t_sensitive t EXCEPT SELECT 2, b::text FROM cdc_undow.s_before b);
SELECT count(*) FROM cdc_undow.t_history;
SELECT * FROM datamill.check_dataset('cdc_undow.t');
-- restate does the same
SELECT updated FROM datamill.cdc_merge('cdc_undow.t', 'SELECT i AS id, i * 2 AS v, i AS secret FROM generate_series(1, 4) i', effective => '2020-01-02');
SELECT updated FROM datamill.cdc_restate('cdc_undow.t', 'SELECT i AS id, i * 3 AS v, i AS secret FROM generate_series(1, 4) i', effective => '2020-01-02');
SELECT (SELECT count(*) FROM cdc_undow.cascaded) AS cascaded, (SELECT count(t_id) FROM cdc_undow.emptied) AS emptied;
SELECT id, v, valid FROM cdc_undow.t_versions ORDER BY id, valid;

-- values that are unique besides the key pass from row to row and back
SELECT inserted FROM datamill.cdc_merge('cdc_undow.u', 'SELECT i AS id, 10 * i AS place FROM generate_series(1, 5) i', keys => '{id}', effective => '2020-01-01');
ALTER TABLE cdc_undow.u ADD UNIQUE (place);
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_undow.u', 'SELECT i AS id, CASE i WHEN 6 THEN 50 ELSE 10 * i - 10 END AS place FROM unnest(ARRAY[1, 2, 3, 6]) i', effective => '2020-01-02');
SELECT removed, restored FROM datamill.cdc_undo('cdc_undow.u');
SELECT id, place FROM cdc_undow.u ORDER BY id;

-- a row that a trigger skips
SELECT inserted FROM datamill.cdc_merge('cdc_undow.k', 'SELECT i AS id, i AS v FROM generate_series(1, 3) i', keys => '{id}', effective => '2020-01-01');
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_undow.k', 'SELECT i AS id, i * 2 AS v FROM generate_series(2, 4) i', effective => '2020-01-02');
CREATE FUNCTION cdc_undow.try(events text, tab text, OUT state text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('CREATE TRIGGER s BEFORE %s ON cdc_undow.%I FOR EACH ROW EXECUTE FUNCTION cdc_undow.skip()', events, tab);
  PERFORM datamill.cdc_undo('cdc_undow.k');
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END
$$;
SELECT e, r.* FROM (VALUES ('INSERT'), ('UPDATE'), ('DELETE')) v (e), cdc_undow.try(e, 'k') r ORDER BY e;
SELECT r.* FROM cdc_undow.try('DELETE', 'k_history') r;
SELECT id, v, valid FROM cdc_undow.k_versions ORDER BY id, valid;

-- versions that prune_history took out, and versions that it did not
SELECT inserted FROM datamill.cdc_merge('cdc_undow.p', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2020-01-01');
SELECT * FROM datamill.prune_history('cdc_undow.p', '2020-01-05');
SELECT updated FROM datamill.cdc_merge('cdc_undow.p', 'SELECT 1 AS id, 2 AS v', effective => '2020-01-05');
SELECT removed, restored FROM datamill.cdc_undo('cdc_undow.p');
SELECT updated FROM datamill.cdc_merge('cdc_undow.p', 'SELECT 1 AS id, 2 AS v', effective => '2020-01-05');
SELECT * FROM datamill.prune_history('cdc_undow.p', '2020-01-05');
SELECT datamill.cdc_undo('cdc_undow.p');
SELECT id, v, valid FROM cdc_undow.p_versions ORDER BY id, valid;

-- the date of an adoption can be restated: its rows stay, the source is merged over them
CREATE TABLE cdc_undow.a (id int PRIMARY KEY, v int);
INSERT INTO cdc_undow.a VALUES (1, 1), (2, 2), (3, 3);
SELECT datamill.create_dataset('cdc_undow.a', '{id}', effective => '2020-01-01');
SELECT updated FROM datamill.cdc_merge('cdc_undow.a', 'SELECT 1 AS id, 7 AS v', effective => '2020-01-01', mode => 'delta');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_restate('cdc_undow.a', 'SELECT * FROM (VALUES (1, 10), (2, 2), (4, 4)) s (id, v)', effective => '2020-01-01');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_restate('cdc_undow.a', 'SELECT * FROM (VALUES (1, 11), (2, 2)) s (id, v)', effective => '2020-01-01');
SELECT id, v, valid FROM cdc_undow.a_versions WHERE valid @> date '2020-01-01' ORDER BY id;
SELECT removed, restored FROM datamill.cdc_undo('cdc_undow.a');
SELECT id, v FROM cdc_undow.a ORDER BY id;
SELECT datamill.cdc_undo('cdc_undow.a');

-- a column that the merge added stays; the source before is merged without it
SELECT inserted FROM datamill.cdc_merge('cdc_undow.c', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2020-01-01');
SELECT inserted, updated FROM datamill.cdc_merge('cdc_undow.c', 'SELECT i AS id, 1 AS v, i AS w FROM generate_series(1, 2) i', effective => '2020-01-02', options => '{"on_new_column": "add"}');
SELECT removed, restored FROM datamill.cdc_undo('cdc_undow.c');
SELECT id, v, w FROM cdc_undow.c;
SELECT datamill.cdc_merge('cdc_undow.c', 'SELECT 1 AS id, 2 AS v', effective => '2020-01-02');
SELECT updated FROM datamill.cdc_merge('cdc_undow.c', 'SELECT 1 AS id, 2 AS v', effective => '2020-01-02', options => '{"on_missing_column": "ignore"}');
SELECT id, v, w FROM cdc_undow.c;

-- a partition of history that is partitioned itself
SELECT inserted FROM datamill.cdc_merge('cdc_undow.s', 'SELECT i AS id, 1 AS v FROM generate_series(1, 9) i', keys => '{id}', effective => '2020-01-01',
  options => '{"history_partition": "month"}');
CREATE TABLE cdc_undow.s_sub PARTITION OF cdc_undow.s_history FOR VALUES FROM ('2020-01-01') TO ('2020-02-01') PARTITION BY hash (id);
CREATE TABLE cdc_undow.s_sub0 PARTITION OF cdc_undow.s_sub FOR VALUES WITH (modulus 2, remainder 0);
CREATE TABLE cdc_undow.s_sub1 PARTITION OF cdc_undow.s_sub FOR VALUES WITH (modulus 2, remainder 1);
SELECT updated FROM datamill.cdc_merge('cdc_undow.s', 'SELECT i AS id, 2 AS v FROM generate_series(1, 9) i', effective => '2020-01-02');
SELECT tableoid::regclass::text AS place, count(*) > 0 AS used FROM cdc_undow.s_history GROUP BY 1 ORDER BY 1;
SELECT removed, restored FROM datamill.cdc_undo('cdc_undow.s');
SELECT (SELECT sum(v) FROM cdc_undow.s) AS sum, (SELECT count(*) FROM cdc_undow.s_history) AS history;
-- and one that is a foreign table
CREATE FOREIGN DATA WRAPPER cdc_undow_fdw;
CREATE SERVER cdc_undow_server FOREIGN DATA WRAPPER cdc_undow_fdw;
SELECT updated FROM datamill.cdc_merge('cdc_undow.s', 'SELECT i AS id, 2 AS v FROM generate_series(1, 9) i', effective => '2020-01-02');
ALTER TABLE cdc_undow.s_sub DETACH PARTITION cdc_undow.s_sub1;
CREATE FOREIGN TABLE cdc_undow.s_far PARTITION OF cdc_undow.s_sub FOR VALUES WITH (modulus 2, remainder 1) SERVER cdc_undow_server;
SELECT datamill.cdc_undo('cdc_undow.s');
ALTER TABLE cdc_undow.s_history DETACH PARTITION cdc_undow.s_sub;
SELECT datamill.cdc_undo('cdc_undow.s');
CREATE FOREIGN TABLE cdc_undow.s_far2 PARTITION OF cdc_undow.s_history FOR VALUES FROM ('2020-01-01') TO ('2020-02-01') SERVER cdc_undow_server;
SELECT datamill.cdc_undo('cdc_undow.s');

DROP SCHEMA cdc_undow CASCADE;
DROP FOREIGN DATA WRAPPER cdc_undow_fdw CASCADE;
