-- Mode feed with Debezium's change events: envelopes with and without schema, tombstones, unavailable values, encodings.
-- Expected values were worked out with Python (test/data/buckets/debezium was written by it) or are PostgreSQL's own.
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'Asia/Tokyo';
\getenv buckets DM_BUCKETS
CREATE SCHEMA cdc_debezium;
SET search_path = cdc_debezium;
SELECT 'file://' || :'buckets' AS endpoint \gset
CREATE SERVER debezium_files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');

-- events that carry their schema: columns and encodings come from it
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_debezium.o', 's3://debezium/orders/*.jsonl', keys => '{id}', mode => 'feed',
  options => '{"format": "debezium", "server": "debezium_files"}');
\d o
\x
SELECT id, day, at, at_ms, zoned, clock, amount, "any", data, doc, ref, body, tags, ok, score, eff_start_date, eff_end_date FROM o_versions ORDER BY id, eff_start_date;
\x
-- a late event under the one that did not tell body: what it did not tell follows
SELECT updated FROM datamill.cdc_merge('cdc_debezium.o', $$SELECT '{"op": "u", "source": {"lsn": 105}, "after": {"id": 1, "body": "late", "amount": "7"}}'::jsonb AS value$$, mode => 'feed');
SELECT id, amount, body, data, tags, eff_start_date, eff_end_date FROM o_versions WHERE id = 1 ORDER BY eff_start_date;
SELECT id, operation, body, amount, eff_start_date, unavailable_columns FROM o_feed ORDER BY 1, 2;
SELECT removed, restored FROM datamill.cdc_undo('cdc_debezium.o');
SELECT id, amount, body, data, tags, eff_start_date, eff_end_date FROM o_versions WHERE id = 1 ORDER BY eff_start_date;

-- without a schema: columns are given, and what numbers mean
CREATE TABLE events (nr int, key jsonb, value jsonb);
INSERT INTO events VALUES
  (1, '{"id": 1}', '{"op": "c", "before": null, "after": {"id": 1, "name": "one", "day": 18628, "at": 1609459200123}, "source": {"pos": 10}}'),
  (2, '{"id": 1}', '{"payload": {"op": "u", "before": null, "after": {"id": 1, "name": "uno", "day": "2021-01-02", "at": "2021-01-02T03:04:05"}, "source": {"pos": 20}}}'),
  (3, '{"id": 2}', '{"op": "c", "after": {"id": 2, "name": "two", "day": null}, "source": {"pos": 30}}'),
  (4, '{"id": 2}', '{"op": "d", "before": null, "after": null, "source": {"pos": 40}}'),
  (5, '{"id": 2}', NULL),
  (6, NULL, '{"op": "m", "message": {}, "source": {"pos": 45}}'),
  (7, NULL, '{"op": "t", "before": null, "after": null, "source": {"pos": 50}}'),
  (8, '{"payload": {"id": 3}}', '{"op": "r", "after": {"id": 3, "name": "three", "day": -1}, "source": {"pos": 60}}');
SELECT datamill.cdc_merge('cdc_debezium.n', 'events', keys => '{id}', mode => 'feed', options => '{"format": "debezium", "sequence_column": "source.pos"}');
SELECT datamill.cdc_merge('cdc_debezium.n', 'events', keys => '{id}', mode => 'feed', options => '{"format": "debezium", "sequence_column": "source.pos",
  "columns": {"id": "int", "name": "text", "day": "date", "at": "timestamp(3)"}}');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_debezium.n', 'events', keys => '{id}', mode => 'feed', options => '{"format": "debezium",
  "sequence_column": "source.pos", "debezium_time": "connect", "columns": {"id": "int", "name": "text", "day": "date", "at": "timestamp(3)"}}');
SELECT id, name, day, at, operation, eff_start_date, eff_end_date FROM n_versions ORDER BY id, eff_start_date;
SELECT id, ended_by FROM n_history ORDER BY id, eff_start_date;
SELECT options FROM datamill.feed_catalog c JOIN datamill.datasets d USING (dataset_id) WHERE d.current_table = 'n'::regclass;
-- the settings are known now, and the same again changes nothing
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_debezium.n', 'events', mode => 'feed');
-- the same events flattened by ExtractNewRecordState, and as Kafka records in text: the same versions
SELECT datamill.cdc_merge('cdc_debezium.f', $$SELECT (value->'after'->>'id')::int AS id, value->'after'->>'name' AS name, value->>'op' AS __op, (value->'source'->>'pos')::bigint AS __pos
  FROM events WHERE value->>'op' IN ('c', 'r') UNION ALL SELECT 1, 'uno', 'u', 20 UNION ALL SELECT 2, NULL, 'd', 40 UNION ALL SELECT NULL, NULL, 't', 50$$,
  keys => '{id}', mode => 'feed', options => '{"sequence_column": "__pos", "operation_column": "__op", "truncate_values": ["t"]}') IS NOT NULL AS merged;
SELECT datamill.cdc_merge('cdc_debezium.k', $$SELECT json_build_object('key', key, 'value', value::text, 'offset', nr)::text AS line FROM events$$,
  keys => '{id}', mode => 'feed', options => '{"format": "debezium", "sequence_column": "offset", "tombstones": "delete", "debezium_time": "connect",
  "columns": {"id": "int", "name": "text", "day": "date", "at": "timestamp(3)"}}') IS NOT NULL AS merged;
SELECT inserted, updated, deleted FROM datamill.cdc_merge('cdc_debezium.flat', 's3://debezium/flat/*.jsonl', keys => '{id}', mode => 'feed', options => '{"server": "debezium_files",
  "format": "jsonl", "sequence_column": "__source_lsn", "operation_column": "__deleted", "delete_values": ["true"]}');
SELECT id, name, operation, eff_start_date, eff_end_date FROM flat_versions ORDER BY id, eff_start_date;
SELECT count(*) AS different FROM ((SELECT id, name, operation, eff_start_date, eff_end_date FROM n_versions EXCEPT SELECT id, name, operation, eff_start_date, eff_end_date FROM f_versions)
  UNION ALL (SELECT id, name, operation, eff_start_date, eff_end_date FROM f_versions EXCEPT SELECT id, name, operation, eff_start_date, eff_end_date FROM n_versions)) d;
SELECT id, name, day, at, operation, eff_start_date, eff_end_date FROM k_versions ORDER BY id, eff_start_date;
SELECT id, eff_start_date, operation FROM k_feed;

-- columns with names that a dataset adds
SELECT datamill.cdc_merge('cdc_debezium.c', $$SELECT '{"op": "c", "after": {"id": 1, "operation": "x", "valid": true}, "source": {"lsn": 1}}'::json AS value$$, keys => '{id}', mode => 'feed',
  options => '{"format": "debezium", "columns": {"id": "int", "operation": "text", "valid": "boolean"}}');
SELECT datamill.cdc_merge('cdc_debezium.c', $$SELECT '{"op": "c", "after": {"id": 1, "operation": "x", "valid": true}, "source": {"lsn": 1}}'::json AS value$$, keys => '{id}', mode => 'feed',
  options => '{"format": "debezium", "columns": {"id": "int", "operation": "text", "valid": "boolean"}, "names": {"operation": "made_by_op", "valid": "period", "eff_start_date": "since"}}') IS NOT NULL AS merged;
SELECT deleted FROM datamill.cdc_merge('cdc_debezium.c', $$SELECT '{"op": "d", "before": {"id": 1}, "source": {"lsn": 5}}'::json AS value$$, mode => 'feed');
SELECT id, operation, valid, made_by_op, since, eff_end_date, period FROM c_versions;
SELECT * FROM datamill.check_dataset('cdc_debezium.c');
SELECT datamill.cdc_merge('cdc_debezium.d', 'SELECT 1 AS id, 2 AS unavailable_columns, 3 AS seq', keys => '{id}', mode => 'feed', options => '{"sequence_column": "seq"}');

-- times as sequences
SELECT inserted FROM datamill.cdc_merge('cdc_debezium.s', $$SELECT '{"op": "c", "after": {"id": 1}, "source": {"ts_ms": 1609459200123, "commit": "00000027:00000ac0:0002"}}'::json AS payload$$,
  keys => '{id}', mode => 'feed', options => '{"format": "debezium", "sequence_column": "source.ts_ms", "sequence_type": "timestamptz", "columns": {"id": "int"}}');
SELECT id, valid FROM s_versions;
SELECT datamill.drop_dataset('cdc_debezium.s');
SELECT inserted FROM datamill.cdc_merge('cdc_debezium.s', $$SELECT '{"op": "c", "after": {"id": 1}, "source": {"lsn": 24023128}}'::json AS payload$$,
  keys => '{id}', mode => 'feed', options => '{"format": "debezium", "sequence_type": "pg_lsn", "columns": {"id": "int"}}');
SELECT id, valid FROM s_versions;

-- records that are no JSON are rejected like those of any other object
SELECT datamill.cdc_merge('cdc_debezium.n', 's3://debezium/bad/1.jsonl', mode => 'feed', options => '{"server": "debezium_files"}');
SELECT inserted, rejected FROM datamill.cdc_merge('cdc_debezium.n', 's3://debezium/bad/1.jsonl', mode => 'feed', options => '{"server": "debezium_files", "on_error": "quarantine"}');
SELECT id, name, eff_start_date FROM n WHERE id >= 9 ORDER BY id;

-- what is refused
CREATE FUNCTION refuse(value text, options jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text;
BEGIN
  PERFORM datamill.cdc_merge('cdc_debezium.n', format('SELECT %L AS value, 1 AS id', value), mode => 'feed', options => options);
  RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
  RETURN SQLSTATE || ': ' || SQLERRM || ' / ' || hint;
END
$$;
SELECT refuse('{"op": "x", "source": {"pos": 1}}');
SELECT refuse('{"id": 1}');
SELECT refuse('{"op": "c"');
SELECT refuse('{"key": null, "value": "{\"op\": \"m\", "}');
SELECT refuse('{"op": "c", "source": {"pos": 70}}');
SELECT refuse('{"op": "c", "after": {"id": 1}}');
SELECT refuse('{"op": "c", "after": {"id": null}, "source": {"pos": 70}}');
SELECT refuse('{"op": "d", "before": {"name": "x"}, "source": {"pos": 70}}');
SELECT refuse('{"op": "c", "after": {"id": 1, "new": 1}, "source": {"pos": 70}}');
SELECT refuse('{"op": "c", "after": {"id": 1, "new": 1}, "source": {"pos": 70}}', '{"unknown_fields": "ignore"}');
SELECT refuse('{"op": "c", "after": {"id": "one"}, "source": {"pos": 70}}');
SELECT refuse('{"op": "c", "after": {"id": 1, "at": 1.5}, "source": {"pos": 71}}');
SELECT refuse('{"op": "c", "after": {"id": 1, "at": 9223372036854775807}, "source": {"pos": 71}}');
SELECT refuse('{"op": "c", "after": {"id": 1, "at": 5}, "source": {"pos": 71}}', '{"debezium_time": "iso"}');
SELECT refuse('{"op": "c", "after": {"id": 1, "day": 99999999999}, "source": {"pos": 71}}');
SELECT refuse('null', '{"tombstones": "delete"}');
SELECT refuse('null');
SELECT refuse('{}', '{"value_column": "nothing"}');
SELECT refuse('{}', '{"key_column": "nothing"}');
SELECT refuse('{}', '{"operation_column": "op"}');
SELECT refuse('{}', '{"debezium_time": "days"}');
DROP SCHEMA cdc_debezium CASCADE;
DROP SERVER debezium_files CASCADE;
