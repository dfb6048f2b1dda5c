-- alter_dataset writes what no user writes: no policy hides rows from it, no trigger sees or skips them. prune_history where policies, foreign
-- partitions or lost tables are in the way.
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET timezone = 'UTC';
CREATE SCHEMA cdc_alterw;
CREATE FUNCTION cdc_alterw.skip() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end';
CREATE FUNCTION cdc_alterw.more() RETURNS trigger LANGUAGE plpgsql AS 'begin new.v := new.v + 1; return new; end';

-- stamps come and go, also with sensitive columns
SELECT inserted FROM datamill.cdc_merge('cdc_alterw.t', 'SELECT i AS id, i AS v, i AS secret FROM generate_series(1, 3) i', keys => '{id}', effective => '2020-01-01',
  options => '{"sensitive": ["secret"], "deletes": "ignore"}');
SELECT updated FROM datamill.cdc_merge('cdc_alterw.t', 'SELECT i AS id, CASE i WHEN 3 THEN 30 ELSE i END AS v, i AS secret FROM generate_series(1, 3) i', effective => '2020-01-02');
CREATE TRIGGER a BEFORE UPDATE ON cdc_alterw.t FOR EACH ROW EXECUTE FUNCTION cdc_alterw.more();
CREATE TRIGGER s BEFORE UPDATE ON cdc_alterw.t FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION cdc_alterw.skip();
CREATE TRIGGER s BEFORE UPDATE ON cdc_alterw.t_sensitive FOR EACH ROW EXECUTE FUNCTION cdc_alterw.skip();
SELECT datamill.alter_dataset('cdc_alterw.t', '{"stamp_operation": true}');
SELECT id, v, operation, made_by FROM cdc_alterw.t ORDER BY id;
SELECT id, operation, made_by FROM cdc_alterw.t_sensitive ORDER BY id;
ALTER TABLE cdc_alterw.t DISABLE TRIGGER USER;
SELECT unchanged, missing FROM datamill.cdc_merge('cdc_alterw.t', 'SELECT i AS id, CASE i WHEN 3 THEN 30 ELSE i END AS v, i AS secret FROM unnest(ARRAY[1, 3]) i', effective => '2020-01-03');
SELECT id, v, operation, made_by FROM cdc_alterw.t ORDER BY id;
ALTER TABLE cdc_alterw.t ENABLE TRIGGER USER;
SELECT datamill.alter_dataset('cdc_alterw.t', '{"stamp_operation": false}');
SELECT id, v, operation FROM cdc_alterw.t ORDER BY id;
SELECT * FROM datamill.check_dataset('cdc_alterw.t');

-- as an owner who is subject to policies
CREATE ROLE cdc_alterw_owner;
GRANT USAGE, CREATE ON SCHEMA cdc_alterw TO cdc_alterw_owner;
SET ROLE cdc_alterw_owner;
SELECT inserted FROM datamill.cdc_merge('cdc_alterw.r', 'SELECT i AS id, i AS v FROM generate_series(1, 2) i', keys => '{id}', effective => '2020-01-01');
SELECT updated FROM datamill.cdc_merge('cdc_alterw.r', 'SELECT i AS id, 0 AS v FROM generate_series(1, 2) i', effective => '2020-01-02');
ALTER TABLE cdc_alterw.r ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one ON cdc_alterw.r USING (id = 1);
SELECT datamill.alter_dataset('cdc_alterw.r', '{"stamp_operation": true}');
RESET ROLE;
SELECT id, v, operation, made_by FROM cdc_alterw.r ORDER BY id;
SELECT unchanged FROM datamill.cdc_merge('cdc_alterw.r', 'SELECT i AS id, 0 AS v FROM generate_series(1, 2) i', effective => '2020-01-03');
SET ROLE cdc_alterw_owner;
SELECT datamill.alter_dataset('cdc_alterw.r', '{"stamp_operation": false}');
RESET ROLE;
SELECT id, v, operation FROM cdc_alterw.r ORDER BY id;
SET ROLE cdc_alterw_owner;
ALTER TABLE cdc_alterw.r_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY one ON cdc_alterw.r_history USING (id = 1);
SELECT * FROM datamill.prune_history('cdc_alterw.r', '2020-02-01');
RESET ROLE;
SELECT count(*) FROM cdc_alterw.r_history;
SELECT pruned_through FROM datamill.datasets WHERE current_table = 'cdc_alterw.r'::regclass;
SELECT * FROM datamill.prune_history('cdc_alterw.r', '2020-02-01');

-- a trigger that keeps versions
CREATE TRIGGER s BEFORE DELETE ON cdc_alterw.t_history FOR EACH ROW WHEN (OLD.id = 3) EXECUTE FUNCTION cdc_alterw.skip();
SELECT * FROM datamill.prune_history('cdc_alterw.t', '2020-02-01');
SELECT count(*) FROM cdc_alterw.t_history;

-- a partition that is a foreign table is detached
CREATE FOREIGN DATA WRAPPER cdc_alterw_fdw;
CREATE SERVER cdc_alterw_server FOREIGN DATA WRAPPER cdc_alterw_fdw;
SELECT inserted FROM datamill.cdc_merge('cdc_alterw.m', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2020-01-01', options => '{"history_partition": "month"}');
SELECT updated FROM datamill.cdc_merge('cdc_alterw.m', 'SELECT 1 AS id, 2 AS v', effective => '2020-02-02');
CREATE FOREIGN TABLE cdc_alterw.m_far PARTITION OF cdc_alterw.m_history FOR VALUES FROM ('2020-01-01') TO ('2020-02-01') SERVER cdc_alterw_server;
SET client_min_messages = notice;
SELECT * FROM datamill.prune_history('cdc_alterw.m', '2020-04-01');
SET client_min_messages = warning;
SELECT c.relkind, c.relispartition FROM pg_class c WHERE c.oid = 'cdc_alterw.m_far'::regclass;
SELECT * FROM datamill.prune_history('cdc_alterw.m', '2020-04-01');

-- tables that were dropped
SELECT inserted FROM datamill.cdc_merge('cdc_alterw.d', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2020-01-01');
DROP TABLE cdc_alterw.d_history CASCADE;
SELECT datamill.alter_dataset('cdc_alterw.d', '{"stamp_operation": true}');
\echo :SQLSTATE
SELECT datamill.alter_dataset('cdc_alterw.d', '{"untracked": ["v"]}');
\echo :SQLSTATE
SELECT inserted FROM datamill.cdc_merge('cdc_alterw.e', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2020-01-01', options => '{"sensitive": ["v"]}');
DROP TABLE cdc_alterw.e_sensitive_history CASCADE;
SELECT datamill.alter_dataset('cdc_alterw.e', '{"stamp_operation": true}');
SELECT * FROM datamill.prune_history('cdc_alterw.d', '2020-02-01');
\echo :SQLSTATE
SELECT * FROM datamill.prune_history('cdc_alterw.e', '2020-02-01');
\echo :SQLSTATE

DROP SCHEMA cdc_alterw CASCADE;
DROP FOREIGN DATA WRAPPER cdc_alterw_fdw CASCADE;
DROP OWNED BY cdc_alterw_owner;
DROP ROLE cdc_alterw_owner;
