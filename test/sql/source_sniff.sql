-- How CSV is written: what infer_schema() and foreign_table_ddl() find out, and what they refuse to guess.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA sniff;
SET search_path = sniff;
CREATE SERVER sniff_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'sniff_lake';
\set f :buckets '/source/sniff.csv'
-- decimal commas: the header decides
COPY (SELECT 'a;b' UNION ALL SELECT '1,5;2,5' UNION ALL SELECT '3,5;4,5') TO :'f';
SELECT column_name, type, example FROM datamill.infer_schema('s3://source/sniff.csv');
SELECT datamill.foreign_table_ddl('s3://source/sniff.csv', 'x') \gexec
SELECT * FROM x;
-- ... without one nothing does
COPY (SELECT '1,5;2,5' UNION ALL SELECT '3,5;4,5') TO :'f';
SELECT * FROM datamill.infer_schema('s3://source/sniff.csv');
SELECT column_name, type, example FROM datamill.infer_schema('s3://source/sniff.csv', '{"delimiter": ";"}');
-- one column; lines before the header; data that repeats; numbers alone; all text
COPY (SELECT 'word' UNION ALL SELECT 'x' UNION ALL SELECT 'y') TO :'f';
SELECT column_name, example FROM datamill.infer_schema('s3://source/sniff.csv');
COPY (VALUES ('Report, made today'), ('a,b,c'), ('1,2,3')) TO :'f';
SELECT * FROM datamill.infer_schema('s3://source/sniff.csv');
COPY (VALUES ('red,1'), ('blue,2'), ('red,3')) TO :'f';
SELECT column_name, type FROM datamill.infer_schema('s3://source/sniff.csv');
COPY (VALUES ('x,y'), ('z,y')) TO :'f';
SELECT column_name, type FROM datamill.infer_schema('s3://source/sniff.csv');
COPY (VALUES ('name,city'), ('Ann,Ulm'), ('Bob,Bonn')) TO :'f';
SELECT column_name, type FROM datamill.infer_schema('s3://source/sniff.csv');
SELECT column_name, type FROM datamill.infer_schema('s3://source/sniff.csv', '{"header": true}');
-- the header alone, and nothing at all
COPY (VALUES ('id|amount|when')) TO :'f';
SELECT column_name, note FROM datamill.infer_schema('s3://source/sniff.csv');
COPY (SELECT 1 WHERE false) TO :'f';
SELECT * FROM datamill.infer_schema('s3://source/sniff.csv');
DROP SERVER sniff_lake CASCADE;
DROP SCHEMA sniff CASCADE;
