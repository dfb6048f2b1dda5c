-- Objects of a URL as rows: headers, special columns, compression, encodings, and every error of bad input.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA objscan;
SET search_path = objscan;
CREATE SERVER objscan_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE people (id int, name varchar(10), note text, _file text, _row bigint, _size bigint)
  SERVER objscan_lake OPTIONS (url 's3://objscan/day/*.csv', format 'csv', header 'true');

-- Each object has its own order of columns; one is empty, one has only a header.
SELECT * FROM people ORDER BY id;
SELECT id FROM people ORDER BY id;
SELECT count(*) FROM people;
SELECT _file, count(*), max(_row), min(length(name)) FROM people GROUP BY _file ORDER BY _file;
SELECT p.id, q.id FROM people p JOIN LATERAL (SELECT id FROM people WHERE id > p.id LIMIT 1) q ON true ORDER BY 1;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM people;
FETCH 2 FROM c;
SAVEPOINT s;
FETCH 1 FROM c;
ROLLBACK TO s;
FETCH 2 FROM c;
COMMIT;

-- The same bytes as gzip, told by their magic: members one after another, padding behind them.
CREATE FUNCTION read(url text) RETURNS SETOF people LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  EXECUTE format('ALTER FOREIGN TABLE people OPTIONS (SET url %L)', url);
  RETURN QUERY SELECT * FROM people;
END $$;
SELECT id, name, note FROM read('s3://objscan/gz/members.csv.gz');
SELECT id, name, note FROM read('s3://objscan/gz/padded.csv');
SELECT id, name, note FROM read('s3://objscan/good/*');

-- Another encoding: converted field by field; read as UTF8 it is an error that says where.
SELECT id, name, note FROM read('s3://objscan/latin1/*.csv');
ALTER FOREIGN TABLE people OPTIONS (ADD encoding 'LATIN1');
SELECT id, name, note FROM read('s3://objscan/latin1/*.csv');
-- SJIS has characters whose second byte is a backslash, or whatever the delimiter may be from 0x30 up.
ALTER FOREIGN TABLE people OPTIONS (SET encoding 'SJIS');
SELECT id, name, note FROM read('s3://objscan/sjis/*.csv');
SELECT id, name, note FROM read('s3://objscan/latin1/*.csv');
ALTER FOREIGN TABLE people OPTIONS (ADD delimiter '|');
SELECT id, name, note FROM read('s3://objscan/sjis/*.csv');
ALTER FOREIGN TABLE people OPTIONS (DROP encoding, DROP delimiter);

-- Nothing there.
SELECT id FROM read('s3://objscan/nothing/*.csv');
SELECT id FROM read('s3://objscan/day/');
ALTER FOREIGN TABLE people OPTIONS (ADD allow_empty 'true');
SELECT id FROM read('s3://objscan/nothing/*.csv');
ALTER FOREIGN TABLE people OPTIONS (DROP allow_empty);

-- Headers that do not fit.
SELECT id FROM read('s3://objscan/bad/unknown.csv');
SELECT id FROM read('s3://objscan/bad/missing.csv');
SELECT id FROM read('s3://objscan/bad/twice.csv');
SELECT id FROM read('s3://objscan/bad/case.csv');

-- Values and records that do not fit.
SELECT id FROM read('s3://objscan/bad/number.csv');
SELECT id FROM read('s3://objscan/bad/long.csv');
SELECT id FROM read('s3://objscan/bad/few.csv');
SELECT id FROM read('s3://objscan/bad/many.csv');
SELECT id FROM read('s3://objscan/bad/blank.csv');
SELECT id FROM read('s3://objscan/bad/unterminated.csv');
SELECT id FROM read('s3://objscan/bad/utf8.csv');
SELECT id FROM read('s3://objscan/bad/nul.csv');
SELECT id FROM read('s3://objscan/bad/utf16.csv');
SELECT id FROM read('s3://objscan/bad/cr.csv');
SELECT id FROM read('s3://objscan/bad/lf.csv');
\set file :buckets '/objscan/bad/fields.csv'
COPY (SELECT 'id,name,note' UNION ALL SELECT repeat(',', 70000)) TO :'file';
SELECT id FROM read('s3://objscan/bad/fields.csv');

-- Columns that are not used are not converted, but the structure is always checked.
ALTER FOREIGN TABLE people OPTIONS (SET url 's3://objscan/bad/number.csv');
SELECT name FROM people ORDER BY name;
SELECT count(*) FROM people;
ALTER FOREIGN TABLE people OPTIONS (SET url 's3://objscan/bad/few.csv');
SELECT count(*) FROM people;

-- Compressed data that is cut off, damaged, or followed by something else.
SELECT id FROM read('s3://objscan/gz/cut.bin');
SELECT id FROM read('s3://objscan/gz/cut_trailer.bin');
SELECT id FROM read('s3://objscan/gz/magic.bin');
SELECT id FROM read('s3://objscan/gz/damaged.bin');
SELECT id FROM read('s3://objscan/gz/garbage.bin');
SELECT id FROM read('s3://objscan/gz/garbage_padded.bin');

-- By position, with and without a header; a column's name in the header.
ALTER FOREIGN TABLE people OPTIONS (ADD match 'position');
SELECT id, name, note, _row FROM read('s3://objscan/bad/case.csv');
SELECT id FROM read('s3://objscan/bad/many.csv');
ALTER FOREIGN TABLE people OPTIONS (DROP match);
ALTER FOREIGN TABLE people ALTER id OPTIONS (ADD name 'ID'), ALTER note OPTIONS (ADD name 'nöte');
SELECT id, name, note, _row FROM read('s3://objscan/bad/case.csv');
ALTER FOREIGN TABLE people ALTER id OPTIONS (DROP name), ALTER note OPTIONS (DROP name);

-- The null text, in quotes and out of them.
CREATE FOREIGN TABLE nulls (a text, b text OPTIONS (force_null 'true'), c text OPTIONS (force_not_null 'true'))
  SERVER objscan_lake OPTIONS (url 's3://objscan/null/*.csv', null 'N');
SELECT *, a IS NULL AS an, b IS NULL AS bn, c IS NULL AS cn FROM nulls;
ALTER FOREIGN TABLE nulls ALTER a OPTIONS (ADD force_null 'maybe');

-- A dropped column, a special column of another type, and options that cannot be.
ALTER FOREIGN TABLE people DROP COLUMN note;
SELECT id, name FROM read('s3://objscan/bad/missing.csv');
ALTER FOREIGN TABLE people ADD COLUMN _etag int;
SELECT id FROM people;
ALTER FOREIGN TABLE people DROP COLUMN _etag, ADD COLUMN _etag text, ADD COLUMN _modified timestamptz;
SELECT id, _etag <> '' AS has_etag, _modified > '2000-01-01' AS has_time FROM people;
DROP SCHEMA objscan CASCADE;
DROP SERVER objscan_lake;
