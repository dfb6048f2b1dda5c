-- Random days merged by cdc_merge and by plain SQL side by side must leave the same current rows and versions, with
-- hashes cut to a few bits (so that keys collide), and with so little memory that rows go through temporary files.
CREATE SCHEMA cdc_oracle;
CREATE TABLE cdc_oracle.live (k1 int, k2 text, a numeric, b text, c timestamptz, operation "char", since date);
CREATE TABLE cdc_oracle.closed (k1 int, k2 text, a numeric, b text, c timestamptz, operation "char", since date, until date,
                                ended_by "char");
CREATE TABLE cdc_oracle.batch (k1 int, k2 text, a numeric, b text, c timestamptz);
SET client_min_messages = warning;

-- the oracle: joins on the key, IS DISTINCT FROM on the rest
CREATE FUNCTION cdc_oracle.merge(day date, OUT i bigint, OUT u bigint, OUT d bigint, OUT n bigint) AS $$
BEGIN
  CREATE TEMP TABLE fate ON COMMIT DROP AS
  SELECT coalesce(s.k1, l.k1) AS k1, coalesce(s.k2, l.k2) AS k2, s.a, s.b, s.c,
         CASE WHEN l.k1 IS NULL THEN 'I' WHEN s.k1 IS NULL THEN 'D'
              WHEN (s.a, s.b, s.c) IS DISTINCT FROM (l.a, l.b, l.c) THEN 'U' ELSE 'N' END AS fate
  FROM cdc_oracle.batch s FULL JOIN cdc_oracle.live l ON s.k1 = l.k1 AND s.k2 = l.k2;
  INSERT INTO cdc_oracle.closed SELECT l.*, day, fate::"char" FROM cdc_oracle.live l JOIN fate USING (k1, k2) WHERE fate IN ('U', 'D');
  DELETE FROM cdc_oracle.live l USING fate f WHERE l.k1 = f.k1 AND l.k2 = f.k2 AND fate IN ('U', 'D');
  INSERT INTO cdc_oracle.live SELECT k1, k2, a, b, c, fate::"char", day FROM fate WHERE fate IN ('I', 'U');
  SELECT count(*) FILTER (WHERE fate = 'I'), count(*) FILTER (WHERE fate = 'U'), count(*) FILTER (WHERE fate = 'D'),
         count(*) FILTER (WHERE fate = 'N') INTO i, u, d, n FROM fate;
  DROP TABLE fate;
END
$$ LANGUAGE plpgsql;

-- days of random rows; NULLs, equal values spelt differently, and values that move between columns are likely
CREATE FUNCTION cdc_oracle.run(days int, keys int, memory text, bits int, OUT merges int, OUT wrong_counts int,
                               OUT wrong_rows bigint) AS $$
DECLARE
  ours record;
  theirs record;
BEGIN
  PERFORM set_config('work_mem', memory, true), set_config('datamill.hash_bits', bits::text, true);
  DROP SCHEMA IF EXISTS cdc_oracle_t CASCADE;
  TRUNCATE cdc_oracle.live, cdc_oracle.closed;
  wrong_counts := 0;
  FOR day IN 1..days LOOP
    TRUNCATE cdc_oracle.batch;
    INSERT INTO cdc_oracle.batch
    SELECT k, repeat('k', k % 7) || k % 3, (ARRAY[NULL, 1, 1.0, 1.00, 2, 'NaN'])[1 + (random() * 5)::int],
           (ARRAY[NULL, '', 'x', 'X', repeat('long', 600)])[1 + (random() * 4)::int],
           (ARRAY[NULL, '2020-01-01 00:00+00', '2020-01-01 09:00+09', '2021-01-01'])[1 + (random() * 3)::int]::timestamptz
    FROM generate_series(1, keys) k WHERE random() < 0.8 ORDER BY random();
    SELECT * INTO theirs FROM cdc_oracle.merge('2020-01-01'::date + day);
    SELECT * INTO ours FROM datamill.cdc_merge('cdc_oracle_t.t', 'cdc_oracle.batch', keys => '{k1,k2}',
                                               effective => '2020-01-01'::timestamptz + day * interval '1 day');
    IF (ours.inserted, ours.updated, ours.deleted, ours.unchanged) IS DISTINCT FROM (theirs.i, theirs.u, theirs.d, theirs.n) THEN
      wrong_counts := wrong_counts + 1;
    END IF;
  END LOOP;
  merges := days;
  EXECUTE 'SELECT count(*) FROM (
    (SELECT k1, k2, a, b, c, operation, eff_start_date, NULL::date, NULL::"char" FROM cdc_oracle_t.t
     UNION ALL SELECT k1, k2, a, b, c, operation, eff_start_date, eff_end_date, ended_by FROM cdc_oracle_t.t_history)
    EXCEPT ALL (SELECT *, NULL, NULL FROM cdc_oracle.live UNION ALL SELECT * FROM cdc_oracle.closed)) ours' INTO wrong_rows;
  EXECUTE 'SELECT $1 + count(*) FROM (
    (SELECT *, NULL, NULL FROM cdc_oracle.live UNION ALL SELECT * FROM cdc_oracle.closed)
    EXCEPT ALL (SELECT k1, k2, a, b, c, operation, eff_start_date, NULL::date, NULL::"char" FROM cdc_oracle_t.t
     UNION ALL SELECT k1, k2, a, b, c, operation, eff_start_date, eff_end_date, ended_by FROM cdc_oracle_t.t_history)) theirs'
  INTO wrong_rows USING wrong_rows;
END
$$ LANGUAGE plpgsql;

SELECT setseed(0.5);
SELECT * FROM cdc_oracle.run(8, 400, '4MB', 64);
SELECT * FROM cdc_oracle.run(5, 300, '4MB', 1);
SELECT * FROM cdc_oracle.run(5, 1000, '4MB', 6);
SELECT * FROM cdc_oracle.run(4, 30000, '64kB', 64);
SELECT * FROM cdc_oracle.run(4, 3000, '64kB', 8);
-- with that little memory rows do go through files
SET work_mem = '64kB';
CREATE TABLE cdc_oracle.many AS SELECT k, k AS v FROM generate_series(1, 16000) k;
SELECT inserted FROM datamill.cdc_merge('cdc_oracle_t.many', 'cdc_oracle.many', keys => '{k}', effective => '2020-01-01');
SET log_statement = 'none';
SET client_min_messages = debug1;
SELECT unchanged, updated FROM datamill.cdc_merge('cdc_oracle_t.many', 'SELECT k, v + (k % 2) AS v FROM cdc_oracle.many', effective => '2020-01-02');
SET client_min_messages = warning;
RESET work_mem;
RESET log_statement;

-- versions of one key do not overlap, and only one is open
SELECT count(*) AS overlaps FROM cdc_oracle_t.t_versions a JOIN cdc_oracle_t.t_versions b
ON a.k1 = b.k1 AND a.k2 = b.k2 AND a.eff_start_date < b.eff_start_date AND a.valid && b.valid;

DROP SCHEMA cdc_oracle_t CASCADE;
DROP SCHEMA cdc_oracle CASCADE;
