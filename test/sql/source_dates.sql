-- dateformat and timeformat, as Redshift's COPY spells them, compared with to_date() and to_timestamp().
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA dates;
SET search_path = dates;
CREATE SERVER dates_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'dates_lake';
SET datestyle = 'ISO';
SET timezone = 'America/New_York';
\set one :buckets '/source/dates1.csv'
\set two :buckets '/source/dates2.csv'
\set bad :buckets '/source/dates3.csv'
-- days of four years, one in each week, as texts of several forms
COPY (SELECT to_char(d, 'DD/MM/YYYY') AS d, to_char(d, 'MM-DD-YY HH12:MI:SS AM') AS t, to_char(d, 'DD Mon YYYY HH24:MI') AS z
  FROM generate_series('2023-01-01 00:30'::timestamp, '2026-12-31', '7 days 1 hour 7 seconds') d) TO :'one' WITH (FORMAT csv, HEADER);
CREATE FOREIGN TABLE raw (d text, t text, z text) SERVER dates_lake OPTIONS (url 's3://source/dates1.csv');
CREATE FOREIGN TABLE one (d date, t text, z text) SERVER dates_lake OPTIONS (url 's3://source/dates1.csv', dateformat 'DD/MM/YYYY');
SELECT count(*), min(d), max(d) FROM one;
(SELECT d FROM one EXCEPT ALL SELECT to_date(d, 'DD/MM/YYYY') FROM raw) UNION ALL (SELECT to_date(d, 'DD/MM/YYYY') FROM raw EXCEPT ALL SELECT d FROM one);
CREATE FOREIGN TABLE stamps (d text, t timestamp, z text) SERVER dates_lake OPTIONS (url 's3://source/dates1.csv', timeformat 'MM-DD-YY HH12:MI:SS AM');
-- to_timestamp() goes by way of the session's time zone: in one without gaps it says the same
SET timezone = 'UTC';
SELECT count(*) FROM (SELECT t FROM stamps EXCEPT ALL SELECT to_timestamp(t, 'MM-DD-YY HH12:MI:SS AM')::timestamp FROM raw) x;
SET timezone = 'America/New_York';
SELECT count(*), min(t), max(t) FROM stamps;
CREATE FOREIGN TABLE zoned (d text, t text, z timestamptz(0)) SERVER dates_lake OPTIONS (url 's3://source/dates1.csv', timeformat 'DD Mon YYYY HH24:MI');
SELECT count(*) FROM (SELECT z FROM zoned EXCEPT ALL SELECT to_timestamp(z, 'DD Mon YYYY HH24:MI') FROM raw) x;

-- since 1970, exactly; the dates are UTC's
COPY (SELECT * FROM (VALUES ('0', '0', '0'), ('-1', '-1', '-1'), ('1700000000', '1700000000123', '1700000000'), ('1700000000.123456', '1700000000123.4567', '1700000000'),
  ('-0.5', '-0.5', '-86401'), ('+86399.9999995', '4102444800000', '253402300799'), ('-62135596800', '-62135596800000', '-62135596800')) v (s, ms, d)) TO :'two' WITH (FORMAT csv, HEADER);
CREATE FOREIGN TABLE secs (s timestamptz, ms text, d date) SERVER dates_lake OPTIONS (url 's3://source/dates2.csv', timeformat 'epochsecs', dateformat 'epochsecs');
CREATE FOREIGN TABLE texts (s numeric, ms numeric, d numeric) SERVER dates_lake OPTIONS (url 's3://source/dates2.csv');
SET timezone = 'UTC';
SELECT s, d FROM secs;
SELECT s FROM secs EXCEPT ALL SELECT 'epoch'::timestamptz + round(s, 6) * interval '1 s' FROM texts;
SELECT d FROM secs EXCEPT ALL SELECT ('epoch'::timestamp + floor(d / 86400) * interval '1 day')::date FROM texts;
CREATE FOREIGN TABLE millis (s text, ms timestamp(3), d text) SERVER dates_lake OPTIONS (url 's3://source/dates2.csv', timeformat 'epochmillisecs');
SELECT ms FROM millis;
SELECT ms FROM millis EXCEPT ALL SELECT 'epoch'::timestamp + round(ms / 1000, 3) * interval '1 s' FROM texts;

-- loads and merges take them, too; auto is what the types read
CREATE TABLE target (d date, t text, z text);
SELECT rows FROM datamill.load('s3://source/dates1.csv', 'target', options => '{"dateformat": "DD/MM/YYYY"}');
SELECT min(d), max(d) FROM target;
CREATE FOREIGN TABLE auto (d text, t text, z timestamp) SERVER dates_lake OPTIONS (url 's3://source/dates1.csv', timeformat 'AUTO', dateformat 'auto');
SELECT count(*), min(z) FROM auto;

-- what does not fit
\set VERBOSITY default
COPY (SELECT '2026-02-30x' AS d, 'abc' AS t, 'x' AS z) TO :'bad' WITH (FORMAT csv, HEADER);
CREATE FOREIGN TABLE bad (d date, t timestamp, z text) SERVER dates_lake OPTIONS (url 's3://source/dates3.csv', dateformat 'YYYY-MM-DD', timeformat 'epochsecs');
SELECT d FROM bad;
SELECT t FROM bad;
COPY (SELECT '2026-02-28x' AS d, '99999999999999999999' AS t, 'x' AS z) TO :'bad' WITH (FORMAT csv, HEADER);
\set VERBOSITY terse
SELECT d FROM bad;
SELECT t FROM bad;
COPY (SELECT '' AS d, '9223372036854' AS t, 'x' AS z) TO :'bad' WITH (FORMAT csv, HEADER);
SELECT d FROM bad;
SELECT t FROM bad;
COPY (SELECT '10:30' AS d, '-9223372036854.775808' AS t, 'x' AS z) TO :'bad' WITH (FORMAT csv, HEADER);
SELECT t FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET dateformat 'HH24:MI');
SELECT d FROM bad;
CREATE DOMAIN day AS date;
CREATE FOREIGN TABLE of_domain (d day, t text, z text) SERVER dates_lake OPTIONS (url 's3://source/dates1.csv', dateformat 'DD/MM/YYYY');
SELECT d FROM of_domain LIMIT 1;
CREATE FOREIGN TABLE j (d date) SERVER dates_lake OPTIONS (url 's3://source/x', format 'jsonl', dateformat 'DD/MM/YYYY');
DROP SERVER dates_lake CASCADE;
DROP SCHEMA dates CASCADE;
