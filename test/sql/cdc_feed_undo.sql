-- Mode feed: truncates, untracked and generated columns, and taking merges back. That versions are right is shown by
-- cdc_feed.sql and cdc_feed_oracle.pl; here every merge is taken back again, and all tables must be what they were before.
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
CREATE SCHEMA cdc_feed_undo;
SET search_path = cdc_feed_undo;

-- by hand: a truncate ends what is there, and what comes late before it
CREATE TABLE events (id int, name text, note text, op text, seq bigint);
INSERT INTO events VALUES (1, 'one', 'a', 'c', 10), (2, 'two', 'b', 'c', 20), (1, 'uno', 'a', 'u', 30), (1, 'uno', 'c', 'u', 35);
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed_undo.t', 'events', keys => '{id}', mode => 'feed',
  options => '{"sequence_column": "seq", "operation_column": "op", "truncate_values": ["t"], "untracked": ["note"]}');
SELECT * FROM datamill.cdc_plan('cdc_feed_undo.t', 'SELECT NULL::int AS id, NULL AS name, NULL AS note, $$t$$ AS op, 25 AS seq', mode => 'feed');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed_undo.t',
  'SELECT NULL::int AS id, NULL AS name, NULL AS note, $$t$$ AS op, 25 AS seq', mode => 'feed');
SELECT id, name, note, operation, eff_start_date AS since, eff_end_date AS until FROM t_versions ORDER BY id, since;
SELECT id, ended_by FROM t_history ORDER BY id;
SELECT effective, operation, id, name FROM t_changes ORDER BY effective, operation, id;
-- late ones: before the truncate, at it, and between the two values of an untracked column
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed_undo.t',
  'VALUES (3, $$three$$, NULL, $$c$$, 5), (4, $$four$$, NULL, $$c$$, 25), (1, $$other$$, $$z$$, $$u$$, 33)', mode => 'feed');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed_undo.t',
  'SELECT * FROM (VALUES (3, $$three$$, NULL, $$c$$, 5), (4, $$four$$, NULL, $$c$$, 25), (1, $$other$$, $$z$$, $$u$$, 33)) v (id, name, note, op, seq)', mode => 'feed');
SELECT id, name, note, operation, eff_start_date AS since, eff_end_date AS until FROM t_versions ORDER BY id, since;
SELECT id, name, note, operation, eff_start_date AS since, unavailable_columns FROM t_feed ORDER BY id, since;
SELECT removed, restored FROM datamill.cdc_undo('cdc_feed_undo.t');
SELECT id, name, note, operation, eff_start_date AS since, eff_end_date AS until FROM t_versions ORDER BY id, since;
SELECT removed, restored FROM datamill.cdc_undo('cdc_feed_undo.t');
SELECT id, name, note, operation, eff_start_date AS since, eff_end_date AS until FROM t_versions ORDER BY id, since;
SELECT removed, restored FROM datamill.cdc_undo('cdc_feed_undo.t');
SELECT count(*) FROM t_versions;
SELECT datamill.cdc_undo('cdc_feed_undo.t');
SELECT count(*) FROM t_feed;

-- a guard; a generated column
SELECT inserted FROM datamill.cdc_merge('cdc_feed_undo.t', 'events', mode => 'feed');
ALTER TABLE t ADD COLUMN shout text GENERATED ALWAYS AS (upper(name)) STORED;
ALTER TABLE t_history ADD COLUMN shout text;
SELECT datamill.cdc_merge('cdc_feed_undo.t', 'SELECT id, NULL AS name, NULL AS note, $$d$$ AS op, 50 AS seq FROM events WHERE id = 2', mode => 'feed',
  options => '{"max_delete_percent": 20}');
SELECT deleted FROM datamill.cdc_merge('cdc_feed_undo.t', 'SELECT id, NULL AS name, NULL AS note, $$d$$ AS op, 50 AS seq FROM events WHERE id = 2', mode => 'feed',
  options => '{"max_delete_percent": 50}');
SELECT id, name, shout, operation, ended_by FROM t_history ORDER BY id, eff_start_date;
SELECT id, shout FROM t;
SELECT live_rows, inserted, deleted FROM datamill.merges WHERE dataset = 't'::regclass ORDER BY merge_id;
SELECT * FROM datamill.check_dataset('cdc_feed_undo.t');
BEGIN;
UPDATE t_history SET eff_end_date = 29 WHERE id = 1;
SELECT problem, key FROM datamill.check_dataset('cdc_feed_undo.t');
ROLLBACK;
SELECT datamill.drop_dataset('cdc_feed_undo.t');

-- sequences of every type that may be one
CREATE FUNCTION try(type text, a text, b text, c text) RETURNS TABLE (kind text, since text, until text, valid text, found bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM datamill.cdc_merge('cdc_feed_undo.s', format('SELECT 1 AS id, n, s::%s FROM (VALUES (1, %L), (2, %L)) v (n, s)', type, a, c), keys => '{id}',
    mode => 'feed', options => '{"sequence_column": "s"}');
  PERFORM datamill.cdc_merge('cdc_feed_undo.s', format('SELECT 1 AS id, 3 AS n, %L::%s AS s', b, type), mode => 'feed');
  RETURN QUERY EXECUTE format('SELECT pg_typeof(eff_start_date)::text, eff_start_date::text, eff_end_date::text, valid::text,
    (SELECT count(*) FROM s_versions WHERE valid @> %L::%s) FROM s_versions ORDER BY n', b, type);
  PERFORM datamill.drop_dataset('cdc_feed_undo.s');
END
$$;
SELECT * FROM try('date', '2020-01-01', '2020-02-01', '2020-03-01');
SELECT * FROM try('timestamp', '2020-01-01', '2020-02-01', '2020-03-01');
SELECT * FROM try('timestamptz', '2020-01-01 00:00+00', '2020-02-01 00:00+00', '2020-03-01 00:00+00');
SELECT * FROM try('bigint', '9', '10', '11');
SELECT * FROM try('numeric', '9', '9.5', '10.25');
SELECT * FROM try('pg_lsn', '0/9', '0/10', '1/0');
SELECT * FROM try('text', 'B', 'a', 'á');

-- random events in random batches, all taken back one by one: every row of every table is what it was
CREATE TABLE random_events (id int, name numeric, note text, op text, seq bigint, batch int);
CREATE FUNCTION state(OUT state text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE $q$SELECT concat_ws(E'\n', (SELECT string_agg(r::text, ' ' ORDER BY r::text) FROM t r), (SELECT string_agg(r::text, ' ' ORDER BY r::text) FROM t_history r),
    (SELECT string_agg(r::text, ' ' ORDER BY r::text) FROM t_feed r))$q$ INTO state;
END
$$;
CREATE FUNCTION run(batches int, untracked text) RETURNS TABLE (merges int, differences bigint, problems bigint) LANGUAGE plpgsql AS $$
DECLARE before text[] := '{}';
BEGIN
  TRUNCATE random_events;
  INSERT INTO random_events
  SELECT CASE WHEN op <> 't' THEN k END, CASE WHEN op = 'u' THEN (ARRAY[NULL, 1, 1.0, 2])[1 + v % 4] END, CASE WHEN op = 'u' THEN (ARRAY['p', 'q', NULL])[1 + v % 3] END,
         op, s, (random() * (batches - 1))::int
  FROM (SELECT (1 + random() * 3)::int AS k, (random() * 20)::int AS s, (ARRAY['u', 'u', 'u', 'u', 'u', 'u', 'd', 'd', 'd', 't'])[1 + (random() * 9)::int] AS op
        FROM generate_series(1, 70)) e, LATERAL (SELECT abs(hashint4(k * 1000 + s)) % 12 AS v) h;
  EXECUTE format('INSERT INTO random_events SELECT 1, 1, NULL, %L, -1, 0', 'u');
  differences := 0;
  problems := 0;
  FOR i IN 0..batches - 1 LOOP
    IF i > 0 THEN before := before || state(); END IF;
    PERFORM datamill.cdc_merge('cdc_feed_undo.t', format('SELECT id, name, note, op, seq FROM random_events WHERE batch = %s', i), keys => '{id}', mode => 'feed',
      options => jsonb_build_object('sequence_column', 'seq', 'operation_column', 'op', 'truncate_values', '["t"]'::jsonb, 'untracked', untracked::jsonb));
    problems := problems + (SELECT count(*) FROM datamill.check_dataset('cdc_feed_undo.t'));
  END LOOP;
  FOR i IN REVERSE batches - 1..1 LOOP
    PERFORM datamill.cdc_undo('cdc_feed_undo.t');
    IF state() IS DISTINCT FROM before[i] THEN differences := differences + 1; END IF;
  END LOOP;
  PERFORM datamill.cdc_undo('cdc_feed_undo.t');
  IF state() <> '' THEN differences := differences + 1; END IF;
  merges := batches;
  PERFORM datamill.drop_dataset('cdc_feed_undo.t');
  RETURN NEXT;
END
$$;
SELECT setseed(0.2);
SELECT r.* FROM generate_series(2, 12) i, run(i, '[]') r;
SELECT r.* FROM generate_series(2, 12) i, run(i, '["note"]') r;
DROP SCHEMA cdc_feed_undo CASCADE;
