-- Bad objects: one clear error which says what, where and what to do.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint', buckets 'fdw, no_such_*');
CREATE FOREIGN TABLE bad (id int, name text) SERVER lake OPTIONS (url 's3://fdw/bad/unknown_column.csv');

-- Headers.
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/missing_column.csv');
SELECT id FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/twice.csv');
SELECT * FROM bad;

-- Records.
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/number.csv');
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE
SELECT name FROM bad ORDER BY name;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/fields.csv');
SELECT count(*) FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/blank.csv');
SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/quote.csv');
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE

-- Bytes.
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/utf8.csv');
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/truncated.csv.gz');
SELECT count(*) FROM bad;
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/damaged.csv.gz');
\set VERBOSITY terse
SELECT count(*) FROM bad;
\set VERBOSITY default

-- Objects.
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/no_such_*.csv');
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://no_such_bucket/x.csv');
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY default
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://other/x.csv');
SELECT * FROM bad;
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://f*/x.csv');
SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/../fdw/bad/blank.csv');
SELECT * FROM bad;

-- An object without a byte has no header and no row.
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://fdw/bad/empty.csv');
SELECT * FROM bad;

-- Special columns have a type of their own.
CREATE FOREIGN TABLE special (id int, name text, _row text) SERVER lake OPTIONS (url 's3://fdw/bad/latin1.csv');
SELECT * FROM special;

DROP SERVER lake CASCADE;
