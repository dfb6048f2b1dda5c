-- cdc_undo takes the last merge back exactly; cdc_restate replaces the last date's batch. Random merges of every mode are
-- taken back and compared with a copy made before.
SET client_min_messages = warning;
SET datestyle = 'ISO';
CREATE SCHEMA cdc_undo;
CREATE TABLE cdc_undo.batch (id int, name text, big text);
CREATE FUNCTION cdc_undo.fill(share float8) RETURNS void LANGUAGE sql AS $$
  TRUNCATE cdc_undo.batch;
  INSERT INTO cdc_undo.batch SELECT i, (ARRAY[NULL, '', 'a', 'b'])[1 + (random() * 3)::int],
    CASE WHEN i % 10 = 0 THEN (SELECT string_agg(md5((i + j)::text), '') FROM generate_series(1, 200 + (random() * 2)::int) j) END
  FROM generate_series(1, 300) i WHERE random() < share ORDER BY random()
$$;
SELECT setseed(0.25);
SELECT cdc_undo.fill(0.7);
SELECT inserted > 0 AS merged FROM datamill.cdc_merge('cdc_undo.t', 'cdc_undo.batch', keys => '{id}', effective => '2020-01-01');

CREATE FUNCTION cdc_undo.state(OUT current jsonb, OUT history jsonb, OUT last bigint) LANGUAGE sql AS $$
  SELECT (SELECT jsonb_agg(to_jsonb(t) ORDER BY id) FROM cdc_undo.t),
         (SELECT jsonb_agg(to_jsonb(h) ORDER BY id, eff_start_date, eff_end_date, ended_merge_id) FROM cdc_undo.t_history h),
         (SELECT max(merge_id) FROM datamill.merges WHERE dataset = 'cdc_undo.t'::regclass)
$$;
CREATE FUNCTION cdc_undo.run(merges int, OUT undone int, OUT wrong int, OUT differing int) LANGUAGE plpgsql AS $$
DECLARE
  before record;
  after record;
  mode text;
BEGIN
  undone := 0;
  wrong := 0;
  differing := 0;
  FOR i IN 1..merges LOOP
    mode := CASE WHEN random() < 0.5 THEN 'full' ELSE 'delta' END;
    SELECT * INTO before FROM cdc_undo.state();
    PERFORM cdc_undo.fill(CASE mode WHEN 'full' THEN 0.8 ELSE 0.05 END);
    -- two merges a date, so that effective dates alone do not tell what the last one did
    PERFORM datamill.cdc_merge('cdc_undo.t', 'cdc_undo.batch', effective => '2020-01-01'::timestamptz + (i / 2) * interval '1 day', mode => mode);
    SELECT * INTO after FROM cdc_undo.state();
    PERFORM datamill.cdc_undo('cdc_undo.t');
    undone := undone + 1;
    IF (SELECT s FROM cdc_undo.state() s) IS DISTINCT FROM before THEN
      wrong := wrong + 1;
    END IF;
    -- and done again it is what it was, but for the merge's number
    PERFORM datamill.cdc_merge('cdc_undo.t', 'cdc_undo.batch', effective => '2020-01-01'::timestamptz + (i / 2) * interval '1 day', mode => mode);
    IF (SELECT regexp_replace(current::text || history, 'merge_id": \d+', '', 'g') FROM cdc_undo.state()) IS DISTINCT FROM
       regexp_replace(after.current::text || after.history, 'merge_id": \d+', '', 'g') THEN
      differing := differing + 1;
    END IF;
  END LOOP;
END
$$;
SELECT * FROM cdc_undo.run(12);

-- back to the very beginning
SELECT count(datamill.cdc_undo('cdc_undo.t')) FROM generate_series(1, 13);
SELECT (SELECT count(*) FROM cdc_undo.t) AS current, (SELECT count(*) FROM cdc_undo.t_history) AS history;
SELECT datamill.cdc_undo('cdc_undo.t');
SELECT kind, count(*) FROM datamill.receipts WHERE definition = 'cdc_undo.t' GROUP BY 1 ORDER BY 1;

-- restate: the batch of the last date, and no other
SELECT inserted FROM datamill.cdc_merge('cdc_undo.t', $$SELECT 1 AS id, 'a' AS name, NULL AS big$$, effective => '2020-02-01');
SELECT updated FROM datamill.cdc_merge('cdc_undo.t', $$SELECT 1 AS id, 'wrong' AS name, NULL AS big$$, effective => '2020-02-02');
SELECT updated FROM datamill.cdc_merge('cdc_undo.t', $$SELECT 1 AS id, 'wrong again' AS name, NULL AS big$$, effective => '2020-02-02');
SELECT datamill.cdc_restate('cdc_undo.t', $$SELECT 1 AS id, 'b' AS name, NULL AS big$$, effective => '2020-02-01');
SELECT inserted, updated FROM datamill.cdc_restate('cdc_undo.t', $$SELECT 1 AS id, 'right' AS name, NULL AS big UNION ALL SELECT 2, 'two', NULL$$,
                                                  effective => '2020-02-02');
SELECT id, name, operation, valid FROM cdc_undo.t_versions ORDER BY id, valid;

-- what is refused
SELECT datamill.cdc_undo('cdc_undo.t_history');
SELECT datamill.cdc_undo('cdc_undo.no_such_table');
SELECT inserted FROM datamill.cdc_merge('cdc_undo.seen', $$SELECT 1 AS id, 1 AS hits$$, keys => '{id}', effective => '2020-02-01', options => '{"untracked": ["hits"]}');
SELECT unchanged FROM datamill.cdc_merge('cdc_undo.seen', $$SELECT 1 AS id, 2 AS hits$$, effective => '2020-02-02');
SELECT datamill.cdc_undo('cdc_undo.seen');
CREATE ROLE cdc_undoer;
GRANT USAGE ON SCHEMA cdc_undo TO cdc_undoer;
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc_undo.t TO cdc_undoer;
GRANT SELECT, INSERT ON cdc_undo.t_history TO cdc_undoer;
SET ROLE cdc_undoer;
SELECT datamill.cdc_undo('cdc_undo.t');
RESET ROLE;
SELECT count(*) FROM datamill.merges WHERE dataset = 'cdc_undo.t'::regclass;

DROP SCHEMA cdc_undo CASCADE;
DROP OWNED BY cdc_undoer;
DROP ROLE cdc_undoer;
