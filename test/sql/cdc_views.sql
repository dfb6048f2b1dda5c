-- Views of a dataset belong to their users, too: names, options, grants and comments stay when the tables change.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA v;
CREATE SCHEMA elsewhere;
CREATE ROLE v_reader;
CREATE FUNCTION v.state(view text) RETURNS text LANGUAGE sql AS $$
  SELECT concat_ws(' | ', array_to_string(c.reloptions, ','), (SELECT string_agg(concat(grantee::regrole, ' ', privilege_type, ' ', is_grantable), ',' ORDER BY grantee, privilege_type) FROM aclexplode(c.relacl) WHERE grantee <> c.relowner), (SELECT string_agg(attname || ' ' || attacl::text, ',') FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL),
    obj_description(c.oid, 'pg_class'), (SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND attname IN ('v', 'n')))
  FROM pg_class c WHERE c.oid = view::regclass $$;
SELECT inserted FROM datamill.cdc_merge('v.t', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2026-01-01', options => '{"on_new_column": "add", "on_type_change": "widen"}');
ALTER VIEW v.t_versions SET (security_invoker = true, security_barrier = true);
GRANT SELECT (id, v) ON v.t_versions TO v_reader;
GRANT SELECT ON v.t_changes TO v_reader WITH GRANT OPTION;
COMMENT ON VIEW v.t_versions IS 'ours, don''t touch';
COMMENT ON COLUMN v.t_versions.v IS 'the value';
SELECT v.state('v.t_versions'), v.state('v.t_changes');
SELECT updated FROM datamill.cdc_merge('v.t', 'SELECT 1 AS id, 1 AS v, 2 AS n', effective => '2026-01-02');
SELECT v.state('v.t_versions'), v.state('v.t_changes');
SELECT unchanged FROM datamill.cdc_merge('v.t', 'SELECT 1 AS id, 1::bigint AS v, 2 AS n', effective => '2026-01-03');
SELECT v.state('v.t_versions'), v.state('v.t_changes'), col_description('v.t_versions'::regclass, 2);
SELECT datamill.alter_dataset('v.t', '{"stamp_operation": true}');
SELECT v.state('v.t_versions');
SELECT datamill.alter_dataset('v.t', '{"stamp_operation": false}');
SELECT v.state('v.t_versions');

-- tables and views are renamed and moved: what is done later is done to them, and to no other of a like name
ALTER TABLE v.t RENAME TO t2;
ALTER VIEW v.t_changes RENAME TO feed;
ALTER VIEW v.feed SET SCHEMA elsewhere;
CREATE VIEW v.t2_versions AS SELECT 'my own' AS mine;
SELECT updated FROM datamill.cdc_merge('v.t2', 'SELECT 1 AS id, 1::bigint AS v, 2 AS n, 3 AS o', effective => '2026-01-04');
SELECT unchanged FROM datamill.cdc_merge('v.t2', 'SELECT 1 AS id, 1::numeric AS v, 2 AS n, 3 AS o', effective => '2026-01-05');
SELECT * FROM v.t2_versions;
SELECT id, v, n, o, operation, valid FROM v.t_versions ORDER BY valid;
SELECT effective, operation, id, v, n, o FROM elsewhere.feed ORDER BY 1, 2;
SELECT versions_view, changes_view FROM datamill.datasets WHERE current_table = 'v.t2'::regclass;
SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'v' AND relnamespace::regnamespace::text IN ('v', 'elsewhere') ORDER BY 1;
-- one that was dropped is made again where a later change needs it, unless its name is taken
DROP VIEW v.t_versions;
SELECT updated FROM datamill.cdc_merge('v.t2', 'SELECT 1 AS id, 1::numeric AS v, 2 AS n, 3 AS o, 4 AS p', effective => '2026-01-06');
DROP VIEW v.t2_versions;
SELECT updated FROM datamill.cdc_merge('v.t2', 'SELECT 1 AS id, 1::numeric AS v, 2 AS n, 3 AS o, 4 AS p', effective => '2026-01-06');
SELECT count(*) FROM v.t2_versions;
SELECT * FROM datamill.check_dataset('v.t2');
SELECT datamill.drop_dataset('v.t2');
SELECT c.oid::regclass FROM pg_class c WHERE relkind IN ('r', 'v') AND relnamespace::regnamespace::text IN ('v', 'elsewhere') ORDER BY 1;

-- indexes of a renamed history
SELECT inserted FROM datamill.cdc_merge('v.i', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2026-01-01', options => '{"history_index": "both"}');
ALTER TABLE v.i_history RENAME TO i_old;
SELECT datamill.alter_dataset('v.i', '{"history_index": "none"}');
SELECT count(*) FROM pg_index WHERE indrelid = 'v.i_old'::regclass;
SELECT datamill.alter_dataset('v.i', '{"history_index": "key"}');
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 'v.i_old'::regclass;
DROP SCHEMA v CASCADE;
DROP SCHEMA elsewhere CASCADE;
DROP ROLE v_reader;
