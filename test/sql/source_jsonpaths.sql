-- Option jsonpaths: a file with the path of each column, as Redshift's COPY takes it.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA jp;
SET search_path = jp;
CREATE SERVER jp_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'jp_lake';
\set data :buckets '/source/jp.jsonl'
\set paths :buckets '/source/jp_paths.json'
COPY (VALUES ('{"id": 1, "user": {"name": "Ann", "tags": ["x", "y"]}, "a b": 7}'), ('{"id": 2, "user": {"name": "Bob"}}')) TO :'data' WITH (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02');
COPY (VALUES ('{"jsonpaths": ["$.user.name", "$[''id'']", "$.user.tags[0]", "$[''a b'']"]}')) TO :'paths';
CREATE FOREIGN TABLE t (who text, no int, first_tag text, "seven" int, _row bigint) SERVER jp_lake
  OPTIONS (url 's3://source/jp.jsonl', format 'jsonl', jsonpaths 's3://source/jp_paths.json');
SELECT * FROM t;
SELECT count(*) FROM t WHERE no = 2;
CREATE TABLE target (who text, no int, first_tag text, seven int DEFAULT 5);
SELECT rows FROM datamill.load('s3://source/jp.jsonl', 'target', options => '{"format": "jsonl", "jsonpaths": "s3://source/jp_paths.json"}');
TABLE target;
SELECT inserted FROM datamill.cdc_merge('jp.d', 'jp.t', '{no}', '2026-01-01');
\set VERBOSITY terse
SELECT datamill.cdc_merge('jp.e', 's3://source/jp.jsonl', '{no}', '2026-01-01', options => '{"format": "jsonl", "jsonpaths": "s3://source/jp_paths.json"}');
CREATE FOREIGN TABLE short (who text, no int) SERVER jp_lake OPTIONS (url 's3://source/jp.jsonl', format 'jsonl', jsonpaths 's3://source/jp_paths.json');
SELECT * FROM short;
COPY (VALUES ('{"jsonpaths": ["$.user.name", "nonsense"]}')) TO :'paths';
SELECT * FROM short;
COPY (VALUES ('{"jsonpaths": ["$.user.name", 2]}')) TO :'paths';
SELECT * FROM short;
COPY (VALUES ('[1]')) TO :'paths';
SELECT * FROM short;
COPY (VALUES ('{"jsonpaths": ')) TO :'paths';
SELECT * FROM short;
ALTER FOREIGN TABLE short OPTIONS (SET jsonpaths 's3://source/none.json');
SELECT * FROM short;
CREATE FOREIGN TABLE c (who text) SERVER jp_lake OPTIONS (url 's3://source/jp.jsonl', jsonpaths 's3://source/jp_paths.json');
DROP SERVER jp_lake CASCADE;
DROP SCHEMA jp CASCADE;
