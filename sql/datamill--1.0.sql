-- datamill 1.0: install script. Sections stand in the order of the flow:
-- store, source, fdw, receipt, load, cdc, transform, job.
\echo Use "CREATE EXTENSION datamill" to load this file. \quit

GRANT USAGE ON SCHEMA datamill TO PUBLIC;

---------------------------------------------------------------- fdw

CREATE FUNCTION datamill.s3_fdw_handler() RETURNS pg_catalog.fdw_handler
AS 'MODULE_PATHNAME', 'dm_s3_fdw_handler' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION datamill.s3_fdw_handler() FROM PUBLIC;
COMMENT ON FUNCTION datamill.s3_fdw_handler() IS 'Handler of foreign-data wrapper datamill_s3.';

CREATE FUNCTION datamill.s3_fdw_validator(options pg_catalog.text[], catalog pg_catalog.oid) RETURNS pg_catalog.void
AS 'MODULE_PATHNAME', 'dm_s3_fdw_validator' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.s3_fdw_validator(pg_catalog.text[], pg_catalog.oid) IS
  'Checks the options of servers, user mappings, tables and columns of datamill_s3.';

CREATE FOREIGN DATA WRAPPER datamill_s3 HANDLER datamill.s3_fdw_handler VALIDATOR datamill.s3_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER datamill_s3 IS
  'Objects of an S3 store, or of a local directory that stands in for one, as foreign tables.';

---------------------------------------------------------------- receipt

CREATE TABLE datamill.receipt_log (
  receipt_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id text NOT NULL,
  kind text NOT NULL,
  definition text NOT NULL,
  arguments jsonb NOT NULL,
  inputs jsonb NOT NULL,
  outputs jsonb NOT NULL,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  owner regrole NOT NULL
);
CREATE INDEX receipt_log_id_idx ON datamill.receipt_log (id);
REVOKE ALL ON datamill.receipt_log FROM PUBLIC;
COMMENT ON TABLE datamill.receipt_log IS 'Rows behind datamill.receipts; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.receipt_log', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.receipt_log_receipt_no_seq', '');

CREATE VIEW datamill.receipts WITH (security_barrier) AS
SELECT r.receipt_no, r.id, r.kind, r.definition, r.arguments, r.inputs, r.outputs, r.started_at, r.finished_at, r.owner
FROM datamill.receipt_log r
WHERE EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.oid = r.owner AND pg_catalog.pg_has_role(o.oid, 'USAGE'));
GRANT SELECT ON datamill.receipts TO PUBLIC;
COMMENT ON VIEW datamill.receipts IS
  'What each operation read and wrote, for the roles that the caller is a member of. id is sha256 over kind, definition, arguments and inputs: the same work on the same bytes has the same id. inputs: uri, etag, version, sha256 (of the bytes as stored), size in bytes, rows. outputs: uri and counts.';

---------------------------------------------------------------- cdc
