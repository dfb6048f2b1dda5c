-- Numbers of Debezium that are dates and times at the ends of their types, and what an error shows of a long name.
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
CREATE SCHEMA cdc_ranges;
CREATE TABLE cdc_ranges.one (v text);
INSERT INTO cdc_ranges.one VALUES ('');
-- the value that a number in a column of that type gives: as date units are told by option debezium_time, else by a schema
CREATE FUNCTION cdc_ranges.read(type text, number text, unit text DEFAULT 'micro', schema text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  event jsonb := format('{"op": "c", "after": {"id": 1, "d": %s}, "source": {"lsn": 1}}', number);
  result text;
BEGIN
  IF schema IS NOT NULL THEN
    event := jsonb_build_object('payload', event, 'schema', format('{"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": [{"field": "id", "type": "int32"}, {"field": "d", "type": "int64", "name": "%s"}]}]}', schema)::jsonb);
  END IF;
  PERFORM datamill.cdc_merge('cdc_ranges.t', format('SELECT %L::jsonb AS value', event), '{id}', mode => 'feed',
    options => jsonb_build_object('format', 'debezium', 'debezium_time', unit, 'columns', jsonb_build_object('id', 'int', 'd', type)));
  SELECT d::text INTO result FROM cdc_ranges.t;
  PERFORM datamill.drop_dataset('cdc_ranges.t');
  RETURN result;
EXCEPTION WHEN data_exception THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT n, cdc_ranges.read('date', n) FROM (VALUES (1, '0'), (2, '2147494603'), (3, '2147494604'), (4, '2147494605'), (5, '-2147472690'), (6, '-2147472691'), (7, '-2147472692'), (8, '2145042541'), (9, '2145042540'), (10, '2147483493'), (11, '-2440588'), (12, '-2440589'),
  (13, '9223372036854775807'), (14, '-9223372036854775808'), (15, '9223372036854775808')) v (i, n) ORDER BY i;
SELECT type, n, cdc_ranges.read(type, n) FROM (VALUES (1, 'timestamp'), (2, 'timestamptz'), (3, 'time'), (4, 'timetz'), (5, 'interval')) t (i, type),
  (VALUES (1, '0'), (2, '9223372036854775807'), (3, '-9223372036854775808'), (4, '-9223372036854775807'), (5, '86400000000'), (6, '86400000001'), (7, '-1'), (8, '9224318015999999999'), (9, '-210866803200000000'), (10, '-210866803200000001'),
    (11, '9223371331199999999'), (12, '9223371331200000000')) v (j, n) ORDER BY i, j;
SELECT type, unit, n, cdc_ranges.read(type, n, unit) FROM (VALUES (1, 'timestamp'), (2, 'time')) t (i, type), (VALUES (1, 'connect'), (2, 'nano')) u (k, unit),
  (VALUES (1, '9223372036854775807'), (2, '-9223372036854775808'), (3, '9223372036854775'), (4, '9223372036854776'), (5, '-9223372036854776')) v (j, n) ORDER BY i, k, j;
SELECT name, n, cdc_ranges.read(type, n, 'iso', name) FROM (VALUES (1, 'date', 'io.debezium.time.Date'), (2, 'timestamp', 'io.debezium.time.Timestamp'), (3, 'timestamp', 'io.debezium.time.NanoTimestamp'), (4, 'interval', 'io.debezium.time.MicroDuration'),
  (5, 'date', 'io.debezium.time.Timestamp')) t (i, type, name), (VALUES (1, '2147494604'), (2, '-2147472691'), (3, '9223372036854775807')) v (j, n) ORDER BY i, j;

-- names are cut between characters
SELECT datamill.cdc_merge('cdc_ranges.u', format('SELECT %L AS value', '{"op": "c", "after": {"id": 1, "a' || repeat('é', 42) || '": 1}, "source": {"lsn": 1}}'), '{id}', mode => 'feed', options => '{"format": "debezium", "columns": {"id": "int"}}');
SELECT datamill.cdc_merge('cdc_ranges.u', format('SELECT %L AS value', '{"op": "a' || repeat('é', 42) || '", "after": {"id": 1}, "source": {"lsn": 1}}'), '{id}', mode => 'feed', options => '{"format": "debezium", "columns": {"id": "int"}}');
UPDATE cdc_ranges.one SET v = '{"op": "a' || repeat('x', 1000) || '", "after": {"id": 1}, "source": {"lsn": 1}}';
SELECT datamill.cdc_merge('cdc_ranges.u', 'cdc_ranges.one', '{id}', mode => 'feed', options => '{"format": "debezium", "columns": {"id": "int"}}');

-- sequences of type pg_lsn from numbers
CREATE FUNCTION cdc_ranges.lsn(number text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  PERFORM datamill.cdc_merge('cdc_ranges.l', format('SELECT %L::json AS value', '{"op": "c", "after": {"id": 1}, "source": {"lsn": ' || number || '}}'), '{id}', mode => 'feed',
    options => '{"format": "debezium", "sequence_type": "pg_lsn", "columns": {"id": "int"}}');
  SELECT eff_start_date::text INTO result FROM cdc_ranges.l;
  PERFORM datamill.drop_dataset('cdc_ranges.l');
  RETURN result;
EXCEPTION WHEN data_exception THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT n, cdc_ranges.lsn(n) FROM (VALUES (1, '0'), (2, '18446744073709551615'), (3, '18446744073709551616'), (4, '-1'), (5, '1.5'), (6, '1e3'), (7, '"16/B374D848"'), (8, '-0')) v (i, n) ORDER BY i;

-- a column that history lacks: the hint names the partitioned table
SELECT inserted FROM datamill.cdc_merge('cdc_ranges.p', 'SELECT 1 AS id, 1 AS a', '{id}', '2020-01-01', options => '{"history_partition": "month"}');
SELECT updated FROM datamill.cdc_merge('cdc_ranges.p', 'SELECT 1 AS id, 2 AS a', effective => '2020-01-02');
ALTER TABLE cdc_ranges.p ADD COLUMN x numeric(8,2);
SELECT datamill.cdc_merge('cdc_ranges.p', 'SELECT 1 AS id, 3 AS a, 1 AS x', effective => '2020-01-03');
ALTER TABLE cdc_ranges.p_history ADD COLUMN x numeric(8,2);
SELECT updated FROM datamill.cdc_merge('cdc_ranges.p', 'SELECT 1 AS id, 3 AS a, 1 AS x', effective => '2020-01-03');
DROP SCHEMA cdc_ranges CASCADE;
