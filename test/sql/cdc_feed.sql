-- Mode feed: events carry their operation and their order. Any order and any split into batches give the same versions,
-- those of an oracle in plain SQL that sees all events at once.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_feed;
CREATE TABLE cdc_feed.events (k1 int, k2 text, a numeric, b text, op text, seq bigint);

-- a story by hand: insert, late insert before it, delete, early delete, return, no change
INSERT INTO cdc_feed.events VALUES (1, 'x', 1, 'one', 'c', 10), (1, 'x', 2, 'two', 'u', 20), (1, 'x', NULL, NULL, 'd', 30);
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed.t', 'cdc_feed.events', keys => '{k1,k2}', mode => 'feed',
  options => '{"sequence_column": "seq", "operation_column": "op", "delete_values": ["d"]}');
SELECT a, b, operation, eff_start_date, eff_end_date, valid FROM cdc_feed.t_versions ORDER BY eff_start_date;
-- the same again: nothing new
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed.t', 'cdc_feed.events', mode => 'feed');
-- late ones: between, before, and after the delete; an early delete of a key that is not there yet
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed.t', $$
  SELECT * FROM (VALUES (1, 'x', 5::numeric, 'five', 'u', 15::bigint), (1, 'x', 0, 'zero', 'c', 5), (1, 'x', 9, 'back', 'u', 40),
                        (1, 'x', 9.0, 'back', 'u', 45), (2, 'y', NULL, NULL, 'd', 7)) v (k1, k2, a, b, op, seq)$$, mode => 'feed');
SELECT a, b, operation, eff_start_date, eff_end_date FROM cdc_feed.t_versions ORDER BY eff_start_date;
SELECT k1, k2, eff_start_date, operation FROM cdc_feed.t_feed ORDER BY 1, 3;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_feed.t', $$
  SELECT 2 AS k1, 'y' AS k2, 1 AS a, 'early' AS b, 'c' AS op, 3 AS seq UNION ALL SELECT 1, 'x', 8, 'between', 'u', 42$$, mode => 'feed');
SELECT k1, a, b, operation, valid FROM cdc_feed.t_versions WHERE k1 = 2 OR eff_start_date >= 40 ORDER BY k1, eff_start_date;
SELECT count(*) FROM cdc_feed.t;
SELECT effective, operation, k1, b FROM cdc_feed.t_changes ORDER BY k1, effective, operation;
SELECT * FROM datamill.check_dataset('cdc_feed.t');

-- what is refused
SELECT datamill.cdc_merge('cdc_feed.t', $$SELECT 1 AS k1, 'x' AS k2, 99 AS a, 'other' AS b, 'u' AS op, 42 AS seq$$, mode => 'feed');
SELECT datamill.cdc_merge('cdc_feed.t', $$SELECT 1 AS k1, 'x' AS k2, 99 AS a, 'other' AS b, 'u' AS op, NULL::bigint AS seq$$, mode => 'feed');
SELECT datamill.cdc_merge('cdc_feed.t', $$SELECT 1 AS k1, NULL AS k2, 99 AS a, 'other' AS b, 'u' AS op, 1 AS seq$$, mode => 'feed');
SELECT datamill.cdc_merge('cdc_feed.t', 'SELECT k1, k2, a, b FROM cdc_feed.t');
SELECT datamill.cdc_merge('cdc_feed.t', 'SELECT k1, k2, a, b, seq FROM cdc_feed.events', mode => 'feed');
SELECT datamill.cdc_restate('cdc_feed.t', 'cdc_feed.events', '2020-01-01', mode => 'feed');
SELECT datamill.cdc_merge('cdc_feed.t', 'cdc_feed.events', mode => 'feed', options => '{"scope": "true"}');
SELECT datamill.cdc_merge('cdc_feed.t', 'cdc_feed.events', options => '{"sequence_column": "seq"}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1}', mode => 'feed');
SELECT datamill.cdc_merge('cdc_feed.n', 'SELECT 1 AS k1, true AS b', keys => '{k1}', mode => 'feed', options => '{"sequence_column": "b"}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1}', mode => 'feed', options => '{"sequence_column": "seq", "sequence_type": "money"}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1}', mode => 'feed', options => '{"sequence_column": 1}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1}', mode => 'feed', options => '{"sequence_column": "seq", "delete_values": "d"}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1}', mode => 'feed', options => '{"sequence_column": "seq", "tombstones": "keep"}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1}', mode => 'feed', options => '{"sequence_column": "nr"}');
SELECT datamill.cdc_merge('cdc_feed.n', 'cdc_feed.events', keys => '{k1,seq}', mode => 'feed', options => '{"sequence_column": "seq"}');
SELECT inserted FROM datamill.cdc_merge('cdc_feed.n', 'SELECT 1 AS id', keys => '{id}', effective => '2020-01-01');
SELECT datamill.cdc_merge('cdc_feed.n', 'SELECT 1 AS id', mode => 'feed');
SELECT datamill.drop_dataset('cdc_feed.t');

-- the oracle: of each sequence one event, the delete if there is one; a version starts where values change
CREATE FUNCTION cdc_feed.oracle() RETURNS TABLE (k1 int, k2 text, a numeric, b text, operation "char", since bigint, until bigint)
LANGUAGE sql AS $$
  WITH one AS (SELECT DISTINCT ON (k1, k2, seq) * FROM cdc_feed.events ORDER BY k1, k2, seq, op DESC),
  before AS (SELECT *, lag(op) OVER w AS last_op, lag((a, b)) OVER w AS last_values FROM one WINDOW w AS (PARTITION BY k1, k2 ORDER BY seq)),
  marks AS (SELECT * FROM before WHERE op = 'x' AND last_op = 'u' OR op = 'u' AND (last_op IS DISTINCT FROM 'u' OR last_values IS DISTINCT FROM (a, b))),
  versions AS (SELECT *, lead(seq) OVER w AS until, lag(op) OVER w AS mark_before FROM marks WINDOW w AS (PARTITION BY k1, k2 ORDER BY seq))
  SELECT k1, k2, a, b, CASE WHEN mark_before = 'u' THEN 'U' ELSE 'I' END::"char", seq, until FROM versions WHERE op = 'u'
$$;
-- values follow from key and sequence, so that two events of one sequence agree; half of all sequences come twice
CREATE FUNCTION cdc_feed.run(keys int, events int, batches int, OUT merges int, OUT versions bigint, OUT wrong bigint) LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE cdc_feed.events;
  INSERT INTO cdc_feed.events
  SELECT k, 'k' || k % 3, CASE WHEN op = 'u' THEN CASE v % 4 WHEN 0 THEN NULL WHEN 1 THEN 1 WHEN 2 THEN 1.0 ELSE 2 END END,
         CASE WHEN op = 'u' THEN (ARRAY['', 'p'])[1 + v % 2] END, op, s
  FROM (SELECT (1 + random() * (keys - 1))::int AS k, (random() * 25)::int AS s, CASE WHEN random() < 0.3 THEN 'x' ELSE 'u' END AS op
        FROM generate_series(1, events)) e, LATERAL (SELECT abs(hashint4(k * 1000 + s)) % 8 AS v) h;
  CREATE TEMP TABLE shuffled ON COMMIT DROP AS SELECT *, (random() * (batches - 1))::int AS batch FROM cdc_feed.events ORDER BY random();
  FOR i IN 0..batches - 1 LOOP
    PERFORM datamill.cdc_merge('cdc_feed.t', format('SELECT k1, k2, a, b, op, seq FROM pg_temp.shuffled WHERE batch = %s', i), keys => '{k1,k2}',
      mode => 'feed', options => '{"sequence_column": "seq", "operation_column": "op", "delete_values": ["x"], "allow_empty": true}');
  END LOOP;
  DROP TABLE shuffled;
  merges := batches;
  EXECUTE 'SELECT count(*) FROM cdc_feed.t_versions' INTO versions;
  EXECUTE 'SELECT count(*) FROM (
    (SELECT k1, k2, a, b, operation, eff_start_date, eff_end_date FROM cdc_feed.t_versions EXCEPT ALL SELECT * FROM cdc_feed.oracle())
    UNION ALL
    (SELECT * FROM cdc_feed.oracle() EXCEPT ALL SELECT k1, k2, a, b, operation, eff_start_date, eff_end_date FROM cdc_feed.t_versions)) d' INTO wrong;
  PERFORM datamill.drop_dataset('cdc_feed.t');
END
$$;
SELECT setseed(0.1);
SELECT r.merges, r.versions > 0 AS has_versions, r.wrong FROM generate_series(1, 12) i, cdc_feed.run(3, 60 + i, i) r ORDER BY 1;
SELECT r.merges, r.versions > 0 AS has_versions, r.wrong FROM cdc_feed.run(20, 400, 40) r;
SELECT r.merges, r.versions > 0 AS has_versions, r.wrong FROM cdc_feed.run(300, 4000, 5) r;
SELECT r.merges, r.versions > 0 AS has_versions, r.wrong FROM cdc_feed.run(300, 4000, 1) r;

DROP SCHEMA cdc_feed CASCADE;
