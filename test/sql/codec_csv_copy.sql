-- The CSV reader against the server's COPY on generated files: same rows, or an error from both. Expected values are COPY's.
-- Every file is read with many sizes of buffer, so that each byte of it is some time the first of a refill.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
SET client_min_messages = warning;
CREATE SCHEMA csv_copy;
SET search_path = csv_copy;
SELECT setseed(0.25), set_config('csv_copy.file', :'buckets' || '/codec/generated.csv', false) IS NOT NULL AS prepared;
CREATE SERVER csv_copy_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE TABLE copied_1 (a text);
CREATE TABLE copied_3 (a text, b text, c text);
CREATE FOREIGN TABLE scanned_1 (a text, _row bigint) SERVER csv_copy_lake
  OPTIONS (url 's3://codec/generated.csv', format 'csv', header 'false');
CREATE FOREIGN TABLE scanned_3 (a text, b text, c text, _row bigint) SERVER csv_copy_lake
  OPTIONS (url 's3://codec/generated.csv', format 'csv', header 'false');
CREATE FOREIGN TABLE scanned_1_escape (a text, _row bigint) SERVER csv_copy_lake
  OPTIONS (url 's3://codec/generated.csv', format 'csv', header 'false', escape '\');
CREATE FOREIGN TABLE scanned_3_escape (a text, b text, c text, _row bigint) SERVER csv_copy_lake
  OPTIONS (url 's3://codec/generated.csv', format 'csv', header 'false', escape '\');

CREATE FUNCTION pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
  'SELECT choices[1 + floor(random() * array_length(choices, 1))::int]';

-- One field: empty, plain, quoted, or with quotes in the middle.
CREATE FUNCTION make_field(newline text, escape text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  kind float := random();
  inner_text text := '';
BEGIN
  IF kind < 0.15 THEN RETURN ''; END IF;
  IF kind < 0.2 THEN RETURN '""'; END IF;
  IF kind < 0.45 THEN
    RETURN repeat(pick('a', 'ü', 'b c', '€', '1234567890', 'x\y', '\'), 1 + floor(random() * 12)::int);
  END IF;
  FOR i IN 1 .. 1 + floor(random() * 8)::int LOOP
    inner_text := inner_text || pick('a', '""', ',', newline, 'ü', E'\n', E'\r\n', 'x\y', '""""', escape || '"', escape || '"""',
                                     'text that is long enough to fill one or two of the blocks of 64 bytes');
  END LOOP;
  IF kind < 0.85 THEN RETURN '"' || inner_text || '"'; END IF;
  RETURN pick('x', 'ü', '') || '"' || inner_text || '"' || pick('', 'y', '"z"', '""');
END $$;

-- A file, now and then with a field too many, a quote that is never closed, or no newline at its end.
CREATE FUNCTION make_file(columns int, newline text, escape text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  content text := '';
  record text;
  records int := floor(random() * 12)::int;
BEGIN
  FOR i IN 1 .. records LOOP
    record := '';
    FOR j IN 1 .. columns LOOP
      record := record || CASE WHEN j > 1 THEN ',' ELSE '' END || make_field(newline, escape);
    END LOOP;
    IF random() < 0.005 THEN record := record || ',extra'; END IF;
    IF random() < 0.005 THEN record := '"' || record; END IF;
    content := content || record || CASE WHEN i = records AND random() < 0.3 THEN '' ELSE newline END;
  END LOOP;
  RETURN content;
END $$;

CREATE FUNCTION write_file(content bytea) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  object oid := lo_from_bytea(0, content);
BEGIN
  PERFORM lo_export(object, current_setting('csv_copy.file'));
  PERFORM lo_unlink(object);
END $$;

-- Reads the file both ways; NULL if they agree, else what differs. Counts the files that both could read.
CREATE TABLE counts (rows_compared bigint);
CREATE FUNCTION compare(columns int, escape text, newline text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  theirs text;
  ours text;
  their_error text;
  our_error text;
  size int;
BEGIN
  BEGIN
    EXECUTE format('TRUNCATE copied_%s', columns);
    EXECUTE format('COPY copied_%s FROM %L WITH (FORMAT csv, ESCAPE %L)', columns, current_setting('csv_copy.file'), escape);
    EXECUTE format('SELECT string_agg(t::text, chr(10) ORDER BY ctid) FROM copied_%s t', columns) INTO theirs;
    EXECUTE format('INSERT INTO counts SELECT count(*) FROM copied_%s', columns);
  EXCEPTION WHEN OTHERS THEN
    their_error := sqlerrm;
    IF their_error LIKE 'unquoted%' THEN RETURN NULL; END IF; -- mixed newlines: we take CRLF among LF
  END;
  FOREACH size IN ARRAY '{1,2,3,5,16,63,64,65,129,262144}'::int[] LOOP
    PERFORM set_config('datamill.csv_buffer_size', size || 'B', true);
    ours := NULL;
    our_error := NULL;
    BEGIN
      EXECUTE format('SELECT string_agg(ROW(%s)::copied_%s::text, chr(10) ORDER BY _row) FROM scanned_%2$s%3$s',
        CASE columns WHEN 1 THEN 'a' ELSE 'a, b, c' END, columns, CASE escape WHEN '\' THEN '_escape' ELSE '' END) INTO ours;
    EXCEPTION WHEN OTHERS THEN
      our_error := sqlerrm;
    END;
    IF ours IS DISTINCT FROM theirs OR (their_error IS NULL) <> (our_error IS NULL) THEN
      RETURN format('buffer %s, newline %s: COPY %s %s; datamill %s %s', size, to_json(newline), theirs, their_error, ours, our_error);
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

CREATE FUNCTION compare_generated(files int) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  newline text;
  escape text;
  columns int;
  difference text;
BEGIN
  FOR i IN 1 .. files LOOP
    newline := pick(E'\n', E'\r\n', E'\r');
    escape := pick('"', '\');
    columns := pick('1', '3')::int;
    PERFORM write_file(convert_to(make_file(columns, newline, escape), 'UTF8'));
    difference := compare(columns, escape, newline);
    IF difference IS NOT NULL THEN RETURN NEXT difference; END IF;
  END LOOP;
END $$;
SELECT * FROM compare_generated(600);
SELECT sum(rows_compared) > 1000 AS many_rows, count(*) > 250 AS many_files FROM counts;

-- Hand-written ones: ends of files, quotes in odd places, no newline, only newlines.
CREATE FUNCTION compare_given(contents text[]) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  content text;
  difference text;
BEGIN
  FOREACH content IN ARRAY contents LOOP
    FOR columns IN 1 .. 3 BY 2 LOOP
      PERFORM write_file(convert_to(content, 'UTF8'));
      difference := compare(columns, '"', '');
      IF difference IS NOT NULL THEN RETURN NEXT to_json(content) || ': ' || difference; END IF;
    END LOOP;
  END LOOP;
END $$;
SELECT * FROM compare_given(ARRAY['', 'a', E'a\n', E'\n', E'\n\n', E'\r', E'\r\n', ',,', E',,\n', '""', E'""\n', '"', '"a', 'a"', 'a"b"',
  E'a,b,c\r', E'a,b,"c\r"\r', E'"a\r\n","b\n","c\r"\r\nd,e,f', E'a,b,c\nd,e,f\r\n', E'a\n\nb\n', '"a"b,c"d",""""', '"""",""",""",","', E'x,"\\",y']);
DROP SCHEMA csv_copy CASCADE;
DROP SERVER csv_copy_lake;
