-- A merge may repeat the settings of its dataset, in whatever words: what they mean is compared.
SET client_min_messages = warning;
CREATE SCHEMA cdc_repeat;
CREATE FUNCTION cdc_repeat.m(target text, options jsonb, day date DEFAULT '2020-01-01') RETURNS text LANGUAGE sql AS
  $$SELECT format('%s inserted, %s unchanged', inserted, unchanged) FROM datamill.cdc_merge('cdc_repeat.' || target, 'SELECT 1 AS id, 1 AS a, 2 AS b, 3 AS c', '{id}', day, options => m.options)$$;

SELECT cdc_repeat.m('u', '{"untracked": ["a", "b"]}');
SELECT cdc_repeat.m('u', '{"untracked": ["b", "a"]}');
SELECT cdc_repeat.m('u', '{"untracked": ["a", "b", "a"], "kinds": {}}');
SELECT cdc_repeat.m('u', '{"untracked": ["a"]}');
SELECT cdc_repeat.m('u', '{"untracked": ["a", "b", "c"]}');
SELECT cdc_repeat.m('u', '{"untracked": []}');
SELECT cdc_repeat.m('k', '{"untracked": ["a"], "kinds": {"a": 1}}');
SELECT cdc_repeat.m('k', '{"untracked": ["a"], "kinds": {"a": 1}}');
SELECT cdc_repeat.m('k', '{"kinds": {"a": 1.0, "b": 2}}');
SELECT cdc_repeat.m('k', '{"untracked": []}');
SELECT cdc_repeat.m('k', '{"untracked": ["a", "b"]}');
SELECT cdc_repeat.m('k', '{"kinds": {"a": 1, "b": 1}}');
SELECT cdc_repeat.m('k', '{"kinds": {"a": 2}}');
SELECT cdc_repeat.m('t', '{"untracked": ["a", "a"]}');
SELECT cdc_repeat.m('t', '{"untracked": ["a", "a"]}');
SELECT cdc_repeat.m('z', '{"kinds": {"a": 0, "b": 3}}');
SELECT cdc_repeat.m('z', '{"kinds": {"b": 3, "a": 0, "c": 2}}');
SELECT cdc_repeat.m('z', '{"kinds": {"a": 0}}');
SELECT cdc_repeat.m('z', '{"kinds": {"a": 3, "b": 0}}');
-- the defaults in so many words are no difference, and none where they are stored
SELECT cdc_repeat.m('d', '{}');
SELECT cdc_repeat.m('d', '{"untracked": [], "sensitive": [], "kinds": {}, "names": {}, "null_keys": "error", "history_index": "none", "history_partition": "none", "stamp_operation": false, "deletes": "close", "effective_type": "date",
  "duplicates": "error", "on_new_column": "error", "on_missing_column": "error", "on_type_change": "assign"}');
SELECT cdc_repeat.m('d', '{"names": {"operation": "operation"}, "kinds": {"a": 2}, "sensitive": null}');
SELECT cdc_repeat.m('e', '{"sensitive": ["a", "b"], "null_keys": "error", "names": {"operation": "op", "valid": "valid"}, "history_index": "both"}');
SELECT cdc_repeat.m('e', '{"sensitive": ["b", "a", "b"], "names": {"operation": "op"}, "history_index": "both", "stamp_operation": false}');
SELECT cdc_repeat.m('e', '{"sensitive": ["a"]}');
SELECT cdc_repeat.m('e', '{"names": {}}');
SELECT cdc_repeat.m('e', '{"names": {"operation": "op", "valid": "during"}}');
SELECT cdc_repeat.m('e', '{"history_index": "key"}');
SELECT cdc_repeat.m('e', '{"null_keys": "allow"}');
SELECT cdc_repeat.m('e', '{"history_partition": "year"}');
SELECT cdc_repeat.m('e', '{"stamp_operation": true}');
DROP SCHEMA cdc_repeat CASCADE;
