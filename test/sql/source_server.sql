-- Which server an s3:// URL is read through: the named one, the setting's, or the only one that the caller may use.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA srv;
CREATE FUNCTION srv.read(options jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS
  $$ SELECT inserted FROM datamill.cdc_merge('srv.d', 's3://source/spread/1.csv', keys => '{id}', effective => '2024-01-01', options => options) $$;
CREATE FOREIGN DATA WRAPPER srv_other;
CREATE SERVER srv_other FOREIGN DATA WRAPPER srv_other;

-- None.
SELECT srv.read();
\echo :LAST_ERROR_SQLSTATE

-- One.
CREATE SERVER srv_a FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
BEGIN;
SELECT srv.read();
ROLLBACK;

-- Two: the caller says which.
CREATE SERVER srv_b FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint', buckets 'none');
SELECT srv.read();
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT srv.read('{"server": "srv_a"}');
ROLLBACK;
SELECT srv.read('{"server": "srv_b"}');
SET datamill.default_server = 'srv_a';
BEGIN;
SELECT srv.read();
ROLLBACK;
SELECT srv.read('{"server": "srv_b"}');
SET datamill.default_server = 'srv_none';
SELECT srv.read();
RESET datamill.default_server;
SELECT srv.read('{"server": "srv_none"}');
\echo :LAST_ERROR_SQLSTATE
SELECT srv.read('{"server": "srv_other"}');
\echo :LAST_ERROR_SQLSTATE

-- USAGE counts: a server without it is no candidate, and naming it is an error.
CREATE ROLE srv_user;
GRANT USAGE, CREATE ON SCHEMA srv TO srv_user;
SET ROLE srv_user;
SELECT srv.read();
SELECT srv.read('{"server": "srv_a"}');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER srv_a TO srv_user;
SET ROLE srv_user;
BEGIN;
SELECT srv.read();
ROLLBACK;
SELECT srv.read('{"server": "srv_none"}');
RESET ROLE;

DROP SERVER srv_a, srv_b, srv_other CASCADE;
DROP FOREIGN DATA WRAPPER srv_other;
DROP SCHEMA srv CASCADE;
DROP ROLE srv_user;
