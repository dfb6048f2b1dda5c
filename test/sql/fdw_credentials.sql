-- The options that say where keys come from: which go together, and who may set them. What they do is in the TAP tests s3_credentials*.
CREATE SERVER cred_all FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'mapping', role_arn 'arn:aws:iam::123456789012:role/reader',
  external_id 'x', role_session_name 'night', role_duration '15min', sts_endpoint 'https://sts.eu-west-1.amazonaws.com');
CREATE SERVER cred_profile FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'profile', profile 'lake', role_arn 'r');
CREATE SERVER cred_web FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'web_identity', web_identity_token_file '/run/token', role_duration '3600');
CREATE SERVER cred_imds FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'imds');
CREATE SERVER cred_ecs FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'ecs');

-- Values, and options that would do nothing.
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'chain');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', sts_endpoint 'ftp://127.0.0.1');
\echo :LAST_ERROR_SQLSTATE
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', sts_endpoint 'https://');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', sts_endpoint 'https://user@127.0.0.1');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', sts_endpoint 'https://127.0.0.1/path');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', role_duration '13h');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', role_duration '0');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn '');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', credentials 'anonymous');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (external_id 'x');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (external_id 'x', role_arn 'r', credentials 'web_identity');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_session_name 'x');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_duration '15min', credentials 'imds');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (profile 'x', credentials 'env');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (web_identity_token_file '/etc/passwd');

-- The host's own identity is for superusers to lend out; a role of one's own keys is for every owner.
CREATE ROLE fdw_credentials_user;
GRANT USAGE ON FOREIGN DATA WRAPPER datamill_s3 TO fdw_credentials_user;
SET ROLE fdw_credentials_user;
CREATE SERVER own FOREIGN DATA WRAPPER datamill_s3 OPTIONS (role_arn 'r', external_id 'x', sts_endpoint 'http://127.0.0.1:1');
DO $$
DECLARE
  what text;
BEGIN
  FOREACH what IN ARRAY '{env,profile,imds,ecs,web_identity}'::text[] LOOP
    BEGIN
      EXECUTE format('CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials %L)', what);
      RAISE 'created with %', what;
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
    BEGIN
      EXECUTE format('ALTER SERVER own OPTIONS (ADD credentials %L)', what);
      RAISE 'altered to %', what;
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
  END LOOP;
END $$;
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'imds');
CREATE SERVER s FOREIGN DATA WRAPPER datamill_s3 OPTIONS (credentials 'profile', profile 'x');
ALTER SERVER own OPTIONS (ADD profile 'x');
ALTER SERVER own OPTIONS (ADD credentials 'web_identity', ADD web_identity_token_file '/etc/passwd');
RESET ROLE;

-- Given away, it cannot be altered by its owner, and is of no use.
SELECT 'ALTER SERVER ' || srvname || ' OWNER TO fdw_credentials_user' FROM pg_foreign_server WHERE srvname LIKE 'cred\_%' ORDER BY 1 \gexec
SET ROLE fdw_credentials_user;
ALTER SERVER cred_imds OPTIONS (ADD endpoint 'http://127.0.0.1:1');
ALTER SERVER cred_web OPTIONS (SET web_identity_token_file '/etc/passwd');
CREATE FOREIGN TABLE pg_temp.of_imds (a int) SERVER cred_imds OPTIONS (url 's3://b/k');
SELECT * FROM pg_temp.of_imds;
CREATE FOREIGN TABLE pg_temp.of_ecs (a int) SERVER cred_ecs OPTIONS (url 's3://b/k');
SELECT * FROM pg_temp.of_ecs;
CREATE FOREIGN TABLE pg_temp.of_web (a int) SERVER cred_web OPTIONS (url 's3://b/k');
SELECT * FROM pg_temp.of_web;
CREATE FOREIGN TABLE pg_temp.of_profile (a int) SERVER cred_profile OPTIONS (url 's3://b/k');
SELECT * FROM pg_temp.of_profile;
\echo :LAST_ERROR_SQLSTATE
ALTER SERVER cred_imds OPTIONS (SET credentials 'mapping');
SELECT * FROM pg_temp.of_imds;
RESET ROLE;
DROP OWNED BY fdw_credentials_user CASCADE;
DROP ROLE fdw_credentials_user;
