-- datamill 1.0: install script. Sections stand in the order of the flow:
-- store, source, fdw, receipt, load, cdc, transform, job.
\echo Use "CREATE EXTENSION datamill" to load this file. \quit

-- Made here and not by the control file: a schema that somebody made before is an error, and DROP EXTENSION drops it.
CREATE SCHEMA datamill;
COMMENT ON SCHEMA datamill IS 'Functions, tables and views of extension datamill.';
GRANT USAGE ON SCHEMA datamill TO PUBLIC;

---------------------------------------------------------------- base

CREATE TYPE datamill.role;
CREATE FUNCTION datamill.role_in(pg_catalog.cstring) RETURNS datamill.role AS 'MODULE_PATHNAME', 'dm_role_in_sql' LANGUAGE C STABLE STRICT PARALLEL SAFE;
CREATE FUNCTION datamill.role_out(datamill.role) RETURNS pg_catalog.cstring AS 'MODULE_PATHNAME', 'dm_role_out_sql' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION datamill.role_in(pg_catalog.cstring) IS 'Input of type datamill.role.';
COMMENT ON FUNCTION datamill.role_out(datamill.role) IS 'Output of type datamill.role.';
CREATE TYPE datamill.role (INPUT = datamill.role_in, OUTPUT = datamill.role_out, LIKE = pg_catalog.oid, CATEGORY = 'N');
COMMENT ON TYPE datamill.role IS
  'A role, as regrole has it, that a dump can be restored without: a name that is no role here becomes an OID that no role has, another one for each name.';
CREATE CAST (datamill.role AS pg_catalog.oid) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (datamill.role AS pg_catalog.regrole) WITHOUT FUNCTION;
CREATE CAST (pg_catalog.regrole AS datamill.role) WITHOUT FUNCTION AS ASSIGNMENT;

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

---------------------------------------------------------------- source

CREATE FUNCTION datamill.infer_schema(source text, options jsonb DEFAULT '{}')
RETURNS TABLE (column_name text, type text, null_share double precision, example text, confidence text, note text)
AS 'MODULE_PATHNAME', 'dm_infer_schema_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.infer_schema(text, jsonb) IS
  'The columns of a source. Of objects (s3://bucket/glob): names from their headers or records and partitions from their keys, types inferred from the first records of up to eight objects, the share of rows without a value, and an example. confidence: certain (all rows were read), likely (they are a sample), unsure (note says why). Of a relation or query: its columns and types. Options: those of the source (server, format, header, ...). Errors: those of reading the source.';

CREATE FUNCTION datamill.foreign_table_ddl(source text, name text, options jsonb DEFAULT '{}') RETURNS text
AS 'MODULE_PATHNAME', 'dm_foreign_table_ddl_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.foreign_table_ddl(text, text, jsonb) IS
  'CREATE FOREIGN TABLE for the objects of a URL, with the columns that infer_schema finds and the options given. Errors: those of infer_schema.';

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
  owner datamill.role NOT NULL,
  run_id bigint,
  code text,
  metadata jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX receipt_log_id_idx ON datamill.receipt_log (id);
CREATE INDEX receipt_log_run_id_idx ON datamill.receipt_log (run_id) WHERE run_id IS NOT NULL;
REVOKE ALL ON datamill.receipt_log FROM PUBLIC;
COMMENT ON TABLE datamill.receipt_log IS 'Rows behind datamill.receipts; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.receipt_log', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.receipt_log_receipt_no_seq', '');

CREATE VIEW datamill.receipts WITH (security_barrier) AS
SELECT r.receipt_no, r.id, r.kind, r.definition, r.arguments, r.inputs, r.outputs, r.started_at, r.finished_at, r.owner::pg_catalog.regrole AS owner, r.run_id,
  r.code, r.metadata
FROM datamill.receipt_log r
WHERE pg_catalog.pg_has_role(r.owner, 'USAGE');
GRANT SELECT ON datamill.receipts TO PUBLIC;
COMMENT ON VIEW datamill.receipts IS
  'What each operation read and wrote, for the roles that the caller is a member of. id is sha256 over kind, definition, code, arguments and inputs: the same work on the same bytes has the same id. code: sha256 of what a job executes (definition in datamill.jobs), NULL for others. inputs: uri, etag, version, sha256 (of the bytes as stored), size in bytes, rows, server. outputs: uri and counts. run_id: the run of a job that it was written in, or NULL. metadata: what the run recorded with record_metadata().';

CREATE FUNCTION datamill.record_input(
  uri text, version text DEFAULT NULL, sha256 text DEFAULT NULL, size bigint DEFAULT NULL, rows bigint DEFAULT NULL, metadata jsonb DEFAULT '{}')
RETURNS void
AS 'MODULE_PATHNAME', 'dm_record_input_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.record_input(text, text, text, bigint, bigint, jsonb) IS
  'In the run of a job: adds an input to its receipt that datamill does not see by itself. URI, version and sha256 are a part of the receipt''s id. Passwords in URLs, and values of parameters that sign or let in, are blanked out. Errors: 55000 outside of a run; 22023 no URI, no digest, numbers below zero, or metadata that is no object; 54000 more than 16 MB recorded.';

CREATE FUNCTION datamill.record_output(
  uri text, counts jsonb DEFAULT '{}', version text DEFAULT NULL, sha256 text DEFAULT NULL, size bigint DEFAULT NULL, metadata jsonb DEFAULT '{}')
RETURNS void
AS 'MODULE_PATHNAME', 'dm_record_output_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.record_output(text, jsonb, text, text, bigint, jsonb) IS
  'In the run of a job: adds an output to its receipt that datamill does not see by itself, with counts such as {"inserted": 3}. Otherwise as record_input(); a subtransaction that is taken back takes it along. Errors: those of record_input(); 22023 counts that are no numbers.';

CREATE FUNCTION datamill.record_metadata(key text, value jsonb) RETURNS void
AS 'MODULE_PATHNAME', 'dm_record_metadata_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.record_metadata(text, jsonb) IS
  'In the run of a job: adds a member to the metadata of its receipt; of a key that comes again the last value counts. It is no part of the receipt''s id. Errors: 55000 outside of a run; 22023 no key; 54000 more than 16 MB recorded.';

CREATE TABLE datamill.reject_log (
  reject_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  object text NOT NULL,
  row_no bigint NOT NULL,
  line_no bigint NOT NULL,
  byte_offset bigint NOT NULL,
  column_name text,
  sqlstate text NOT NULL,
  message text NOT NULL,
  record text NOT NULL,
  record_cut boolean NOT NULL,
  rejected_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  owner datamill.role NOT NULL,
  receipt text,
  receipt_serial bigint,
  transaction xid8
);
CREATE INDEX reject_log_pending_idx ON datamill.reject_log (receipt_serial) WHERE receipt_serial IS NOT NULL;
REVOKE ALL ON datamill.reject_log FROM PUBLIC;
COMMENT ON TABLE datamill.reject_log IS
  'Rows behind datamill.rejects; written by the library only. receipt_serial and transaction tell which rows an open receipt will own.';
SELECT pg_catalog.pg_extension_config_dump('datamill.reject_log', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.reject_log_reject_no_seq', '');

CREATE VIEW datamill.rejects WITH (security_barrier) AS
SELECT r.reject_no, r.object, r.row_no, r.line_no, r.byte_offset, r.column_name, r.sqlstate, r.message, r.record, r.record_cut,
  r.rejected_at, r.owner::pg_catalog.regrole AS owner, r.receipt
FROM datamill.reject_log r
WHERE pg_catalog.pg_has_role(r.owner, 'USAGE');
GRANT SELECT ON datamill.rejects TO PUBLIC;
COMMENT ON VIEW datamill.rejects IS
  'Rows of objects that on_error quarantine put aside, for the roles that the caller is a member of: object, row (of data, from 1), line and byte offset (of the uncompressed object), column, SQLSTATE, message, the record (its first 1,000 bytes; record_cut tells), when, by which role, and the receipt of the load, or NULL for a plain query.';

---------------------------------------------------------------- uploads

CREATE FUNCTION datamill.abort_uploads(
  url text, older_than interval DEFAULT '1 day', server text DEFAULT NULL, dry_run boolean DEFAULT false,
  OUT bucket text, OUT key text, OUT upload_id text, OUT initiated timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'dm_abort_uploads_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION datamill.abort_uploads(text, interval, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION datamill.abort_uploads(text, interval, text, boolean) IS
  'Aborts uploads that were begun under a prefix (s3://bucket/prefix, no wildcards) longer than older_than ago and neither finished nor aborted, whoever began them: what a killed server process leaves behind. Returns one row each; with dry_run they stay. In a local directory these are hidden temporary files, in the folders under a prefix that ends in a slash. Needs USAGE on the server, and the right to write there. Errors: 42501 no right, 42704 no such bucket, DM002 the store is not available.';

---------------------------------------------------------------- load

CREATE TABLE datamill.load_catalog (
  target regclass NOT NULL,
  target_type regtype NOT NULL,
  bucket text NOT NULL,
  key text NOT NULL,
  etag text NOT NULL,
  version text,
  size bigint NOT NULL,
  rows bigint NOT NULL,
  loaded_at timestamptz NOT NULL,
  receipt text NOT NULL,
  loaded_by datamill.role NOT NULL,
  PRIMARY KEY (target, target_type, bucket, key, etag)
);
REVOKE ALL ON datamill.load_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.load_catalog IS
  'Rows behind datamill.loaded_objects; written by the library only. target_type, the table''s row type, tells the table from a later one with the same OID.';
-- What belongs to a dropped table is not dumped: elsewhere another table might have its OID.
SELECT pg_catalog.pg_extension_config_dump('datamill.load_catalog',
  'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = load_catalog.target AND c.reltype = load_catalog.target_type)');

CREATE VIEW datamill.loaded_objects WITH (security_barrier) AS
SELECT l.target, l.bucket, l.key, l.etag, l.version, l.size, l.rows, l.loaded_at, l.receipt, l.loaded_by::pg_catalog.regrole AS loaded_by
FROM datamill.load_catalog l JOIN pg_catalog.pg_class c ON c.oid = l.target AND c.reltype = l.target_type
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role(l.loaded_by, 'USAGE');
GRANT SELECT ON datamill.loaded_objects TO PUBLIC;
COMMENT ON VIEW datamill.loaded_objects IS
  'The ledger of load(): one row an object and content (etag) that was loaded into a table, for members of the table''s owner and of the role that loaded it. rows counts a forced repetition again.';

CREATE FUNCTION datamill.load(
  source text, target regclass, mode text DEFAULT 'append', keys text[] DEFAULT NULL, options jsonb DEFAULT '{}',
  OUT files bigint, OUT files_skipped bigint, OUT rows bigint, OUT rejected bigint, OUT bytes bigint, OUT receipt text)
AS 'MODULE_PATHNAME', 'dm_load_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.load(text, regclass, text, text[], jsonb) IS
  'Loads a source (a relation, one query, or an object URL s3://bucket/glob) into a table. Modes: append; replace (the rows that were there are deleted); upsert (rows whose keys, the columns of a unique index, are there are updated). An object that was loaded into the table before is skipped; one that has changed since is an error. Options: force (load again), on_changed (error, load, skip), and those of the source (server, header, delimiter, ...). Columns that the source lacks get their defaults. Errors: 55000 a changed object, 42703 columns that do not match, 21000 a key twice in an upsert, 22023 an unknown option.';

CREATE FUNCTION datamill.forget_loads(target regclass, url text DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_forget_loads_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.forget_loads(regclass, text) IS
  'Removes objects from the ledger of a table, all or those that a URL (s3://bucket/glob) names, so that load() takes them for new. For members of the table''s owner. Rows and receipts stay. Returns how many entries were removed. Errors: 42501 not the owner, 22023 no URL of objects.';

CREATE VIEW datamill.progress WITH (security_barrier) AS
SELECT p.pid, (ARRAY['load', 'copy from', 'unload', 'copy to', 'cdc_merge'])[p.param20] AS operation,
  nullif(p.relid, 0::oid)::regclass AS relation, p.param19 AS objects, p.param18 AS objects_total, p.param1 AS bytes,
  p.param2 AS bytes_total, p.param3 AS rows, p.param4 AS rejected, p.param17 AS retries
FROM pg_catalog.pg_stat_get_progress_info('COPY') p
WHERE p.param20 > 0 AND p.datid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database());
GRANT SELECT ON datamill.progress TO PUBLIC;
COMMENT ON VIEW datamill.progress IS
  'Loads, unloads and merges that run in this database, for whoever may see the statistics of their sessions: objects and bytes (as stored) done and to be done so far as they are known, rows read or written, rows left out as bad, retries of requests. All but objects and retries shows in pg_stat_progress_copy as well.';

CREATE FUNCTION datamill.load_status(
  target regclass, OUT objects bigint, OUT changed_objects bigint, OUT rows bigint, OUT bytes bigint,
  OUT last_load timestamptz)
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
  SELECT pg_catalog.count(DISTINCT (l.bucket, l.key)), pg_catalog.count(*) - pg_catalog.count(DISTINCT (l.bucket, l.key)),
    coalesce(pg_catalog.sum(l.rows), 0)::bigint, coalesce(pg_catalog.sum(l.size), 0)::bigint,
    pg_catalog.max(l.loaded_at)
  FROM datamill.loaded_objects l WHERE l.target = $1
$$;
COMMENT ON FUNCTION datamill.load_status(regclass) IS
  'What load() has loaded into a table: objects, how many contents of them beyond the first, rows, bytes and the time of the last load, as far as the caller sees them in datamill.loaded_objects.';

CREATE FUNCTION datamill.unload(
  source text, url text, options jsonb DEFAULT '{}',
  OUT files bigint, OUT rows bigint, OUT bytes bigint, OUT receipt text)
AS 'MODULE_PATHNAME', 'dm_unload_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.unload(text, text, jsonb) IS
  'Writes the rows of a source (a relation, one query, or an object URL) to objects whose keys begin with that of the URL s3://bucket/prefix: prefix00000.csv and so on. None of them appears before all rows are written. Options: server, format (csv, jsonl, json), header, delimiter, quote, escape, null, encoding, force_quote, compression (none, gzip, zstd), level, max_file_size, partition_by, include, manifest, overwrite, extension, empty, source, and Redshift''s addquotes, gzip, zstd, maxfilesize, allowoverwrite, cleanpath, parallel. Returns the objects, rows and bytes as stored, and the id of the receipt (NULL in a read-only transaction). Errors: 42710 an object that is there already, 42703 a column of an option that there is not, 22023 a URL or an option that is wrong.';

---------------------------------------------------------------- cdc

CREATE TABLE datamill.dataset_catalog (
  dataset_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  current_table regclass NOT NULL UNIQUE,
  history_table regclass NOT NULL,
  versions_view regclass NOT NULL,
  changes_view regclass NOT NULL,
  keys text[] NOT NULL,
  untracked text[] NOT NULL,
  deletes text NOT NULL CHECK (deletes IN ('close', 'ignore')),
  effective_type text NOT NULL CHECK (effective_type IN ('date', 'timestamptz', 'timestamp', 'bigint', 'numeric', 'pg_lsn', 'text')),
  feed_table regclass,
  sequence_column text,
  operation_column text,
  delete_values text[],
  settings jsonb NOT NULL DEFAULT '{}',
  sensitive_table regclass,
  sensitive_history_table regclass,
  sensitive_versions_view regclass,
  pruned_through timestamptz,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
REVOKE ALL ON datamill.dataset_catalog FROM PUBLIC;
CREATE FUNCTION datamill.dataset_is_whole(id bigint) RETURNS boolean LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM datamill.dataset_catalog d WHERE d.dataset_id = dataset_is_whole.id
    AND NOT EXISTS (SELECT FROM pg_catalog.unnest(ARRAY[d.current_table, d.history_table, d.feed_table, d.sensitive_table, d.sensitive_history_table]::pg_catalog.oid[]) t (oid)
      WHERE t.oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.oid)));
END;
COMMENT ON FUNCTION datamill.dataset_is_whole(bigint) IS 'Are all tables of the dataset there? For dumps.';
COMMENT ON TABLE datamill.dataset_catalog IS 'Rows behind datamill.datasets; written by the library only.';
-- What belongs to a dropped table is not dumped: elsewhere another table might have its OID. As soon as one of its tables is gone, a dataset is none any more.
SELECT pg_catalog.pg_extension_config_dump('datamill.dataset_catalog', 'WHERE datamill.dataset_is_whole(dataset_id)');
SELECT pg_catalog.pg_extension_config_dump('datamill.dataset_catalog_dataset_id_seq', '');

CREATE TABLE datamill.feed_catalog (
  dataset_id bigint PRIMARY KEY REFERENCES datamill.dataset_catalog ON DELETE CASCADE,
  options jsonb NOT NULL
);
REVOKE ALL ON datamill.feed_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.feed_catalog IS 'Options of mode feed that the first merge of a dataset gave; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.feed_catalog', 'WHERE datamill.dataset_is_whole(dataset_id)');

CREATE TABLE datamill.feed_truncate_catalog (
  dataset_id bigint NOT NULL REFERENCES datamill.dataset_catalog ON DELETE CASCADE,
  sequence text NOT NULL,
  merge_id bigint NOT NULL,
  PRIMARY KEY (dataset_id, sequence)
);
REVOKE ALL ON datamill.feed_truncate_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.feed_truncate_catalog IS 'Truncates of feeds, which end the versions of all keys; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.feed_truncate_catalog', 'WHERE datamill.dataset_is_whole(dataset_id)');

CREATE TYPE datamill.pg_lsn_range AS RANGE (subtype = pg_catalog.pg_lsn, multirange_type_name = datamill.pg_lsn_multirange);
COMMENT ON TYPE datamill.pg_lsn_range IS 'Ranges of pg_lsn: type of column valid of a feed whose sequence is a pg_lsn.';
CREATE TYPE datamill.text_range AS RANGE (subtype = pg_catalog.text, collation = pg_catalog."C", multirange_type_name = datamill.text_multirange);
COMMENT ON TYPE datamill.text_range IS 'Ranges of text in the order of its bytes: type of column valid of a feed whose sequence is text.';

CREATE VIEW datamill.datasets WITH (security_barrier) AS
SELECT d.dataset_id, d.current_table, d.history_table, d.versions_view, d.changes_view, d.keys, d.untracked, d.deletes,
  d.effective_type, d.feed_table, coalesce(d.sequence_column, d.settings->>'sequence_column') AS sequence_column,
  d.operation_column, d.delete_values,
  (SELECT f.options FROM datamill.feed_catalog f WHERE f.dataset_id = d.dataset_id) AS feed_options, coalesce(d.settings->>'duplicates', 'error') AS duplicates,
  coalesce(d.settings->>'null_keys', 'error') AS null_keys, coalesce(d.settings->>'on_new_column', 'error') AS on_new_column,
  coalesce(d.settings->>'on_missing_column', 'error') AS on_missing_column,
  coalesce(d.settings->>'on_type_change', 'assign') AS on_type_change,
  coalesce((d.settings->>'stamp_operation')::boolean, false) AS stamp_operation,
  coalesce(d.settings->'kinds', '{}') AS kinds, coalesce(d.settings->'sensitive', '[]') AS sensitive, d.sensitive_table,
  d.sensitive_history_table, d.sensitive_versions_view, coalesce(d.settings->>'history_partition', 'none') AS history_partition,
  coalesce(d.settings->>'history_index', 'none') AS history_index, coalesce(d.settings->'names', '{}') AS names,
  d.pruned_through, d.created_at, c.relowner::pg_catalog.regrole AS owner
FROM datamill.dataset_catalog d JOIN pg_catalog.pg_class c ON c.oid = d.current_table
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
GRANT SELECT ON datamill.datasets TO PUBLIC;
COMMENT ON VIEW datamill.datasets IS
  'Targets that cdc_merge keeps, for the roles that the caller is a member of: their tables, views, key columns and settings. pruned_through: history lacks versions that ended up to then (a date: its midnight in UTC).';

CREATE TABLE datamill.merge_catalog (
  merge_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  dataset_id bigint NOT NULL REFERENCES datamill.dataset_catalog ON DELETE CASCADE,
  effective timestamptz NOT NULL,
  effective_day date,
  mode text NOT NULL,
  source text NOT NULL,
  inserted bigint NOT NULL,
  updated bigint NOT NULL,
  deleted bigint NOT NULL,
  unchanged bigint NOT NULL,
  missing bigint NOT NULL,
  rejected bigint NOT NULL,
  refreshed bigint NOT NULL,
  live_rows bigint,
  receipt text NOT NULL,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  merged_by datamill.role NOT NULL
);
CREATE INDEX merge_catalog_dataset_idx ON datamill.merge_catalog (dataset_id, merge_id);
REVOKE ALL ON datamill.merge_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.merge_catalog IS 'Rows behind datamill.merges; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.merge_catalog', 'WHERE datamill.dataset_is_whole(dataset_id)');
SELECT pg_catalog.pg_extension_config_dump('datamill.merge_catalog_merge_id_seq', '');

CREATE VIEW datamill.merges WITH (security_barrier) AS
SELECT m.merge_id, d.current_table AS dataset, m.effective, m.effective_day, m.mode, m.source, m.inserted, m.updated,
  m.deleted, m.unchanged, m.missing, m.rejected, m.refreshed, m.live_rows, m.receipt, m.started_at, m.finished_at, m.merged_by::pg_catalog.regrole AS merged_by
FROM datamill.merge_catalog m JOIN datamill.dataset_catalog d USING (dataset_id) JOIN pg_catalog.pg_class c ON c.oid = d.current_table
WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.pg_has_role(m.merged_by, 'USAGE');
GRANT SELECT ON datamill.merges TO PUBLIC;
COMMENT ON VIEW datamill.merges IS
  'One row a merge of a dataset whose owner, or whose merging role, the caller is a member of. effective is the argument; effective_day the date stored where the dataset keeps dates; refreshed the unchanged rows whose untracked columns were brought up to date; live_rows the rows of current after it.';

CREATE FUNCTION datamill.cdc_merge(
  target text, source text, keys text[] DEFAULT NULL, effective timestamptz DEFAULT pg_catalog.now(),
  mode text DEFAULT 'full', options jsonb DEFAULT '{}',
  OUT inserted bigint, OUT updated bigint, OUT deleted bigint, OUT unchanged bigint, OUT missing bigint,
  OUT rejected bigint, OUT receipt text)
AS 'MODULE_PATHNAME', 'dm_cdc_merge_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.cdc_merge(text, text, text[], timestamptz, text, jsonb) IS
  'Brings a dataset (current table, history table, versions and changes views) up to date with a source: a relation, one query, or an object URL s3://bucket/glob. The first call creates the dataset and needs keys. Mode full: the source holds every live key, and versions of keys that are missing from it are closed. Mode delta: the source holds keys that are new or may have changed; all others are left alone. Mode feed: rows are events with an operation and a sequence, in any order. Options: deletes (close, ignore), scope (condition on current: full within it), max_delete_percent, allow_empty, settings of the dataset as create_dataset takes them (names, untracked, kinds, sensitive, duplicates, sequence_column, null_keys, on_new_column, on_missing_column, on_type_change, stamp_operation, effective_type, history_partition, history_index), those of mode feed (sequence_column, sequence_type, operation_column, delete_values, truncate_values; of format debezium columns, tombstones, debezium_time, unavailable_value, value_column and key_column), and those of the source (server, header, delimiter, ...). Returns the counts and the id of the receipt. Errors: 42703 columns that do not match, 23502 a NULL key, 21000 a key twice in the source or two values of a key at one sequence, 22023 an effective date before the last one, or an option that is unknown or not for the mode or source, 42809 a target that is no ordinary or partitioned table, 55006 and 55000 a source or trigger that changes the target, 02000 an empty source, 54000 more deletes than max_delete_percent, 40001 a concurrent merge in REPEATABLE READ.';

CREATE FUNCTION datamill.create_dataset(
  target text, keys text[], columns text DEFAULT NULL, source text DEFAULT NULL, effective timestamptz DEFAULT now(),
  options jsonb DEFAULT '{}') RETURNS regclass
AS 'MODULE_PATHNAME', 'dm_create_dataset_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.create_dataset(text, text[], text, text, timestamptz, jsonb) IS
  'Creates a dataset with every setting, without merging: with the columns of a list (''id int, name text'') or of a source (types inferred), empty; or, if the target is an ordinary or partitioned table with a unique key of these columns (or with option adopt), from that table: its rows become versions that start at effective, and the columns that a dataset adds are added to it. Options: settings of the dataset (names, untracked, kinds, sensitive, deletes, duplicates, sequence_column, null_keys, on_new_column, on_missing_column, on_type_change, stamp_operation, effective_type, history_partition, history_index), adopt, and those of the source. Returns the current table. Errors: 42P07 the target exists, 42809 it is a view or the like, 42703 and 42701 columns that are missing or have a name that is taken, 22023 settings that do not go together, 21000 and 23502 rows that are adopted with one key or none.';

CREATE FUNCTION datamill.alter_dataset(target text, options jsonb) RETURNS void
AS 'MODULE_PATHNAME', 'dm_alter_dataset_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.alter_dataset(text, jsonb) IS
  'Changes settings of a dataset: deletes, untracked, kinds (other than 3), duplicates, sequence_column, on_new_column, on_missing_column, on_type_change, stamp_operation, history_index. Those that decide which columns are compared rewrite the hashes of current. For the owner of the current table. Errors: 22023 a setting that cannot be altered, 42703 a column that is not there, 42501 not the owner.';

CREATE FUNCTION datamill.prune_history(target text, older_than timestamptz, OUT removed bigint, OUT partitions text[])
AS 'MODULE_PATHNAME', 'dm_prune_history_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.prune_history(text, timestamptz) IS
  'Takes versions that ended at older_than or before out of history: whole partitions that ended by then where history has partitions, else row by row. Open versions, the log of merges and receipts stay. Queries as of older_than and later give what they gave. Returns the number of versions removed and the partitions dropped. For the owner of the current table. Errors: 42501 not the owner, 0A000 a feed.';

CREATE FUNCTION datamill.cdc_plan(
  target text, source text, keys text[] DEFAULT NULL, effective timestamptz DEFAULT pg_catalog.now(),
  mode text DEFAULT 'full', options jsonb DEFAULT '{}')
RETURNS TABLE (operation text, rows bigint, sample jsonb)
AS 'MODULE_PATHNAME', 'dm_cdc_plan_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.cdc_plan(text, text, text[], timestamptz, text, jsonb) IS
  'What cdc_merge with the same arguments would do, without doing it: for each operation (I, U, D, N, X) the number of rows and up to five keys as examples. Raises what the merge would raise about the source and the dataset. Needs SELECT on the current table; of a feed, on its history and points, too; with sensitive columns, on their current table, too; for a new dataset CREATE on the schema, and for columns that would be added or widened the owner of the tables, both in a transaction that may write.';

CREATE FUNCTION datamill.cdc_undo(
  target text, OUT merge_id bigint, OUT removed bigint, OUT restored bigint, OUT receipt text)
AS 'MODULE_PATHNAME', 'dm_cdc_undo_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.cdc_undo(text) IS
  'Takes the last merge of a dataset back: versions that it made are removed from current, versions that it ended return from history. Returns the merge and the numbers of versions removed and restored. Errors: 55000 no merge to take back, 0A000 the merge brought untracked columns up to date, whose values before are not kept. Of a feed: removed and restored count the versions that are there no more, and those that are back or changed.';

CREATE FUNCTION datamill.cdc_restate(
  target text, source text, effective timestamptz, mode text DEFAULT 'full', options jsonb DEFAULT '{}',
  OUT inserted bigint, OUT updated bigint, OUT deleted bigint, OUT unchanged bigint, OUT missing bigint,
  OUT rejected bigint, OUT receipt text)
AS 'MODULE_PATHNAME', 'dm_cdc_restate_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.cdc_restate(text, text, timestamptz, text, jsonb) IS
  'Replaces the batch of the last effective date: takes every merge of that date back and merges the source in their place, in one transaction. Returns as cdc_merge. Errors: as cdc_merge and cdc_undo, and 22023 for a date that is not the last.';

CREATE FUNCTION datamill.cdc_diff(target text, from_effective timestamptz, to_effective timestamptz)
RETURNS TABLE (operation "char", key jsonb, before jsonb, after jsonb)
AS 'MODULE_PATHNAME', 'dm_cdc_diff_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.cdc_diff(text, timestamptz, timestamptz) IS
  'Keys of a dataset that differ between two effective dates: I came, D went, U have other values; with the values at either date. What changed in between and back again does not show. Needs SELECT on current and history. Errors: 0A000 a feed whose bounds are not moments (see its versions view).';

CREATE FUNCTION datamill.check_dataset(target text)
RETURNS TABLE (problem text, key jsonb, detail text)
AS 'MODULE_PATHNAME', 'dm_check_dataset_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.check_dataset(text) IS
  'What is wrong with a dataset, no row if nothing is: versions of one key that overlap, versions that end before they start, two current rows of a key, rows of current edited by hand (which a merge copes with), and of a feed keys of which other versions are stored than their events give. Reads the tables whole. Needs SELECT on all of them.';

CREATE FUNCTION datamill.drop_dataset(target text, keep_tables boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'dm_drop_dataset_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.drop_dataset(text, boolean) IS
  'Ends a dataset: forgets its settings and its log of merges (receipts stay) and drops its views and tables, or keeps them as ordinary ones. For the owner of the current table. Errors: 42501 not the owner, 2BP01 something else depends on its relations.';

CREATE FUNCTION datamill.generate_cdc(
  initial bigint, incremental bigint, keys integer, nonkeys integer, deleted double precision,
  updated double precision, unchanged double precision, initial_url text, incremental_url text, seed bigint DEFAULT 1,
  server text DEFAULT NULL)
RETURNS TABLE (url text, records bigint)
AS 'MODULE_PATHNAME', 'dm_generate_cdc_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.generate_cdc(bigint, bigint, integer, integer, double precision, double precision, double precision, text, text, bigint, text) IS
  'Writes two days of a made-up extract, one CSV object (part-00000.csv, with a header) into each of two folders: columns key1.. (uuid) and value1.. (numbers below 10^9). deleted, updated and unchanged are the shares of the initial records that day 2 deletes, changes in value1 and leaves alone; they sum to 1. incremental records make day 2: at least initial x (updated + unchanged), the rest have new keys. Same arguments, same bytes. Errors: 22023 numbers that cannot be met.';

---------------------------------------------------------------- job

CREATE FUNCTION datamill.cron_next(
  schedule text, timezone text DEFAULT 'UTC', after timestamptz DEFAULT pg_catalog.now(), n integer DEFAULT 1)
RETURNS SETOF timestamptz
AS 'MODULE_PATHNAME', 'dm_cron_next_sql' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION datamill.cron_next(text, text, timestamptz, integer) IS
  'The next n times, after a given one, at which a schedule is due in a time zone. A schedule is a cron expression of five fields (names, ranges, lists, steps, $ or L for the last day of the month), a macro (@hourly, @daily, @weekly, @monthly, @yearly), an interval (every 30 s, rate(5 minutes), 30 seconds; counted from `after`), @reboot or @after (no times). Where the clock is put forward, a time that is jumped over comes at the change; where it is put back, one that comes twice counts the first time; expressions whose minutes or hours begin with * follow elapsed time instead. Errors: 22023 no schedule, no time zone, or days that never come.';

CREATE FUNCTION datamill.cron_previous(
  schedule text, timezone text DEFAULT 'UTC', before timestamptz DEFAULT pg_catalog.now(), anchor timestamptz DEFAULT '-infinity')
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'dm_cron_previous_sql' LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION datamill.cron_previous(text, text, timestamptz, timestamptz) IS
  'The last time, before a given one and since the anchor, at which a schedule was due in a time zone: one of those that cron_next gives. Intervals are counted from the anchor and need one. NULL if there is none, or no such time zone here. Errors: 22023 no schedule, or days that never come.';

CREATE TABLE datamill.pool_catalog (
  name text PRIMARY KEY,
  slots integer NOT NULL CHECK (slots >= 0)
);
INSERT INTO datamill.pool_catalog VALUES ('default', 1000);
REVOKE ALL ON datamill.pool_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.pool_catalog IS 'Rows behind datamill.pools; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.pool_catalog', $$WHERE name <> 'default'$$);

CREATE TABLE datamill.job_catalog (
  job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  owner datamill.role NOT NULL,
  body text NOT NULL,
  schedule text,
  timezone text NOT NULL,
  watch text,
  when_sql text,
  overlap text NOT NULL,
  missed text NOT NULL,
  catchup interval NOT NULL,
  timeout interval NOT NULL,
  retries integer NOT NULL,
  backoff interval NOT NULL,
  suspend_after integer NOT NULL,
  pool text NOT NULL,
  arguments jsonb NOT NULL,
  pinned jsonb,
  pipeline text,
  pipeline_owner datamill.role,
  expect text[],
  state text NOT NULL DEFAULT 'active',
  state_reason text,
  failures integer NOT NULL DEFAULT 0,
  crashes integer NOT NULL DEFAULT 0,
  next_due timestamptz,
  not_before timestamptz,
  anchor timestamptz NOT NULL,
  definition text NOT NULL,
  system_identifier bigint NOT NULL,
  database_id oid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  CHECK (schedule IS NOT NULL OR next_due IS NULL),
  UNIQUE (owner, name)
);
CREATE INDEX job_catalog_due_idx ON datamill.job_catalog (next_due) WHERE state = 'active';
CREATE INDEX job_catalog_not_before_idx ON datamill.job_catalog (not_before) WHERE not_before IS NOT NULL;
CREATE INDEX job_catalog_pipeline_idx ON datamill.job_catalog (pipeline) WHERE pipeline IS NOT NULL;
CREATE INDEX job_catalog_watch_idx ON datamill.job_catalog (watch) WHERE watch IS NOT NULL;
REVOKE ALL ON datamill.job_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.job_catalog IS
  'Rows behind datamill.jobs; written by the library only. anchor is the time that intervals are counted from, definition a sha256 of what decides the result, system_identifier and database_id where the job was last created, altered or resumed, not_before the end of the pause after a crash.';
SELECT pg_catalog.pg_extension_config_dump('datamill.job_catalog', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.job_catalog_job_id_seq', '');

CREATE TABLE datamill.watch_catalog (
  job_id bigint REFERENCES datamill.job_catalog ON DELETE CASCADE,
  uri text,
  version text,
  seen_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  run_id bigint,
  PRIMARY KEY (job_id, uri, version)
);
REVOKE ALL ON datamill.watch_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.watch_catalog IS
  'Rows behind datamill.watched_objects; written by the library only. version: what tells one version of an object from another (version, etag, size, modified).';
SELECT pg_catalog.pg_extension_config_dump('datamill.watch_catalog', '');

CREATE TABLE datamill.dependency_catalog (
  job_id bigint REFERENCES datamill.job_catalog ON DELETE CASCADE,
  upstream_id bigint REFERENCES datamill.job_catalog,
  PRIMARY KEY (job_id, upstream_id)
);
CREATE INDEX dependency_catalog_upstream_idx ON datamill.dependency_catalog (upstream_id);
REVOKE ALL ON datamill.dependency_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.dependency_catalog IS 'Which jobs follow which (after of datamill.jobs); written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.dependency_catalog', '');

CREATE TABLE datamill.run_catalog (
  run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id bigint NOT NULL,
  name text NOT NULL,
  owner datamill.role NOT NULL,
  scheduled_time timestamptz NOT NULL,
  attempt integer NOT NULL DEFAULT 1,
  trigger text NOT NULL,
  state text NOT NULL,
  reason text,
  arguments jsonb NOT NULL,
  queued_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  not_before timestamptz,
  launches integer NOT NULL DEFAULT 0,
  started_at timestamptz,
  finished_at timestamptz,
  pid integer,
  sqlstate text,
  message text,
  detail text,
  commands text[],
  result jsonb,
  cpu_seconds double precision,
  peak_memory bigint,
  settled boolean NOT NULL DEFAULT false,
  definition text,
  replay_of bigint,
  UNIQUE (job_id, scheduled_time, attempt)
);
CREATE INDEX run_catalog_queued_idx ON datamill.run_catalog (job_id, scheduled_time, attempt) WHERE state = 'queued';
CREATE INDEX run_catalog_waiting_idx ON datamill.run_catalog (not_before) WHERE state = 'queued';
CREATE INDEX run_catalog_active_idx ON datamill.run_catalog (job_id) WHERE state IN ('starting', 'running');
CREATE INDEX run_catalog_unsettled_idx ON datamill.run_catalog (run_id) WHERE finished_at IS NOT NULL AND NOT settled;
CREATE INDEX run_catalog_finished_idx ON datamill.run_catalog (finished_at);
CREATE INDEX run_catalog_succeeded_idx ON datamill.run_catalog (job_id, scheduled_time) WHERE state = 'succeeded';
REVOKE ALL ON datamill.run_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.run_catalog IS
  'Rows behind datamill.runs; written by the library only. They outlive their job. launches counts processes started for it, settled tells that the scheduler drew its conclusions (retry, what follows, suspension); definition is that of the job as it ran, replay_of the run whose objects it is to read.';
SELECT pg_catalog.pg_extension_config_dump('datamill.run_catalog', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.run_catalog_run_id_seq', '');

CREATE TABLE datamill.event_log (
  event_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event text NOT NULL,
  owner datamill.role NOT NULL,
  job_id bigint,
  run_id bigint,
  payload jsonb NOT NULL DEFAULT '{}',
  happened_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX event_log_late_idx ON datamill.event_log (job_id, happened_at) WHERE event = 'late';
REVOKE ALL ON datamill.event_log FROM PUBLIC;
COMMENT ON TABLE datamill.event_log IS
  'Rows behind datamill.events; written by the library only.';
SELECT pg_catalog.pg_extension_config_dump('datamill.event_log', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.event_log_event_no_seq', '');

CREATE TABLE datamill.notifier_catalog (
  notifier_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  owner datamill.role NOT NULL,
  kind text NOT NULL,
  config jsonb NOT NULL,
  repeat_after interval NOT NULL,
  system_identifier bigint NOT NULL,
  database_id oid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  UNIQUE (owner, name)
);
REVOKE ALL ON datamill.notifier_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.notifier_catalog IS
  'Rows behind datamill.notifiers; written by the library only. system_identifier and database_id tell where the notifier was last created, altered or accepted: elsewhere it sends nothing.';
SELECT pg_catalog.pg_extension_config_dump('datamill.notifier_catalog', '');
SELECT pg_catalog.pg_extension_config_dump('datamill.notifier_catalog_notifier_id_seq', '');

CREATE TABLE datamill.notifier_secret_catalog (
  notifier_id bigint PRIMARY KEY REFERENCES datamill.notifier_catalog ON DELETE CASCADE,
  secret jsonb NOT NULL
);
REVOKE ALL ON datamill.notifier_secret_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.notifier_secret_catalog IS 'Passwords, keys and secret URLs of notifiers; read by the library only, and in no view and no dump.';

CREATE TABLE datamill.subscription_catalog (
  notifier_id bigint NOT NULL REFERENCES datamill.notifier_catalog ON DELETE CASCADE,
  job_id bigint REFERENCES datamill.job_catalog ON DELETE CASCADE,
  event text NOT NULL,
  template jsonb,
  UNIQUE NULLS NOT DISTINCT (notifier_id, job_id, event)
);
CREATE INDEX subscription_catalog_job_idx ON datamill.subscription_catalog (job_id);
REVOKE ALL ON datamill.subscription_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.subscription_catalog IS 'Rows behind datamill.subscriptions; written by the library only. job_id NULL: all jobs of the owner of the notifier.';
SELECT pg_catalog.pg_extension_config_dump('datamill.subscription_catalog', '');

CREATE TABLE datamill.outbox_catalog (
  notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  notifier_id bigint NOT NULL,
  queue bigint NOT NULL,
  job_id bigint,
  job text,
  run_id bigint,
  event text NOT NULL,
  payload jsonb NOT NULL,
  template jsonb,
  count bigint NOT NULL DEFAULT 1,
  first_at timestamptz NOT NULL,
  last_at timestamptz NOT NULL,
  state text NOT NULL DEFAULT 'pending',
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz NOT NULL,
  sent_at timestamptz,
  last_error text
);
CREATE INDEX outbox_catalog_queue_idx ON datamill.outbox_catalog (notifier_id, queue, notification_id);
CREATE INDEX outbox_catalog_open_idx ON datamill.outbox_catalog (notifier_id, queue, notification_id) WHERE state IN ('pending', 'sending');
CREATE INDEX outbox_catalog_sending_idx ON datamill.outbox_catalog (notifier_id) WHERE state = 'sending';
CREATE INDEX outbox_catalog_done_idx ON datamill.outbox_catalog (last_at) WHERE state IN ('sent', 'failed');
REVOKE ALL ON datamill.outbox_catalog FROM PUBLIC;
COMMENT ON TABLE datamill.outbox_catalog IS
  'Rows behind datamill.notifications; written by the library only, in the transaction of the event. What is in one queue of a notifier is sent in order: the number of a job, or a negative one for the name of an event of no job. No foreign key: writing an event waits for nobody who drops a notifier. Not in dumps: what was not sent is not sent by a copy.';

CREATE VIEW datamill.pools WITH (security_barrier) AS
SELECT p.name, p.slots,
  (SELECT pg_catalog.count(*) FROM datamill.run_catalog r JOIN datamill.job_catalog j USING (job_id)
   WHERE j.pool = p.name AND r.state IN ('starting', 'running')) AS used
FROM datamill.pool_catalog p;
GRANT SELECT ON datamill.pools TO PUBLIC;
COMMENT ON VIEW datamill.pools IS 'Pools, which limit how many runs go on at once: how many a pool allows (slots) and how many go on (used).';

CREATE VIEW datamill.jobs WITH (security_barrier) AS
SELECT j.job_id, j.name, j.owner::pg_catalog.regrole AS owner, j.body, j.schedule, j.timezone,
  ARRAY(SELECT u.name FROM datamill.dependency_catalog d JOIN datamill.job_catalog u ON u.job_id = d.upstream_id
        WHERE d.job_id = j.job_id ORDER BY u.name) AS after,
  j.watch, j.when_sql, j.overlap, j.missed, j.catchup, j.timeout, j.retries, j.backoff, j.suspend_after, j.pool, j.arguments, j.expect,
  j.state, j.state_reason, j.failures, j.next_due, j.not_before, j.definition, j.created_at, j.pinned, j.pipeline
FROM datamill.job_catalog j
WHERE pg_catalog.pg_has_role(j.owner, 'USAGE');
GRANT SELECT ON datamill.jobs TO PUBLIC;
COMMENT ON VIEW datamill.jobs IS
  'Jobs of the roles that the caller is a member of: what they run, when, their policies, state (active, paused, suspended, broken) with its reason, failures in a row, when they are next due, and until when they wait after a crash (not_before).';

CREATE VIEW datamill.runs WITH (security_barrier) AS
SELECT r.run_id, r.job_id, r.name, r.owner::pg_catalog.regrole AS owner, r.scheduled_time, r.attempt, r.trigger, r.state, r.reason, r.arguments, r.queued_at, r.not_before,
  r.started_at, r.finished_at, r.finished_at - r.started_at AS duration, r.pid, r.sqlstate, r.message, r.detail, r.commands, r.result,
  r.cpu_seconds, r.peak_memory,
  ARRAY(SELECT c.id FROM datamill.receipt_log c WHERE c.run_id = r.run_id ORDER BY c.receipt_no) AS receipts
FROM datamill.run_catalog r
WHERE pg_catalog.pg_has_role(r.owner, 'USAGE');
GRANT SELECT ON datamill.runs TO PUBLIC;
COMMENT ON VIEW datamill.runs IS
  'Runs of the jobs of the roles that the caller is a member of: state (queued, starting, running, succeeded, failed, crashed, cancelled, skipped, timed_out) with its reason, times, error (sqlstate, message, detail), the command tags of its statements, the rows of the last one that returned any as a jsonb array (result; at most 100 rows), CPU seconds and the peak of resident memory (bytes) of its process, and ids of its receipts. They stay when the job is dropped, for datamill.run_retention.';

CREATE VIEW datamill.next_runs WITH (security_barrier) AS
SELECT j.job_id, j.name, j.owner::pg_catalog.regrole AS owner, j.schedule, j.timezone, GREATEST(j.next_due, j.not_before) AS next_due, j.next_due AT TIME ZONE j.timezone AS local_time
FROM datamill.job_catalog j
WHERE j.state = 'active' AND j.next_due IS NOT NULL
  AND pg_catalog.pg_has_role(j.owner, 'USAGE');
GRANT SELECT ON datamill.next_runs TO PUBLIC;
COMMENT ON VIEW datamill.next_runs IS
  'When each active job of the roles that the caller is a member of is next due, also as local time in the time zone of the job.';

CREATE FUNCTION datamill.scheduler_state() RETURNS text
AS 'MODULE_PATHNAME', 'dm_scheduler_state_sql' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.scheduler_state() IS
  'Whether jobs of this database are started: running, not running (no scheduler is there), off (datamill.scheduler), not preloaded (datamill is not in shared_preload_libraries), or standby.';

CREATE FUNCTION datamill.process_slots(OUT slots integer, OUT used integer, OUT used_here integer) RETURNS record
AS 'MODULE_PATHNAME', 'dm_process_slots_sql' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.process_slots() IS
  'Processes that runs may have at once in the server (datamill.max_runs), how many they have, and how many of these in this database.';

CREATE VIEW datamill.late_job_catalog AS
SELECT j.job_id, j.name, j.owner::pg_catalog.regrole AS owner, j.state, e.expected_at, pg_catalog.now() - e.expected_at AS late_by, s.last_success,
  CASE
    WHEN j.state <> 'active' THEN 'the job is ' || j.state || COALESCE(': ' || j.state_reason, '')
    WHEN h.scheduler = 'not preloaded' THEN 'nothing starts jobs: datamill is not in shared_preload_libraries'
    WHEN h.scheduler = 'off' THEN 'nothing starts jobs: datamill.scheduler is off'
    WHEN h.scheduler = 'standby' THEN 'nothing starts jobs: this server is a standby'
    WHEN r.state = 'running' THEN pg_catalog.format('run %s goes on since %s UTC', r.run_id, pg_catalog.to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
    WHEN h.scheduler = 'not running' THEN 'nothing starts jobs: this database has no scheduler'
    WHEN j.not_before > pg_catalog.now() THEN 'it waits, since a run of it ended with a crash of the server'
    WHEN r.finished_at IS NULL AND r.run_id IS NOT NULL THEN pg_catalog.format('run %s is %s since %s UTC%s', r.run_id, r.state,
      pg_catalog.to_char(r.queued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), COALESCE(': ' || r.reason, ''))
    WHEN r.scheduled_time >= e.due THEN pg_catalog.format('run %s %s', r.run_id,
      pg_catalog.concat_ws(': ', CASE r.state WHEN 'failed' THEN 'failed' WHEN 'crashed' THEN 'crashed' WHEN 'timed_out' THEN 'timed out' ELSE 'was ' || r.state END, r.reason, r.message))
    WHEN r.run_id IS NULL THEN 'it never ran'
    ELSE pg_catalog.format('nothing ran for that time; run %s for %s UTC was the last', r.run_id, pg_catalog.to_char(r.scheduled_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
  END AS why
FROM datamill.job_catalog j
CROSS JOIN LATERAL (SELECT datamill.scheduler_state() AS scheduler OFFSET 0) h
CROSS JOIN LATERAL (
  SELECT pg_catalog.max(l.finished_at) AS last_success,
    pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY pg_catalog.date_part('epoch', l.finished_at - l.started_at)) AS usual
  FROM (SELECT o.finished_at, o.started_at FROM datamill.run_catalog o
        WHERE o.job_id = j.job_id AND o.state = 'succeeded' AND o.trigger <> 'rehearsal' ORDER BY o.scheduled_time DESC LIMIT 20) l) s
CROSS JOIN LATERAL (
  SELECT CASE WHEN s.usual IS NULL THEN LEAST(j.timeout, interval '1 day')
    ELSE LEAST(j.timeout, GREATEST(pg_catalog.make_interval(secs => 2 * s.usual), interval '1 minute')) END AS grace) g
CROSS JOIN LATERAL (
  SELECT t.due AS expected_at, t.due
  FROM (SELECT datamill.cron_previous(j.schedule, j.timezone, pg_catalog.now() - g.grace, j.anchor) AS due) t
  WHERE j.schedule IS NOT NULL
  UNION ALL
  (SELECT x.ready_at, t.due
   FROM (SELECT o.scheduled_time AS due FROM datamill.run_catalog o
         WHERE o.job_id = (SELECT pg_catalog.min(d.upstream_id) FROM datamill.dependency_catalog d WHERE d.job_id = j.job_id)
           AND o.state = 'succeeded' AND o.trigger <> 'rehearsal' ORDER BY o.scheduled_time DESC LIMIT 100) t
   CROSS JOIN LATERAL (
     SELECT pg_catalog.max(u.finished_at) AS ready_at, pg_catalog.count(DISTINCT d.upstream_id) FILTER (WHERE u.run_id IS NULL) AS missing
     FROM datamill.dependency_catalog d
     LEFT JOIN datamill.run_catalog u ON u.job_id = d.upstream_id AND u.scheduled_time = t.due AND u.state = 'succeeded' AND u.trigger <> 'rehearsal'
     WHERE d.job_id = j.job_id) x
   WHERE j.schedule IS NULL AND x.missing = 0 AND x.ready_at > j.anchor AND x.ready_at < pg_catalog.now() - g.grace
   ORDER BY t.due DESC LIMIT 1)) e
LEFT JOIN LATERAL (
  SELECT * FROM datamill.run_catalog o WHERE o.job_id = j.job_id AND o.trigger <> 'rehearsal'
  ORDER BY o.scheduled_time DESC, o.attempt DESC LIMIT 1) r ON true
WHERE e.due IS NOT NULL
  AND (j.watch IS NULL OR j.watch ~ '^(event|relation):')
  AND NOT EXISTS (SELECT FROM datamill.run_catalog o WHERE o.job_id = j.job_id AND o.scheduled_time >= e.due
    AND (o.state = 'succeeded' AND o.trigger <> 'rehearsal' OR o.state = 'skipped' AND o.reason = 'when_sql was not true'));
REVOKE ALL ON datamill.late_job_catalog FROM PUBLIC;
COMMENT ON VIEW datamill.late_job_catalog IS 'Behind datamill.late_jobs: the same for the jobs of all roles.';

CREATE VIEW datamill.late_jobs WITH (security_barrier) AS
SELECT l.job_id, l.name, l.owner, l.state, l.expected_at, l.late_by, l.last_success, l.why
FROM datamill.late_job_catalog l
WHERE pg_catalog.pg_has_role(l.owner, 'USAGE');
GRANT SELECT ON datamill.late_jobs TO PUBLIC;
COMMENT ON VIEW datamill.late_jobs IS
  'Jobs of the roles that the caller is a member of whose last due time has no success, though it should by now; also when nothing starts jobs. expected_at: when the schedule was last due, or what the job follows had succeeded. A job is given twice its usual duration (the median of its last 20 successes), a minute at least, and its timeout at most; its timeout (a day at most) if it never succeeded. state tells those that are paused, suspended or broken; why says in words what is in the way.';

CREATE VIEW datamill.queue_depth WITH (security_barrier) AS
SELECT p.name AS pool, p.slots,
  pg_catalog.count(r.run_id) FILTER (WHERE r.state = 'queued' AND (r.not_before IS NULL OR r.not_before <= pg_catalog.now())) AS queued,
  pg_catalog.count(r.run_id) FILTER (WHERE r.state = 'queued' AND r.not_before > pg_catalog.now()) AS waiting,
  pg_catalog.count(r.run_id) FILTER (WHERE r.state = 'starting') AS starting,
  pg_catalog.count(r.run_id) FILTER (WHERE r.state = 'running') AS running,
  pg_catalog.min(GREATEST(r.queued_at, r.not_before)) FILTER (WHERE r.state = 'queued' AND (r.not_before IS NULL OR r.not_before <= pg_catalog.now())) AS oldest_queued_at,
  s.slots AS process_slots, s.used AS process_slots_used
FROM datamill.pool_catalog p
CROSS JOIN datamill.process_slots() s
LEFT JOIN datamill.job_catalog j ON j.pool = p.name
LEFT JOIN (SELECT q.run_id, q.job_id, q.state, q.not_before, q.queued_at FROM datamill.run_catalog q WHERE q.state = 'queued'
  UNION ALL SELECT a.run_id, a.job_id, a.state, a.not_before, a.queued_at FROM datamill.run_catalog a WHERE a.state IN ('starting', 'running')) r
  ON r.job_id = j.job_id
GROUP BY p.name, p.slots, s.slots, s.used;
GRANT SELECT ON datamill.queue_depth TO PUBLIC;
COMMENT ON VIEW datamill.queue_depth IS
  'Pools: how many of their runs could start (queued; the oldest since oldest_queued_at), wait for a time (waiting: a retry, a pause), have been given a process (starting) and run, of whomever; slots of the pool; and processes that runs may have, and have, in the whole server.';

CREATE FUNCTION datamill.metrics() RETURNS text
AS 'MODULE_PATHNAME', 'dm_metrics_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.metrics() IS
  'What jobs do, in the text format of Prometheus (0.0.4): whether there is a scheduler, states, last ends, durations, failures and lateness of the jobs of the roles that the caller is a member of, runs of the last day, and the queues of pools.';

CREATE FUNCTION datamill.status_page(title text DEFAULT NULL) RETURNS text
AS 'MODULE_PATHNAME', 'dm_status_page_sql' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.status_page(text) IS
  'The jobs of the roles that the caller is a member of as one HTML document that needs nothing from elsewhere and has no script: those that are late, pipelines as a graph, and each job''s last runs, durations, next time, and why it is red.';

CREATE VIEW datamill.events WITH (security_barrier) AS
SELECT e.event_no, e.event, e.owner::pg_catalog.regrole AS owner, e.job_id, e.run_id, e.payload, e.happened_at
FROM datamill.event_log e
WHERE pg_catalog.pg_has_role(e.owner, 'USAGE');
GRANT SELECT ON datamill.events TO PUBLIC;
COMMENT ON VIEW datamill.events IS
  'What happened to jobs of the roles that the caller is a member of: failure, recovered, success, suspended, broken, new_objects, late (only if a notifier is to tell of it); and what bodies told by emit().';

CREATE VIEW datamill.watched_objects WITH (security_barrier) AS
SELECT j.job_id, j.name, j.owner::pg_catalog.regrole AS owner, w.uri, w.version, w.seen_at, w.run_id
FROM datamill.watch_catalog w JOIN datamill.job_catalog j USING (job_id)
WHERE pg_catalog.pg_has_role(j.owner, 'USAGE');
GRANT SELECT ON datamill.watched_objects TO PUBLIC;
COMMENT ON VIEW datamill.watched_objects IS
  'Versions of objects that jobs of the roles that the caller is a member of have seen: version (version id, etag, size, modified in microseconds), when (seen_at), and the run that it was given to (run_id), NULL for those that were passed over (watch => ''latest ..'').';

CREATE FUNCTION datamill.create_job(
  name text, body text, schedule text DEFAULT NULL, timezone text DEFAULT 'UTC', after text[] DEFAULT NULL, watch text DEFAULT NULL,
  when_sql text DEFAULT NULL, overlap text DEFAULT 'skip', missed text DEFAULT 'once', catchup interval DEFAULT '1 day',
  timeout interval DEFAULT '1 hour', retries integer DEFAULT 0, backoff interval DEFAULT '30 s', suspend_after integer DEFAULT 10,
  pool text DEFAULT 'default', owner regrole DEFAULT NULL, arguments jsonb DEFAULT '{}',
  expect text[] DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_create_job_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.create_job(text, text, text, text, text[], text, text, text, text, interval, interval, integer, interval, integer, text, regrole, jsonb, text[]) IS
  'Stores a job and returns its id. body: SQL statements; those that may be in one transaction are (CALL, VACUUM and their like end it), and the last ends together with the success of the run. schedule: as in cron_next, NULL for none. after: names of jobs that must have succeeded for a scheduled time, which starts this one for it. when_sql: a query whose one value must be true, else the run is skipped. overlap: what a due time does while a run of the job goes on (skip, queue, cancel the older one, allow). missed: what becomes of due times while nothing could run (skip, once for the latest, all within catchup). timeout of a run. retries after transient errors, waiting backoff, twice that, and so on. suspend_after so many failures in a row (0: never). owner: the role it runs as, NULL for the current one; the caller must be able to SET ROLE to it, and it must be able to log in. arguments: an object for datamill.arguments(). expect: queries of one boolean each, asked in the last transaction of a run, which is taken back unless all are true. Errors: 42601 body, 22023 schedule, time zone or policy, 42501 owner, 42710 the owner has a job of this name, 42704 no such job (after) or pool, 42P17 a circle of jobs.';

CREATE FUNCTION datamill.alter_job(name text, options jsonb) RETURNS void
AS 'MODULE_PATHNAME', 'dm_alter_job_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.alter_job(text, jsonb) IS
  'Changes what is given of a job: the keys of options are the parameters of create_job, name among them. null takes schedule, after, watch or when_sql away. Errors: those of create_job; 42704 no such job; 22023 unknown key.';

CREATE FUNCTION datamill.drop_job(name text, force boolean DEFAULT false) RETURNS void
AS 'MODULE_PATHNAME', 'dm_drop_job_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.drop_job(text, boolean) IS
  'Drops a job; its runs and receipts stay. A run of it that goes on is an error (55006), or with force it is cancelled and takes back what it did. Errors: 42704 no such job; 42725 several roles have one of this name; 2BP01 another job follows it.';

CREATE FUNCTION datamill.pause(name text) RETURNS void
AS 'MODULE_PATHNAME', 'dm_pause_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.pause(text) IS 'Sets a job to paused: nothing starts it but run() until resume(). A run that goes on is left alone. Errors: 42704 no such job.';

CREATE FUNCTION datamill.resume(name text) RETURNS void
AS 'MODULE_PATHNAME', 'dm_resume_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.resume(text) IS
  'Sets a paused, suspended or broken job to active; times that it missed are treated by its policy (missed). Errors: 42704 no such job; those of create_job when the job as it stands is not valid any more.';

CREATE FUNCTION datamill.run(name text, arguments jsonb DEFAULT '{}') RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_run_job_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.run(text, jsonb) IS
  'Queues a run of a job for now, also of a paused one, and returns its id; it starts when the transaction commits. arguments (an object) come over those of the job. Errors: 42704 no such job; 22023 arguments are no object.';

CREATE FUNCTION datamill.rehearse(name text, arguments jsonb DEFAULT '{}') RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_rehearse_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.rehearse(text, jsonb) IS
  'Queues a run that executes the body twice in a transaction which is taken back, and returns its id. Its result in datamill.runs: the rows that the first and the second time would insert, update and delete in each table, tables whose contents the second time changed (a body that can be run again changes none), what expect says, and ok. Objects that would be written go nowhere; statements that cannot be taken back are refused. Nothing follows from such a run. Errors: those of run().';

CREATE FUNCTION datamill.retry(run_id bigint) RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_retry_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.retry(bigint) IS
  'Queues another attempt of a run that is over, for the same scheduled time and with the same arguments, and returns its id. Errors: 42704 no such run or its job is gone; 55000 it is not over, or a later attempt is not.';

CREATE FUNCTION datamill.backfill(name text, range tstzrange, step interval DEFAULT NULL) RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_backfill_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.backfill(text, tstzrange, interval) IS
  'Queues a run for each time in the range that the schedule is due (or each step from its lower bound), oldest first and one after another; times that have a run which succeeded are left out. Returns how many. Errors: 42704 no such job; 22023 no bounds, or more than 100,000 times; 55000 no schedule and no step.';

CREATE FUNCTION datamill.cancel(run_id bigint) RETURNS boolean
AS 'MODULE_PATHNAME', 'dm_cancel_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.cancel(bigint) IS
  'Cancels a run: a queued one when the transaction commits, one that goes on at once (and what does not end within datamill.cancel_grace is terminated). False if it was over. Errors: 42704 no such run.';

CREATE FUNCTION datamill.set_pool(name text, slots integer) RETURNS void
AS 'MODULE_PATHNAME', 'dm_set_pool_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION datamill.set_pool(text, integer) FROM PUBLIC;
COMMENT ON FUNCTION datamill.set_pool(text, integer) IS
  'Makes a pool, or sets how many of its runs may go on at once (0 holds all back). For superusers and whom they grant it to. Errors: 22023 slots below zero.';

CREATE FUNCTION datamill.explain_schedule(name text) RETURNS text
AS 'MODULE_PATHNAME', 'dm_explain_schedule_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.explain_schedule(text) IS
  'Says in words when a job runs next and why, or why it does not. Errors: 42704 no such job.';

CREATE FUNCTION datamill.accept_jobs() RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_accept_jobs_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.accept_jobs() IS
  'Sets to active those jobs of the roles that the caller is a member of which were paused because this database was restored or copied, and lets their notifiers send; returns how many jobs.';

CREATE VIEW datamill.lineage WITH (security_barrier) AS
SELECT i.source, o.target, r.id AS receipt, r.receipt_no, r.kind, r.run_id,
  CASE r.kind WHEN 'job' THEN r.definition ELSE (SELECT n.name FROM datamill.runs n WHERE n.run_id = r.run_id) END AS job,
  r.finished_at AS at, r.owner::pg_catalog.regrole AS owner
FROM datamill.receipts r
CROSS JOIN LATERAL (SELECT x.value ->> 'uri' AS source FROM pg_catalog.jsonb_array_elements(r.inputs) x WHERE x.value ->> 'uri' <> 'query'
  UNION SELECT t.value #>> '{}' FROM pg_catalog.jsonb_path_query(r.inputs, '$[*] ? (@.uri == "query").metadata.relations[*]') t(value)) i
CROSS JOIN LATERAL (SELECT DISTINCT x.value ->> 'uri' AS target FROM pg_catalog.jsonb_array_elements(r.outputs) x) o
WHERE i.source <> o.target;
GRANT SELECT ON datamill.lineage TO PUBLIC;
COMMENT ON VIEW datamill.lineage IS
  'Where data came from, by the receipts of the roles that the caller is a member of: a row for each input (source) and output (target) of a receipt, tables and URLs, with the run and job that it was written in.';

CREATE FUNCTION datamill.lineage(name text, direction text DEFAULT 'both', max_depth integer DEFAULT 10)
RETURNS TABLE (side text, depth integer, source text, target text, receipt text, kind text, run_id bigint, job text, at timestamptz)
AS 'MODULE_PATHNAME', 'dm_lineage_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.lineage(text, text, integer) IS
  'Where what is in a table (schema.table, quoted where need be) or object (URL) comes from (direction up), where it goes to (down), or both, step by step by the receipts of the roles that the caller is a member of: a row an edge, with its side (up, down), its distance (depth, from 1; at most max_depth), and the last receipt that has it. Circles are followed once. Errors: 22023 direction or max_depth.';

CREATE FUNCTION datamill.receipt_json(id text, receipt_no bigint DEFAULT NULL) RETURNS jsonb
AS 'MODULE_PATHNAME', 'dm_receipt_json_sql' LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.receipt_json(text, bigint) IS
  'A receipt as one document: all columns of datamill.receipts, how many receipts of its owner have its id (same), what is known of the run that it was written in, and the body of the job if it is still the one that ran. Of several receipts of an id the last one, or that of receipt_no. Errors: 42704 no such receipt.';

CREATE FUNCTION datamill.verify_receipt(id text, receipt_no bigint DEFAULT NULL)
RETURNS TABLE (uri text, role text, status text, expected text, found text)
AS 'MODULE_PATHNAME', 'dm_verify_receipt_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.verify_receipt(text, bigint) IS
  'Looks up each object that a receipt has as input or output, and reads it where the receipt has its sha256, as the caller: a row an object, with role (input, output), status (same; changed; gone; older version: it was replaced or removed, and its bucket still has the version; not readable), and etag, sha256 and size as they were (expected) and are (found), or why it cannot be read. Of several receipts of an id the last one, or that of receipt_no. Errors: 42704 no such receipt.';

CREATE FUNCTION datamill.replay(receipt text, force boolean DEFAULT false) RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_replay_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.replay(text, boolean) IS
  'Queues a run of the job whose run wrote a receipt (the last one of this id), for the same time and with the same arguments, that reads exactly the objects which that run read, and returns its id. An object that is not as it was, in its bucket or among its versions, or that the replay does not read fails the run (DM001). Tables are read as they are. force: although the job has changed since. Errors: 42704 no such receipt, or the job is gone; 55000 no run wrote it, or the job has changed.';

CREATE FUNCTION datamill.openlineage(run_id bigint) RETURNS jsonb
AS 'MODULE_PATHNAME', 'dm_openlineage_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.openlineage(bigint) IS
  'A run as an array of events of OpenLineage 2-0-2: START, and when it is over COMPLETE, FAIL or ABORT with the inputs and outputs of its receipts. Tables are named database.schema.table in postgres://host:port (cluster_name as the host where it is set), objects by their keys in s3://bucket, the job owner.name. None of a run that did not begin. Errors: 42704 no such run.';

CREATE FUNCTION datamill.set_pipeline(config jsonb, dry_run boolean DEFAULT false, prune boolean DEFAULT true)
RETURNS TABLE (action text, job text, field text, before text, after text)
AS 'MODULE_PATHNAME', 'dm_set_pipeline_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.set_pipeline(jsonb, boolean, boolean) IS
  'Makes the jobs of a pipeline of the current user what config says: {"pipeline": name, "jobs": {name: {options of create_job}}, "pools": {name: slots}}. Jobs are created, altered (what config does not give gets its default) and, with prune, dropped; other jobs are never touched. Returns the difference: action (create, alter, drop, unchanged), and for each field its value before and after. dry_run does the same and takes it back. Errors: 22023 config, those of create_job and drop_job, 42P17 a circle, 42710 a job of the name that is not of the pipeline, 42501 an owner or pool that is not the caller''s.';

CREATE FUNCTION datamill.pipeline_config(name text) RETURNS jsonb
AS 'MODULE_PATHNAME', 'dm_pipeline_config_sql' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.pipeline_config(text) IS
  'A pipeline of the current user as set_pipeline() takes it; set_pipeline() finds all of it unchanged. What has its default is left out. Errors: 42704 no such pipeline.';

CREATE FUNCTION datamill.pin(name text, version jsonb DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'dm_pin_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.pin(text, jsonb) IS
  'Keeps a job that watches objects to these (objects with uri, etag and size, one or an array): it does not look for others, what it has found waits, and run() and retry() are given these. NULL: as unpin(). Errors: 42704 no such job; 55000 it watches no objects; 22023 no list of objects.';

CREATE FUNCTION datamill.unpin(name text) RETURNS void
AS 'MODULE_PATHNAME', 'dm_unpin_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.unpin(text) IS
  'Takes back pin(): the job looks for new objects again. Errors: 42704 no such job.';

CREATE FUNCTION datamill.import_pg_cron(dry_run boolean DEFAULT false, unschedule boolean DEFAULT true)
RETURNS TABLE (jobid bigint, name text, schedule text, result text, reason text)
AS 'MODULE_PATHNAME', 'dm_import_pg_cron_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.import_pg_cron(boolean, boolean) IS
  'Moves the jobs that pg_cron keeps in this database, as far as the caller sees them: each becomes a job of the same name (or "pg_cron <id>"), schedule, command, owner and time zone, paused if it was not active, with the policies of pg_cron (overlap queue, missed skip, no retries, never suspended, timeout of 24 days), and is unscheduled there. unschedule => false leaves it there, and pauses the copy. dry_run changes nothing. result: moved, copied or not moved, with the reason. Errors: 55000 pg_cron is not in this database.';

CREATE FUNCTION datamill.scheduled_time() RETURNS timestamptz
AS 'MODULE_PATHNAME', 'dm_scheduled_time_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.scheduled_time() IS 'Inside a run, the time it was scheduled for, the same in each attempt; elsewhere now().';

CREATE FUNCTION datamill.arguments() RETURNS jsonb
AS 'MODULE_PATHNAME', 'dm_arguments_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.arguments() IS 'Inside a run, the arguments of the run; elsewhere {}.';

CREATE FUNCTION datamill.run_id() RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_run_id_sql' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION datamill.run_id() IS 'Inside a run, its id; elsewhere NULL.';

CREATE FUNCTION datamill.emit(event text, payload jsonb DEFAULT '{}') RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_emit_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.emit(text, jsonb) IS
  'Notes an event of the current user, which starts the jobs that watch it (watch => ''event:name'') when the transaction commits; returns its number. Errors: 22023 a name of datamill''s own events.';

CREATE VIEW datamill.notifiers WITH (security_barrier) AS
SELECT n.name, n.owner::pg_catalog.regrole AS owner, n.kind, n.config,
  EXISTS (SELECT FROM datamill.notifier_secret_catalog s WHERE s.notifier_id = n.notifier_id) AS has_secret,
  n.database_id = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    AND n.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c) AS accepted,
  n.created_at
FROM datamill.notifier_catalog n
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
GRANT SELECT ON datamill.notifiers TO PUBLIC;
COMMENT ON VIEW datamill.notifiers IS
  'Notifiers of the roles that the caller is a member of, without their secrets. accepted is false in a database that was restored or copied: accept_jobs() lets it send there.';

CREATE VIEW datamill.subscriptions WITH (security_barrier) AS
SELECT n.name AS notifier, n.owner::pg_catalog.regrole AS owner, j.name AS job, s.event, s.template
FROM datamill.subscription_catalog s JOIN datamill.notifier_catalog n USING (notifier_id) LEFT JOIN datamill.job_catalog j USING (job_id)
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
GRANT SELECT ON datamill.subscriptions TO PUBLIC;
COMMENT ON VIEW datamill.subscriptions IS 'Which events of which job (NULL: all of the owner) go to which notifier, as notify_on() was told.';

CREATE VIEW datamill.notifications WITH (security_barrier) AS
SELECT o.notification_id, n.name AS notifier, n.owner::pg_catalog.regrole AS owner, o.job, o.event, o.run_id, o.state, o.count, o.first_at, o.last_at, o.attempts,
  CASE WHEN o.state = 'pending' THEN o.next_attempt_at END AS next_attempt_at, o.sent_at, o.last_error
FROM datamill.outbox_catalog o JOIN datamill.notifier_catalog n USING (notifier_id)
WHERE pg_catalog.pg_has_role(n.owner, 'USAGE');
GRANT SELECT ON datamill.notifications TO PUBLIC;
COMMENT ON VIEW datamill.notifications IS
  'What notifiers of the roles that the caller is a member of sent or are to send: state (pending, sending, sent, failed), count of events that became this one from first_at to last_at, attempts, when the next is due, and why the last one failed. Kept for datamill.run_retention.';

CREATE FUNCTION datamill.create_notifier(name text, kind text, config jsonb DEFAULT '{}', secret jsonb DEFAULT '{}') RETURNS void
AS 'MODULE_PATHNAME', 'dm_create_notifier_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION datamill.create_notifier(text, text, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION datamill.create_notifier(text, text, jsonb, jsonb) IS
  'Makes a notifier of the current role: where news of its jobs can go. kind: slack, smtp, pagerduty, webhook, notify. secret (URLs with tokens, passwords, keys) can be read by nobody, and is in no dump. For superusers and whom they grant it to, since the server connects where it says. Errors: 22023 kind, config or secret; 42710 the role has a notifier of this name.';

CREATE FUNCTION datamill.alter_notifier(name text, config jsonb DEFAULT '{}', secret jsonb DEFAULT '{}') RETURNS void
AS 'MODULE_PATHNAME', 'dm_alter_notifier_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION datamill.alter_notifier(text, jsonb, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION datamill.alter_notifier(text, jsonb, jsonb) IS
  'Changes the keys that are given of a notifier''s config and secret; null takes one away. For superusers and whom they grant it to. Errors: those of create_notifier; 42704 no such notifier.';

CREATE FUNCTION datamill.drop_notifier(name text) RETURNS void
AS 'MODULE_PATHNAME', 'dm_drop_notifier_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.drop_notifier(text) IS
  'Drops a notifier with its secrets, its subscriptions and its notifications. Errors: 42704 no such notifier; 42725 several roles have one of this name.';

CREATE FUNCTION datamill.notify_on(job text, event text, notifier text, template jsonb DEFAULT NULL) RETURNS void
AS 'MODULE_PATHNAME', 'dm_notify_on_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.notify_on(text, text, text, jsonb) IS
  'Sends an event of a job (NULL or *: of all jobs of the owner of the notifier) to the notifier: failure, recovered, success, late, suspended, broken, new_objects, or a name given to emit(). template: an object of subject, text, html, json with {{placeholders}}; NULL for the default. Once more with the same job, event and notifier changes the template. Errors: 42704 no such job or notifier; 42501 the job belongs to another role than the notifier; 22023 template.';

CREATE FUNCTION datamill.notify_off(job text, event text, notifier text) RETURNS boolean
AS 'MODULE_PATHNAME', 'dm_notify_off_sql' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.notify_off(text, text, text) IS 'Takes back what notify_on() said; false if it had not. Errors: 42704 no such job or notifier.';

CREATE FUNCTION datamill.test_notifier(name text) RETURNS bigint
AS 'MODULE_PATHNAME', 'dm_test_notifier_sql' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION datamill.test_notifier(text) IS
  'Queues a notification that says it is a test, and returns its id in datamill.notifications. Errors: 42704 no such notifier.';
