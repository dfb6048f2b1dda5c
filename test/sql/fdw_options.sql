-- What the validator of datamill_s3 refuses, where and to whom; no value of a secret is shown.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');

-- Unknown names.
CREATE FOREIGN DATA WRAPPER w HANDLER datamill.s3_fdw_handler VALIDATOR datamill.s3_fdw_validator OPTIONS (region 'x');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpont 'http://127.0.0.1');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (url 's3://bucket/key');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (accesskeyid 'x');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', delimeter ';');
CREATE FOREIGN TABLE t (a int OPTIONS (field 'A')) SERVER lake OPTIONS (url 's3://bucket/key');

-- Bad values.
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'localhost:9000');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://relative/folder');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'http://key:secret@localhost');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (region '');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (url_style 'dns');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (verify_tls 'maybe');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (timeout 'long');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (connect_timeout '0');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (max_retries '-1');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (max_concurrency '65');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (part_size '8 elephants');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (part_size '8TB');
CREATE FOREIGN TABLE t (a int) SERVER lake;
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 'https://bucket/key');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3:///key');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', delimiter ';;');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', quote E'\n');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', delimiter ';', quote ';');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', null 'a,b');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', null '"');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', header 'match');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', match 'order');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', match 'name', header 'false');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', encoding 'latin');
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', format 'xls');
CREATE FOREIGN TABLE t (a int OPTIONS (name '')) SERVER lake OPTIONS (url 's3://bucket/key');

-- Known, but of a later version: refused rather than ignored.
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', format 'parquet');
\echo :LAST_ERROR_SQLSTATE

-- Secrets stand on user mappings only, in pairs.
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (secret_access_key 'hunter2hunter2');
\echo :LAST_ERROR_SQLSTATE
CREATE FOREIGN TABLE t (a int) SERVER lake OPTIONS (url 's3://bucket/key', access_key_id 'hunter2hunter2');
ALTER SERVER lake OPTIONS (ADD session_token 'hunter2hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (access_key_id 'hunter2hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (secret_access_key 'hunter2hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (access_key_id '', secret_access_key 'hunter2hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (session_token 'hunter2hunter2');

-- What reads the host's files or lends its identity is not for everybody, nor after an ALTER.
CREATE ROLE fdw_options_user;
GRANT USAGE ON FOREIGN DATA WRAPPER datamill_s3 TO fdw_options_user;
GRANT USAGE ON FOREIGN SERVER lake TO fdw_options_user;
SET ROLE fdw_options_user;
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file:///etc');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (ca_file '/etc/passwd');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (verify_tls 'off');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'env');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'https://127.0.0.1', credentials 'anonymous');
ALTER SERVER s OPTIONS (SET endpoint 'file:///etc');
ALTER SERVER s OPTIONS (ADD ca_file '/etc/passwd');
ALTER SERVER s OPTIONS (ADD verify_tls 'false');
ALTER SERVER lake OPTIONS (ADD region 'x');
RESET ROLE;
ALTER SERVER s OPTIONS (SET endpoint :'endpoint');
SET ROLE fdw_options_user;
ALTER SERVER s OPTIONS (ADD region 'eu-west-1');
RESET ROLE;
GRANT pg_read_server_files TO fdw_options_user;
SET ROLE fdw_options_user;
ALTER SERVER s OPTIONS (ADD region 'eu-west-1', ca_file '/etc/ssl/cert.pem');
ALTER SERVER s OPTIONS (ADD verify_tls 'off');
RESET ROLE;

-- Every option that is taken.
CREATE SERVER every FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'https://127.0.0.1', region 'eu-west-1',
  url_style 'virtual', credentials 'mapping', ca_file '/etc/ssl/cert.pem', verify_tls 'off', buckets 'a*, b',
  connect_timeout '500ms', timeout '2min', max_retries '0', max_concurrency '64', part_size '512 MB');
ALTER SERVER every OPTIONS (SET timeout '90', SET part_size '65536');
CREATE USER MAPPING FOR PUBLIC SERVER every OPTIONS (access_key_id 'a', secret_access_key 'b', session_token 'c');
CREATE FOREIGN TABLE every_table (a int OPTIONS (name 'A')) SERVER every OPTIONS (url 's3://bucket/**/*.csv', format 'csv',
  header 'true', delimiter E'\t', quote '''', escape '\', null '\N', encoding 'LATIN1', match 'name', allow_empty 'true');
ALTER FOREIGN TABLE every_table OPTIONS (SET header 'no', DROP match);
ALTER FOREIGN TABLE every_table OPTIONS (DROP url);

DROP SERVER lake, s, every CASCADE;
REVOKE ALL ON FOREIGN DATA WRAPPER datamill_s3 FROM fdw_options_user;
DROP ROLE fdw_options_user;
