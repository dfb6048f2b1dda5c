-- Who may merge, and who sees what.
SET client_min_messages = warning;
CREATE ROLE cdc_owner;
CREATE ROLE cdc_other;
CREATE SCHEMA cdc_rights AUTHORIZATION cdc_owner;
GRANT USAGE ON SCHEMA cdc_rights TO cdc_other;
SET ROLE cdc_owner;
CREATE TABLE cdc_rights.src AS SELECT 1 AS id, 'one' AS name;
SELECT inserted FROM datamill.cdc_merge('cdc_rights.t', 'cdc_rights.src', keys => '{id}', effective => '2020-01-01');
SELECT count(*) FROM datamill.merges;
SELECT count(*) FROM datamill.receipts WHERE definition = 'cdc_rights.t';
SELECT current_table, owner FROM datamill.datasets;
-- the tables behind the views are nobody's
SELECT * FROM datamill.merge_catalog;
SELECT * FROM datamill.receipt_log;
INSERT INTO datamill.dataset_catalog DEFAULT VALUES;
DELETE FROM datamill.merges;
SELECT nextval('datamill.merge_catalog_merge_id_seq');

SET ROLE cdc_other;
SELECT count(*) FROM datamill.merges WHERE dataset::text LIKE 'cdc_rights.%';
SELECT count(*) FROM datamill.receipts WHERE definition LIKE 'cdc_rights.%';
SELECT count(*) FROM datamill.datasets WHERE current_table::text LIKE 'cdc_rights.%';
SELECT datamill.cdc_merge('cdc_rights.mine', 'SELECT 1 AS id', keys => '{id}');
SELECT datamill.cdc_merge('cdc_of_other.t', 'SELECT 1 AS id', keys => '{id}');
SELECT datamill.cdc_merge('cdc_rights.t', 'SELECT 1 AS id, ''x'' AS name', effective => '2020-01-02');
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON cdc_rights.t TO cdc_other;
SET ROLE cdc_other;
SELECT datamill.cdc_merge('cdc_rights.t', 'SELECT 1 AS id, ''x'' AS name', effective => '2020-01-02');
RESET ROLE;
GRANT INSERT ON cdc_rights.t_history TO cdc_other;
SET ROLE cdc_other;
-- reading the source is the caller's right, too
SELECT datamill.cdc_merge('cdc_rights.t', 'cdc_rights.src', effective => '2020-01-02');
SELECT updated FROM datamill.cdc_merge('cdc_rights.t', 'SELECT 1 AS id, ''x'' AS name', effective => '2020-01-02');
SELECT count(*) FROM datamill.merges WHERE dataset::text LIKE 'cdc_rights.%';
RESET ROLE;

-- objects on the caller's search path do not stand in for the catalog's
CREATE SCHEMA cdc_trap;
GRANT USAGE ON SCHEMA cdc_trap TO cdc_other;
CREATE FUNCTION cdc_trap.nextval(text) RETURNS bigint LANGUAGE sql AS 'SELECT -666::bigint';
CREATE FUNCTION cdc_trap.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '1999-01-01'::timestamptz$$;
SET ROLE cdc_other;
SET search_path = cdc_trap, pg_catalog;
SELECT updated FROM datamill.cdc_merge('cdc_rights.t', 'SELECT 1 AS id, ''y''::text AS name', effective => '2020-01-03');
RESET search_path;
RESET ROLE;
SELECT count(*) FROM datamill.merges WHERE merge_id = -666 OR finished_at < '2000-01-01';

-- row-level security: whoever it applies to cannot merge
ALTER TABLE cdc_rights.t ENABLE ROW LEVEL SECURITY;
SET ROLE cdc_other;
SELECT datamill.cdc_merge('cdc_rights.t', 'SELECT 1 AS id, ''z'' AS name', effective => '2020-01-04');
SET ROLE cdc_owner;
SELECT updated FROM datamill.cdc_merge('cdc_rights.t', 'SELECT 1 AS id, ''z'' AS name', effective => '2020-01-04');
RESET ROLE;

DROP SCHEMA cdc_rights CASCADE;
DROP SCHEMA cdc_trap CASCADE;
DROP OWNED BY cdc_owner, cdc_other;
DROP ROLE cdc_owner, cdc_other;
