-- The main job on generated extracts: counts are known beforehand, objects in the receipt carry the digest of their bytes.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SERVER cdc_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SET datamill.default_server = 'cdc_lake';
SELECT * FROM datamill.generate_cdc(10000, 10000, 5, 10, 0.2, 0.4, 0.4, 's3://cdc/day1', 's3://cdc/day2/', 42);

SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_main.customer', 's3://cdc/day1/*.csv',
  keys => '{key1,key2,key3,key4,key5}', effective => '2019-06-18');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_main.customer', 's3://cdc/day2/*.csv',
  effective => '2019-06-19');
SELECT count(*) FROM cdc_main.customer;
SELECT effective, operation, count(*) FROM cdc_main.customer_changes GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM cdc_main.customer_versions WHERE valid @> '2019-06-18'::date;
SELECT count(*) FROM cdc_main.customer_versions WHERE valid @> '2019-06-19'::date;
-- the columns' types were inferred
SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = 'cdc_main.customer'::regclass AND attnum > 0;

-- as of day 1 the versions are exactly the first object's rows, by COPY
CREATE TABLE cdc_main.day1 (key1 uuid, key2 uuid, key3 uuid, key4 uuid, key5 uuid, value1 bigint, value2 bigint, value3 bigint,
  value4 bigint, value5 bigint, value6 bigint, value7 bigint, value8 bigint, value9 bigint, value10 bigint);
CREATE TABLE cdc_main.day2 (LIKE cdc_main.day1);
\set file1 :buckets '/cdc/day1/part-00000.csv'
\set file2 :buckets '/cdc/day2/part-00000.csv'
COPY cdc_main.day1 FROM :'file1' (FORMAT csv, HEADER match);
COPY cdc_main.day2 FROM :'file2' (FORMAT csv, HEADER match);
SELECT count(*) FROM cdc_main.customer_versions v JOIN cdc_main.day1 d USING (key1, key2, key3, key4, key5, value1, value2,
  value3, value4, value5, value6, value7, value8, value9, value10) WHERE valid @> '2019-06-18'::date;
SELECT count(*) FROM cdc_main.customer v JOIN cdc_main.day2 d USING (key1, key2, key3, key4, key5, value1, value2,
  value3, value4, value5, value6, value7, value8, value9, value10);

-- receipts name the objects, with size, etag and the sha256 of their bytes as the server's own function has it
SELECT i->>'uri' AS uri, (i->>'size')::bigint = length(content) AS size, i->>'sha256' = encode(sha256(content), 'hex') AS sha256,
  i->>'rows' AS rows, length(i->>'etag') > 0 AS etag
FROM datamill.receipts, jsonb_array_elements(inputs) i,
  (VALUES ('s3://cdc/day1/part-00000.csv', pg_read_binary_file(:'file1')),
          ('s3://cdc/day2/part-00000.csv', pg_read_binary_file(:'file2'))) file (uri, content)
WHERE definition = 'cdc_main.customer' AND i->>'uri' = file.uri ORDER BY 1;

-- from any version to the bytes it came from
SELECT DISTINCT v.operation, v.eff_end_date, i->>'uri' AS came_from
FROM cdc_main.customer_versions v JOIN datamill.merges m USING (merge_id) JOIN datamill.receipts r ON r.id = m.receipt,
  jsonb_array_elements(r.inputs) i ORDER BY 1, 2, 3;

-- same seed, same bytes; another seed, others
SELECT encode(sha256(pg_read_binary_file(:'file1')), 'hex') AS first1, encode(sha256(pg_read_binary_file(:'file2')), 'hex') AS first2 \gset
SELECT sum(records) FROM datamill.generate_cdc(10000, 10000, 5, 10, 0.2, 0.4, 0.4, 's3://cdc/day1', 's3://cdc/day2', 42);
SELECT encode(sha256(pg_read_binary_file(:'file1')), 'hex') = :'first1' AS same1, encode(sha256(pg_read_binary_file(:'file2')), 'hex') = :'first2' AS same2;
-- and the same receipt for the same work on the same bytes, written anew
SELECT receipt FROM datamill.merges WHERE dataset = 'cdc_main.customer'::regclass AND effective_day = '2019-06-19' \gset
SELECT unchanged, receipt = :'receipt' AS same FROM datamill.cdc_merge('cdc_main.customer', 's3://cdc/day2/*.csv', effective => '2019-06-19');
SELECT sum(records) FROM datamill.generate_cdc(10000, 10000, 5, 10, 0.2, 0.4, 0.4, 's3://cdc/day1', 's3://cdc/day2', 43);
SELECT encode(sha256(pg_read_binary_file(:'file1')), 'hex') = :'first1' AS same1, encode(sha256(pg_read_binary_file(:'file2')), 'hex') = :'first2' AS same2;

-- shares that do not come out even: the counts still add up
SELECT * FROM datamill.generate_cdc(100, 75, 1, 1, 0.29, 0.58, 0.13, 's3://cdc/odd1', 's3://cdc/odd2', 7);
SELECT inserted FROM datamill.cdc_merge('cdc_main.odd', 's3://cdc/odd1/*', keys => '{key1}', effective => '2019-06-18');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_main.odd', 's3://cdc/odd2/*', effective => '2019-06-19');

-- bad objects change nothing: an unknown column, a missing one, a bad value with its place
\set odd2 :buckets '/cdc/odd2/part-00000.csv'
CREATE TABLE cdc_main.places AS SELECT ctid AS place, key1 FROM cdc_main.odd;
COPY (SELECT gen_random_uuid() AS key1, 1 AS value1, 2 AS extra) TO :'odd2' (FORMAT csv, HEADER);
SELECT datamill.cdc_merge('cdc_main.odd', 's3://cdc/odd2/*', effective => '2019-06-20');
COPY (SELECT 1 AS value1) TO :'odd2' (FORMAT csv, HEADER);
SELECT datamill.cdc_merge('cdc_main.odd', 's3://cdc/odd2/*', effective => '2019-06-20');
COPY (SELECT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' AS key1, '1' AS value1 UNION ALL SELECT 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', 'seven')
  TO :'odd2' (FORMAT csv, HEADER);
SELECT datamill.cdc_merge('cdc_main.odd', 's3://cdc/odd2/*', effective => '2019-06-20');
SELECT datamill.cdc_merge('cdc_main.odd', 's3://cdc/nothing/*', effective => '2019-06-20');
\set VERBOSITY terse
SELECT datamill.cdc_merge('cdc_main.odd', 's3://no-such-bucket/*', effective => '2019-06-20');
\set VERBOSITY default
SELECT count(*) AS unmoved FROM cdc_main.odd o JOIN cdc_main.places p ON o.ctid = p.place AND o.key1 = p.key1;
SELECT count(*) FROM cdc_main.odd_history;

DROP SCHEMA cdc_main CASCADE;
DROP SERVER cdc_lake;
