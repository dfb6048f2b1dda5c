-- Tables that Citus keeps elsewhere are refused. A stand-in for its catalog, which is all that is asked of it.
SET client_min_messages = warning;
CREATE SCHEMA cdc_citus;
SELECT inserted FROM datamill.cdc_merge('cdc_citus.here', $$SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, 'c'$$,
  keys => '{id}', effective => '2020-01-01');
SELECT inserted FROM datamill.cdc_merge('cdc_citus.away', $$SELECT 1 AS id, 'a' AS name$$, keys => '{id}', effective => '2020-01-01');
CREATE TABLE cdc_citus.bare (id int PRIMARY KEY, name text);
INSERT INTO cdc_citus.bare SELECT id, name FROM cdc_citus.here;
BEGIN;
SET LOCAL allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text, colocationid int, repmodel "char");
RESET allow_system_table_mods;
INSERT INTO pg_catalog.pg_dist_partition VALUES ('cdc_citus.away_history', 'h', '', 1, 's'), ('cdc_citus.bare', 'h', '', 1, 's');
SELECT inserted, unchanged FROM datamill.cdc_merge('cdc_citus.here', $$SELECT id, name FROM cdc_citus.here$$, effective => '2020-01-02');
SAVEPOINT s;
SELECT datamill.cdc_merge('cdc_citus.away', $$SELECT 2 AS id, 'a' AS name$$, effective => '2020-01-02');
ROLLBACK TO s;
SELECT * FROM datamill.cdc_plan('cdc_citus.away', $$SELECT 2 AS id, 'a' AS name$$, effective => '2020-01-02');
ROLLBACK TO s;
SELECT datamill.cdc_undo('cdc_citus.away');
ROLLBACK TO s;
SELECT * FROM datamill.check_dataset('cdc_citus.away');
ROLLBACK TO s;
SELECT datamill.create_dataset('cdc_citus.bare', '{id}');
ROLLBACK;

-- what docs/operations.md shows: changes of a merge here, applied to a table elsewhere
BEGIN;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_citus.here',
  $$SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, 'B' UNION ALL SELECT 4, 'd'$$, effective => '2020-01-02');
SELECT max(merge_id) AS merge FROM datamill.merges WHERE dataset = 'cdc_citus.here'::regclass \gset
DELETE FROM cdc_citus.bare WHERE id IN (SELECT id FROM cdc_citus.here_history WHERE ended_merge_id = :merge);
INSERT INTO cdc_citus.bare SELECT id, name FROM cdc_citus.here WHERE merge_id = :merge;
COMMIT;
SELECT * FROM cdc_citus.bare ORDER BY id;
DROP SCHEMA cdc_citus CASCADE;
