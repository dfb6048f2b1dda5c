-- What a merge's receipt says of the objects read: etags are theirs, digests are those of Postgres's sha256() over the same bytes.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA receipt_inputs;
CREATE SERVER receipt_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
SELECT set_config('receipt_inputs.folder', :'buckets', false) IS NOT NULL AS prepared;
CREATE FUNCTION receipt_inputs.of(id text) RETURNS TABLE (uri text, has_etag boolean, size bigint, rows bigint, sha256_fits boolean)
LANGUAGE sql STABLE AS $$
  SELECT i.value->>'uri', i.value->>'etag' <> '', (i.value->>'size')::bigint, (i.value->>'rows')::bigint,
         i.value->>'sha256' = encode(sha256(pg_read_binary_file(
           replace(i.value->>'uri', 's3:/', current_setting('receipt_inputs.folder')))), 'hex')
  FROM datamill.receipts r, jsonb_array_elements(r.inputs) i WHERE r.id = $1 ORDER BY 1
$$;
SELECT receipt AS id FROM datamill.cdc_merge('receipt_inputs.people', 's3://objscan/day/*.csv', keys => '{id}', effective => '2020-01-01',
  options => '{"server": "receipt_lake"}') \gset
SELECT * FROM receipt_inputs.of(:'id');
-- Of a compressed object, with bytes after its last row, the bytes as stored count.
SELECT receipt AS id FROM datamill.cdc_merge('receipt_inputs.packed', 's3://objscan/gz/padded.csv', keys => '{id}', effective => '2020-01-01',
  options => '{"server": "receipt_lake"}') \gset
SELECT * FROM receipt_inputs.of(:'id');
SET client_min_messages = warning;
DROP SCHEMA receipt_inputs CASCADE;
DROP SERVER receipt_lake;
