-- Objects compressed with zstd, told by their magic. The fixtures were made with the zstd tool, and damaged by hand.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA stream_zstd;
SET search_path = stream_zstd;
CREATE SERVER zstd_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE people (id int, name text, note text) SERVER zstd_lake OPTIONS (url 's3://objscan/zst/frames.csv.zst');
CREATE FUNCTION read(url text) RETURNS SETOF people LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  EXECUTE format('ALTER FOREIGN TABLE people OPTIONS (SET url %L)', url);
  RETURN QUERY SELECT * FROM people;
END $$;

-- Two frames with a skippable one between, and skippable ones around a frame.
SELECT * FROM read('s3://objscan/zst/frames.csv.zst');
SELECT * FROM read('s3://objscan/zst/skip_first.bin');

-- Cut off: in a block, in the checksum, in the next frame's magic.
SELECT * FROM read('s3://objscan/zst/cut.bin');
SELECT * FROM read('s3://objscan/zst/cut_checksum.bin');
SELECT * FROM read('s3://objscan/zst/cut_magic.bin');

-- Damaged: a block, the checksum. Followed by something else. A window of 1 GB.
\set VERBOSITY terse
SELECT * FROM read('s3://objscan/zst/damaged.bin');
\set VERBOSITY default
SELECT * FROM read('s3://objscan/zst/checksum.bin');
SELECT * FROM read('s3://objscan/zst/garbage.bin');
SELECT * FROM read('s3://objscan/zst/long.bin');

-- A million bytes and more, which need many calls, written by the tool of the server's host.
\getenv tmp DM_TMP
\set program 'mkdir -p ' :tmp '/zst && zstd -q -f -o ' :tmp '/zst/big.zst'
COPY (SELECT i AS id, md5(i::text) AS name, repeat('x', i % 50) AS note FROM generate_series(1, 100000) i)
  TO PROGRAM :'program' WITH (FORMAT csv, HEADER);
\set endpoint 'file://' :tmp
ALTER SERVER zstd_lake OPTIONS (SET endpoint :'endpoint');
SELECT count(*), sum(id), sum(length(note)), count(*) FILTER (WHERE name <> md5(id::text)) AS wrong FROM read('s3://zst/big.zst');
DROP SCHEMA stream_zstd CASCADE;
DROP SERVER zstd_lake;
