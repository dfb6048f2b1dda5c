-- Every converter against the type's input function, which COPY calls: the same value, bit by bit, or the same error.
\getenv buckets DM_BUCKETS
\set endpoint 'file://' :buckets
SET client_min_messages = warning;
SET TimeZone = 'America/St_Johns';
SET DateStyle = 'SQL, DMY';
CREATE SCHEMA convert;
SET search_path = convert;
SELECT setseed(0.75), set_config('convert.file', :'buckets' || '/codec/values.csv', false) IS NOT NULL AS prepared;
CREATE SERVER convert_lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');

CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE DOMAIN filled AS text NOT NULL;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE FUNCTION write_file(content text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  object oid := lo_from_bytea(0, convert_to(E'value,other\n' || content || E',1\n', 'UTF8'));
BEGIN
  PERFORM lo_export(object, current_setting('convert.file'));
  PERFORM lo_unlink(object);
END $$;

-- Compares one value; returns what differs, or NULL.
CREATE FUNCTION compare_value(type text, value text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  theirs text;
  ours text;
  their_error text;
  our_error text;
  send text := '(SELECT encode(' || (SELECT typsend FROM pg_type t WHERE t.oid = type::regtype) || '(value), ''hex''))';
BEGIN
  PERFORM write_file('"' || replace(value, '"', '""') || '"');
  BEGIN
    DELETE FROM copied;
    EXECUTE format('COPY copied FROM %L WITH (FORMAT csv, HEADER)', current_setting('convert.file'));
    EXECUTE 'SELECT value::text || '' '' || ' || send || ' FROM copied' INTO theirs;
  EXCEPTION WHEN OTHERS THEN
    their_error := sqlstate || ' ' || sqlerrm;
  END;
  BEGIN
    EXECUTE 'SELECT value::text || '' '' || ' || send || ' FROM scanned' INTO ours;
  EXCEPTION WHEN OTHERS THEN
    our_error := sqlstate || ' ' || sqlerrm;
  END;
  UPDATE counts SET good = good + (theirs IS NOT NULL)::int, bad = bad + (their_error IS NOT NULL)::int;
  IF ours IS DISTINCT FROM theirs OR their_error IS DISTINCT FROM our_error THEN
    RETURN format('%s %L: COPY %s %s; datamill %s %s', type, value, theirs, their_error, ours, our_error);
  END IF;
  RETURN NULL;
END $$;
CREATE TABLE counts (good int, bad int);
INSERT INTO counts VALUES (0, 0);

CREATE FUNCTION compare_type(type text, given text[]) RETURNS SETOF text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  value text;
  difference text;
BEGIN
  EXECUTE format('DROP TABLE IF EXISTS copied; CREATE TABLE copied (value %s, other int)', type);
  EXECUTE format('DROP FOREIGN TABLE IF EXISTS scanned; CREATE FOREIGN TABLE scanned (value %s, other int) SERVER convert_lake '
                 'OPTIONS (url ''s3://codec/values.csv'', format ''csv'', header ''true'')', type);
  FOREACH value IN ARRAY given LOOP
    difference := compare_value(type, value);
    IF difference IS NOT NULL THEN RETURN NEXT difference; END IF;
  END LOOP;
END $$;

-- Texts that are a number of up to this many digits, with now and then something wrong with it.
CREATE FUNCTION numbers(count int, digits int) RETURNS text[] LANGUAGE sql VOLATILE AS $$
  SELECT array_agg(CASE WHEN random() < 0.3 THEN '-' ELSE '' END
    || (SELECT string_agg(floor(random() * 10)::text, '') FROM generate_series(1, 1 + i % digits))
    || (ARRAY['', '', '', '', '', '', 'x', ' ', '.5', '/', ':', chr(176)])[1 + floor(random() * 12)::int])
  FROM generate_series(1, count) i
$$;
CREATE FUNCTION odd_numbers() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT '{"",-,+,0,-0,+1," 1","1 ",00000000000000000000001,32767,32768,-32768,-32769,2147483647,2147483648,-2147483648,-2147483649,
    9223372036854775807,9223372036854775808,-9223372036854775808,-9223372036854775809,18446744073709551616,99999999999999999999,
    1e3,0x10,1_000,--1,1-,12345678a,1234567a,a2345678,"1234 678",1234/678,1234:678,１,NaN,12345678*,12345678/,1234567;8}'::text[]
$$;
SELECT * FROM compare_type('smallint', odd_numbers() || numbers(100, 7));
SELECT * FROM compare_type('integer', odd_numbers() || numbers(200, 12));
SELECT * FROM compare_type('bigint', odd_numbers() || numbers(400, 21));
CREATE FUNCTION decimals(count int, before int, behind int) RETURNS text[] LANGUAGE sql VOLATILE AS $$
  SELECT array_agg(a || '.' || b ORDER BY i) FROM unnest(numbers(count, before)) WITH ORDINALITY x(a, i)
    JOIN unnest(numbers(count, behind)) WITH ORDINALITY y(b, i) USING (i)
$$;
SELECT * FROM compare_type('numeric', odd_numbers() || decimals(300, 12, 9) || '{.,-.,-.5,5.,-0.000,0.0000,0.00000000,1234.5678,1.00000000,00.10}'::text[]);
SELECT * FROM compare_type('numeric', decimals(150, 60, 40) || decimals(150, 30, 70)
  || ARRAY(SELECT (i * 7919 % 1000000007)::numeric / (10 ^ (i % 9))::numeric || '' FROM generate_series(1, 100) i)
  || ARRAY(SELECT '0.' || repeat('0', i) || '12345' || repeat('0', i % 5) FROM generate_series(0, 66) i)
  || ARRAY(SELECT '-' || i || repeat('0', i) || '.' || repeat('0', i % 9) FROM generate_series(1, 80) i)
  || ARRAY[repeat('9', 119), repeat('9', 120), repeat('9', 121), '-' || repeat('9', 120), '0.' || repeat('9', 62), '0.' || repeat('9', 63), '0.' || repeat('9', 64),
    repeat('0', 118) || '7', repeat('0', 200) || '7.50', '1..2', '1.2.3', '-.', '.-1', '12.3e', '1 .5', '0009.0900', '10000', '9999', '0.0001', '0.00010000', '0.9999']);
SELECT * FROM compare_type('numeric(40,20)', decimals(100, 22, 22));
SELECT * FROM compare_type('numeric(6,2)', odd_numbers() || numbers(50, 6) || decimals(100, 5, 3) || '{0,0.0,00001,9999.99,9999.995,10000,09999.9}'::text[]);
SELECT * FROM compare_type('numeric(20,4)', odd_numbers() || decimals(100, 18, 5));
SELECT * FROM compare_type('numeric(3,5)', '{0,0.001,0.00999,0.01,0.1}');
SELECT * FROM compare_type('numeric(3,-2)', '{0,1,100,99900,99950,12345.6}');
SELECT * FROM compare_type('real', odd_numbers() || numbers(50, 20));
SELECT * FROM compare_type('double precision', odd_numbers() || numbers(100, 21)
  || '{.,-.,-.5,.5,5.,1..2,1.2.3,0.1,0.3,1.7976931348623157e308,1e400,9007199254740992,9007199254740993,9007199254740993.5,
       0.000000000000000001,123456789.123456789,0.1234567890123456789,-0.0,Infinity,-inf,nan,1e-400,5e-324,179769313486231580793}'::text[]);
SELECT * FROM compare_type('double precision', decimals(300, 10, 12));
SELECT * FROM compare_type('boolean', '{t,f,1,0,true,false,TRUE,False,tr,fals,yes,no,on,of,off,"", t,2,y,truex}');
SELECT * FROM compare_type('uuid', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11,
  a0eebc999c0b4ef8bb6d6bb9bd380a11,"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11,"",
  a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g,g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,
  a0eebc99_9c0b-4ef8-bb6d-6bb9bd380a11,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a@1,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a`1,
  a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a/1,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a:1,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380aü,
  a0eebc99-9c0b-4ef8-bb6d-6bb9bd380aG1,a0eebc99--c0b-4ef8-bb6d-6bb9bd380a11}');
SELECT c FROM (SELECT array_agg(overlay('0123abcd-ef01-2345-6789-ABCDEF012345' PLACING chr(33 + i % 94) FROM 1 + i % 36) ORDER BY i) given
  FROM generate_series(1, 36 * 94, 7) i) n, compare_type('uuid', given) c;
SELECT * FROM compare_type('text', ARRAY['', 'a', 'ü', 'a"b', '  ', '\N', 'NULL']);
SELECT * FROM compare_type('text', ARRAY[repeat('x', 126), repeat('x', 127), repeat('ü', 5000)]);
SELECT * FROM compare_type('varchar', '{"",a,ü}');
SELECT * FROM compare_type('varchar(3)', '{"",abc,abcd,"abc ","abc  x",üüü,üüüü,"üüü "}');
SELECT * FROM compare_type('char(3)', '{"",abc,abcd,"abc ",üüü}');
SELECT * FROM compare_type('"char"', '{"",a,ab}');
SELECT * FROM compare_type('name', ARRAY['', 'a', repeat('n', 70)]);
SELECT * FROM compare_type('date', '{2020-02-29,2021-02-29,2000-02-29,1900-02-29,0000-01-01,0001-01-01,9999-12-31,2020-00-01,2020-13-01,
  2020-01-00,2020-01-32,2020-04-31,2020-4-1,20200401,2020/04/01,01/04/2020,13/04/2020,infinity,epoch,today2,"2020-01-01 ",2020-01-01x,
  2020-01-0x,10000-01-01,"2020-01-01 BC","2020-01-01 10:11:12",""}');
CREATE FUNCTION times() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
  SELECT array_agg(d || t || f || z ORDER BY d, t, f, z)
  FROM unnest('{2020-02-29,2020-02-30,1883-11-18,2021-03-14}'::text[]) d, unnest('{ 02:30:00,T23:59:59,t01:02:03, 24:00:00, 23:59:60, 7:08:09, 10:61:00}'::text[]) t,
    unnest('{"",.5,.123456,.1234567,.,.x}'::text[]) f, unnest('{"",Z,z,+00,-03:30,+0530,+5,+05:,+15:59,+16,-15:60, UTC, EST}'::text[]) z
$$;
SELECT * FROM compare_type('timestamp', times() || '{infinity,2020-01-01,"","2020-01-01 10:11","2020-01-01  10:11:12",0000-01-01 00:00:00}'::text[]);
SELECT * FROM compare_type('timestamptz', times() || '{infinity,2020-01-01,""}'::text[]);
SELECT * FROM compare_type('timestamp(3)', times());
SELECT * FROM compare_type('timestamptz(0)', times());
SELECT * FROM compare_type('time', '{10:11:12,25:00,""}');
SELECT * FROM compare_type('interval', '{1 day,x}');
SELECT * FROM compare_type('jsonb', '{"{\"a\": 1}",1,x,""}');
-- Objects and arrays in many spellings, and with now and then something wrong with them.
CREATE FUNCTION random_json(depth int) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  blank text := (ARRAY['', '', '', ' ', E'\n\t ', E'\r'])[1 + floor(random() * 6)::int];
  members text[];
BEGIN
  IF random() < 0.4 OR depth = 0 THEN
    RETURN blank || CASE floor(random() * 6)::int
      WHEN 0 THEN coalesce((ARRAY['tru', 'nullx', 'TRUE', 'nul', '""', 'NaN'])[floor(random() * 300)::int], (ARRAY['true', 'false', 'null'])[1 + floor(random() * 3)::int])
      WHEN 1 THEN '"' || left(md5(random()::text), floor(random() * 9)::int) || coalesce((ARRAY['ü☃𝄞', '\n', '\u00e9', '\ud834\udd1e', ' ', '/', '\x', ''''])[floor(random() * 100)::int], '') || '"'
      WHEN 2 THEN floor((random() - 0.5) * 10 ^ floor(random() * 25))::numeric::text
      WHEN 3 THEN ((random() - 0.5) * 1000)::numeric::text || repeat('0', floor(random() * 3)::int)
      WHEN 4 THEN coalesce((ARRAY['1e5', '1.5E-3', '01', '1.', '.5', '-', '+1', '0x1', '1_0', '1e400', repeat('7', 130), '0.' || repeat('0', 70) || '1'])[floor(random() * 200)::int], (ARRAY['0', '-0', '-0.0', '0.10', '-1.000'])[1 + floor(random() * 5)::int])
      ELSE '"' || chr(97 + floor(random() * 5)::int) || '"' END || blank;
  END IF;
  members := ARRAY(SELECT random_json(depth - 1) FROM generate_series(1, floor(random() ^ 3 * 40)::int));
  IF random() < 0.4 THEN
    RETURN blank || '[' || blank || array_to_string(members, ',') || ']' || blank;
  END IF;
  RETURN '{' || coalesce((SELECT string_agg(blank || '"' || repeat(chr(97 + floor(random() * 6)::int), floor(random() * 4)::int) || '"' || blank || ':' || m, ',') FROM unnest(members) m), '') || '}' || blank;
END $$;
CREATE TABLE before AS SELECT * FROM counts;
SELECT * FROM compare_type('jsonb', ARRAY(SELECT j FROM (SELECT coalesce(random_json(1 + i % 4), '{}') j FROM generate_series(1, 700) i) x WHERE length(j) < 20000));
SELECT c.good - b.good > 300 AS many_good, c.bad - b.bad > 30 AS many_bad FROM counts c, before b;
SELECT * FROM compare_type('jsonb', ARRAY['{', '}', '[', ']', '[]', '{}', '[1', '[1,', '[1,]', '[,1]', '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{a:1}', '{"a" 1}', '{"a":1]', '[1}', '[1]x', '[1] x',
  '["', '["a', '["a"', '{"a":1}{"b":2}', '[1][2]', '["a":1]', '{"b":1,"a":2,"b":3}', '{"b":1,"b":{"c":[]},"aa":null,"c":true}', '{"":0," ":1}', '[[[[[[[[[[1]]]]]]]]]]', '[[[[[[[[1]]]]]]]]',
  '[' || repeat('1,', 31) || '2]', '[' || repeat('1,', 32) || '2]', '["' || repeat('x', 70000) || '"]', '[truefalse]', '[true false]', '[-]', '[--1]', '[1-1]', '[00]', '[1.2.3]', E'["a\nb"]', E'["a\x7f"]', ' [ 1 , 2 ] ']
  || ARRAY(SELECT (SELECT '{' || string_agg(format('"%s":%s', md5(i::text), i), ',') || '}' FROM generate_series(1, n) i) FROM generate_series(31, 34) n));
SELECT * FROM compare_type('int[]', '{"{1,2}",x}');
SELECT * FROM compare_type('bytea', '{\\\\x00ff,\\\\x0,abc}');
SELECT * FROM compare_type('small', '{1,10,x}');
SELECT * FROM compare_type('mood', '{ok,happy}');
SELECT good > 3000 AS many_good, bad > 1000 AS many_bad FROM counts;

-- NULL goes through the input function of a domain, which may refuse it.
CREATE FOREIGN TABLE nulls (value filled, other int) SERVER convert_lake OPTIONS (url 's3://codec/values.csv', format 'csv', header 'true', null 'N');
SELECT write_file('""');
SELECT value = '' AS empty FROM nulls;
SELECT write_file('N');
\set VERBOSITY terse
SELECT value FROM nulls;
SELECT other FROM nulls;
DROP SCHEMA convert CASCADE;
DROP SERVER convert_lake;
