-- Options of cdc_merge whose values are of another type, out of range or name what is taken.
SET client_min_messages = warning;
CREATE SCHEMA cdc_opt;
\getenv buckets DM_BUCKETS
SELECT 'file://' || :'buckets' AS endpoint \gset
CREATE SERVER option_files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FUNCTION cdc_opt.m(options text, source text DEFAULT 'SELECT 1 AS id, 1 AS a, 1::bigint AS s', mode text DEFAULT 'full') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  result text;
BEGIN
  SELECT format('%s inserted', inserted) INTO result FROM datamill.cdc_merge('cdc_opt.d', source, '{id}', CASE WHEN mode = 'feed' THEN now() ELSE '2020-01-01' END, mode, options::jsonb);
  PERFORM datamill.drop_dataset('cdc_opt.d');
  RETURN result;
EXCEPTION WHEN OTHERS THEN
  RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE TABLE cdc_opt.odd (nr serial, options text);
INSERT INTO cdc_opt.odd (options) VALUES
  ('{"max_delete_percent": 1e400}'), ('{"max_delete_percent": -1e400}'), ('{"max_delete_percent": 1e-400}'), ('{"max_delete_percent": -1}'), ('{"max_delete_percent": 0.5}'), ('{"max_delete_percent": 100.0000001}'), ('{"max_delete_percent": "5"}'), ('{"max_delete_percent": null}'),
  ('{"kinds": {"a": 1e400}}'), ('{"kinds": {"a": 1e-400}}'), ('{"kinds": {"a": 1.5}}'), ('{"kinds": {"a": -1}}'), ('{"kinds": {"a": 1.0}}'), ('{"kinds": {"a": "1"}}'), ('{"kinds": {"a": null}}'), ('{"kinds": {"a": [1]}}'), ('{"kinds": {"": 1}}'), ('{"kinds": {"id": 1}}'), ('{"kinds": []}'),
  ('{"names": {"operation": ""}}'), ('{"names": {"operation": "eff_start_date"}}'), ('{"names": {"operation": "x", "merge_id": "x"}}'), ('{"names": {"operation": "ctid"}}'), ('{"names": {"valid": "tableoid"}}'), ('{"names": {"effective": "xmin"}}'), ('{"names": {"made_by": "cmax"}}'), ('{"names": {"ended_by": "xmax"}}'),
  (format('{"names": {"operation": "%s"}}', repeat('x', 64))), (format('{"names": {"operation": "%s"}}', repeat('x', 63))), (format('{"names": {"valid": "%s"}}', repeat('é', 31))), (format('{"names": {"valid": "%s"}}', repeat('é', 32))), ('{"names": {"operation": "a\"b''c"}}'), ('{"names": {"operation": "id"}}'),
  ('{"names": {"operation": 5}}'), ('{"names": {"operation": null}}'), ('{"names": {"nothing": "x"}}'), ('{"names": ["operation"]}'), ('{"names": {"made_by": "a"}}'), ('{"names": {"made_by": "a"}, "stamp_operation": true}'), ('{"kinds": {"a": 3}, "names": {"operation": "previous_a"}}'),
  ('{"duplicates": "last"}'), ('{"duplicates": "last", "sequence_column": "id"}'), ('{"duplicates": "last", "sequence_column": "x"}'), ('{"duplicates": "last", "sequence_column": "ctid"}'), ('{"duplicates": "last", "sequence_column": "s", "sensitive": ["s"]}'),
  ('{"untracked": [null]}'), ('{"untracked": [["a"]]}'), ('{"untracked": "a"}'), ('{"untracked": null}'), ('{"scope": null}'), ('{"": 1}'), ('[]'), ('5'), ('null');
SELECT nr, options, cdc_opt.m(options) FROM cdc_opt.odd ORDER BY nr;
SELECT options, cdc_opt.m(options, mode => 'feed') FROM (VALUES (1, '{"sequence_column": "id"}'), (2, '{"sequence_column": ""}'), (3, '{"sequence_column": "x"}'), (4, '{"sequence_column": "s", "operation_column": "s"}'), (5, '{"sequence_column": "s", "max_delete_percent": 1e400}'),
  (6, '{"sequence_column": "s", "names": {"operation": "unavailable_columns"}}'), (7, '{"sequence_column": "s", "names": {"eff_start_date": "xmin"}}')) v (nr, options) ORDER BY nr;
-- whole numbers are decimal digits
SELECT value, left(cdc_opt.m(format('{"server": "option_files", "on_error": "ignore", "reject_limit": %s}', value), 's3://domains/nulls.csv'), 60) FROM (VALUES (1, '1'), (2, '1.5'), (3, '1e1'), (4, '1e400'), (5, '-1'), (6, '"0x10"'), (7, '"1 "'), (8, '"010"'), (9, '2147483648')) v (nr, value) ORDER BY nr;
ALTER SERVER option_files OPTIONS (max_retries '1.5');
ALTER SERVER option_files OPTIONS (max_retries '0x1');

-- a merge that chooses the last by itself: by a key, by a column that is not there, by NULL
SELECT inserted FROM datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id, 1 AS a', '{id}', '2020-01-01');
SELECT updated FROM datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id, 2 AS a UNION ALL SELECT 1, 2', effective => '2020-01-01', options => '{"duplicates": "last", "sequence_column": "id"}');
SELECT datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id, 2 AS a UNION ALL SELECT 1, 3', effective => '2020-01-01', options => '{"duplicates": "last", "sequence_column": "id"}');
SELECT datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id, 2 AS a', effective => '2020-01-01', options => '{"duplicates": "last", "sequence_column": "operation"}');
SELECT datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id', effective => '2020-01-01', options => '{"duplicates": "last", "sequence_column": "a", "on_missing_column": "ignore"}');
SELECT datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id, 2 AS a, 3 AS s', effective => '2020-01-01', options => '{"duplicates": "last", "sequence_column": "s", "on_new_column": "ignore"}');
SELECT datamill.cdc_merge('cdc_opt.last', 'SELECT 1 AS id, NULL::int AS a', effective => '2020-01-01', mode => 'delta', options => '{"duplicates": "last", "sequence_column": "a"}');
DROP SCHEMA cdc_opt CASCADE;
DROP SERVER option_files;
