-- How far a load is, as datamill.progress and pg_stat_progress_copy show it while the load runs: a trigger looks on.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA load_p;
SET search_path = load_p;
CREATE SERVER load_p_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'load_p_lake';
\set one :buckets '/load/progress/1.csv'
\set two :buckets '/load/progress/2.csv'
COPY (SELECT i AS id, 'name ' || i AS name FROM generate_series(1, 2500) i) TO :'one' WITH (FORMAT csv, HEADER);
COPY (SELECT i AS id, 'name ' || i AS name FROM generate_series(2501, 4000) i) TO :'two' WITH (FORMAT csv, HEADER);
SELECT size AS size_one FROM pg_stat_file(:'one') \gset
SELECT size AS size_two FROM pg_stat_file(:'two') \gset

CREATE TABLE t (id int, name text);
CREATE TABLE seen (id int, operation text, relation regclass, objects int, objects_total int, bytes bigint, bytes_total bigint, rows int,
  rejected int, retries int, core_bytes bigint, core_total bigint, core_rows int, core_excluded int, core_command text);
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_stat_clear_snapshot();
  INSERT INTO seen SELECT new.id, p.operation, p.relation, p.objects, p.objects_total, p.bytes, p.bytes_total, p.rows, p.rejected, p.retries,
    c.bytes_processed, c.bytes_total, c.tuples_processed, c.tuples_excluded, c.command
    FROM datamill.progress p JOIN pg_stat_progress_copy c USING (pid) WHERE pid = pg_backend_pid();
  RETURN new;
END $$;
-- AFTER triggers of rows fire when all of them are written: then all of the input was read
CREATE TRIGGER look AFTER INSERT ON t FOR EACH ROW WHEN (new.id IN (1, 4000)) EXECUTE FUNCTION look();
SELECT rows FROM datamill.load('s3://load/progress/*.csv', 't');
SELECT id, operation, relation, objects, objects_total, bytes = :size_one + :size_two AS all_bytes, bytes_total = :size_one + :size_two AS total, rows,
  rejected, retries, core_bytes = bytes AS bytes, core_total = bytes_total AS total, core_rows = rows AS rows, core_excluded, core_command FROM seen ORDER BY id;
-- it is over when the load is, and when it fails
SELECT * FROM datamill.progress;
SELECT datamill.load('s3://load/progress/*.csv', 't', options => '{"nonsense": 1}');
SELECT * FROM datamill.progress;
SELECT datamill.load('s3://load/bad/unknown.csv', 't');
SELECT * FROM datamill.progress;

-- a query that looks on while its rows are loaded; what its foreign table reads counts as objects, its rows once
CREATE FUNCTION look_at(id int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  p record;
BEGIN
  IF id IN (1, 1500, 3999) THEN
    PERFORM pg_stat_clear_snapshot();
    SELECT * INTO p FROM datamill.progress WHERE pid = pg_backend_pid();
    RAISE NOTICE 'row %: % %, % of % objects, % rows', id, p.operation, p.relation, p.objects, p.objects_total, p.rows;
  END IF;
  RETURN id;
END $$;
CREATE FOREIGN TABLE f (id int, name text) SERVER load_p_lake OPTIONS (url 's3://load/progress/*.csv', header 'true');
DROP TRIGGER look ON t;
SELECT rows FROM datamill.load('SELECT load_p.look_at(id) AS id, name FROM load_p.f', 't');
SELECT inserted FROM datamill.cdc_merge('load_p.d', 'SELECT load_p.look_at(id) AS id, name FROM load_p.f', '{id}', '2020-01-01');

-- bad rows are rolled back one by one, and the report goes on
\set bad :buckets '/load/progress/bad.csv'
COPY (SELECT CASE WHEN i % 100 = 0 THEN 'x' ELSE i::text END AS id, 'n' AS name FROM generate_series(1, 3000) i) TO :'bad' WITH (FORMAT csv, HEADER);
CREATE TRIGGER look AFTER INSERT ON t FOR EACH ROW WHEN (new.id = 2999) EXECUTE FUNCTION look();
TRUNCATE seen;
SELECT rows, rejected FROM datamill.load('s3://load/progress/bad.csv', 't', options => '{"on_error": "ignore"}');
SELECT id, operation, objects, rows, rejected, core_excluded FROM seen;

\set VERBOSITY terse
DROP SCHEMA load_p CASCADE;
DROP SERVER load_p_lake CASCADE;
