-- What is no JSON, or does not fit: each error says where; with on_error the rows around a bad one stay.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
CREATE SCHEMA json_bad;
SET search_path = json_bad;
CREATE SERVER json_bad_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE bad (id int, name text) SERVER json_bad_lake OPTIONS (url 's3://json/bad/comma.jsonl', format 'jsonl');

SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://json/bad/int.jsonl');
SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://json/bad/utf8.jsonl');
SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (ADD encoding 'LATIN1');
SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (DROP encoding);

-- Every bad line is found, whether its member is wanted or not; the lines around it are good.
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://json/bad/*.jsonl', ADD on_error 'quarantine');
SELECT id, count(*) FROM bad GROUP BY id ORDER BY id;
SELECT object, row_no, line_no, byte_offset, column_name, sqlstate, message FROM datamill.rejects
WHERE object LIKE 's3://json/bad/%' ORDER BY object, row_no;
SELECT record, record_cut FROM datamill.rejects WHERE object ~ '/(comma|utf8|nul)[.]' ORDER BY object;
-- Postgres refuses the same lines: but for these, which are JSON of another shape or type.
CREATE FUNCTION is_json(value text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM value::jsonb;
  RETURN true;
EXCEPTION WHEN OTHERS THEN
  RETURN false;
END $$;
SELECT object, record FROM datamill.rejects
WHERE object LIKE 's3://json/bad/%' AND is_json(record) AND NOT record_cut ORDER BY object;

-- Documents: a bad element is one bad row; where elements cannot be told apart, the object ends.
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://json/bad/*.json', SET format 'json');
ALTER FOREIGN TABLE bad ADD COLUMN _file text;
SELECT _file, array_agg(id ORDER BY id) FROM bad GROUP BY _file ORDER BY _file;
SELECT object, row_no, line_no, byte_offset, sqlstate, message, record FROM datamill.rejects
WHERE object LIKE 's3://json/bad/%.json' ORDER BY object, row_no;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://json/bad/inner.json', SET on_error 'stop');
SELECT * FROM bad;
ALTER FOREIGN TABLE bad OPTIONS (SET url 's3://json/bad/text.json');
SELECT * FROM bad;
DROP SCHEMA json_bad CASCADE;
DROP SERVER json_bad_lake;
