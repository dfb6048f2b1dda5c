-- Domains that refuse NULL, by NOT NULL or by a CHECK, and domains with a default: as INSERT has them.
SET client_min_messages = warning;
SET datestyle = 'ISO';
\getenv buckets DM_BUCKETS
CREATE SCHEMA cdc_dom;
SET search_path = cdc_dom;
SELECT 'file://' || :'buckets' AS endpoint \gset
CREATE SERVER domain_files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE DOMAIN dn AS int NOT NULL;
CREATE DOMAIN dc AS int CHECK (value IS NOT NULL);
CREATE DOMAIN deep AS dn;
CREATE DOMAIN dd AS int DEFAULT 5;

-- a column that the source lacks: rows that are there keep their values, a new row has none
SELECT inserted FROM datamill.cdc_merge('cdc_dom.m', 'SELECT 1 AS id, 5::dn AS v, 6::dc AS c, 7::deep AS d, 8::dd AS e, 1 AS w', '{id}', '2020-01-01',
  options => '{"on_missing_column": "ignore"}');
SELECT updated FROM datamill.cdc_merge('cdc_dom.m', 'SELECT 1 AS id, 2 AS w', effective => '2020-01-02');
SELECT datamill.cdc_merge('cdc_dom.m', 'SELECT i AS id, 3 AS w FROM generate_series(1, 2) i', effective => '2020-01-03');
SELECT datamill.cdc_plan('cdc_dom.m', 'SELECT i AS id, 3 AS w FROM generate_series(1, 2) i', effective => '2020-01-03');
SELECT datamill.cdc_merge('cdc_dom.m', 'SELECT 2 AS id, 3 AS w', effective => '2020-01-03', mode => 'delta');
SELECT datamill.cdc_merge('cdc_dom.m', 'SELECT i AS id, 5 AS v, 7 AS d, 3 AS w FROM generate_series(1, 2) i', effective => '2020-01-03');
SELECT datamill.cdc_merge('cdc_dom.m', 'SELECT i AS id, 5 AS v, 6 AS c, 3 AS w FROM generate_series(1, 2) i', effective => '2020-01-03', options => '{"duplicates": "last", "sequence_column": "w"}');
SELECT inserted, updated FROM datamill.cdc_merge('cdc_dom.m', 'SELECT i AS id, 5 AS v, 6 AS c, 7 AS d, 3 AS w FROM generate_series(1, 2) i', effective => '2020-01-03');
SELECT id, v, c, d, e, w FROM m ORDER BY id;
-- NULL in the source, by a query, CSV and JSON
SELECT datamill.cdc_merge('cdc_dom.m', 'SELECT 1 AS id, nullif(1, 1) AS v, 6 AS c, 7 AS d, 3 AS w', effective => '2020-01-04');
SELECT inserted FROM datamill.cdc_merge('cdc_dom.o', 'SELECT 1 AS id, 5::dn AS v, 1 AS w', '{id}', '2020-01-01');
SELECT datamill.cdc_merge('cdc_dom.o', 's3://domains/nulls.csv', effective => '2020-01-02', options => '{"server": "domain_files"}');
SELECT datamill.cdc_merge('cdc_dom.o', 's3://domains/nulls.jsonl', effective => '2020-01-02', options => '{"server": "domain_files", "format": "jsonl"}');
SELECT unchanged, rejected FROM datamill.cdc_merge('cdc_dom.o', 's3://domains/nulls.csv', effective => '2020-01-02', options => '{"server": "domain_files", "on_error": "quarantine"}');
SELECT id, v, w FROM o ORDER BY id;
CREATE TABLE l (id int, v dn, w int);
SELECT datamill.load('s3://domains/nulls.csv', 'cdc_dom.l', options => '{"server": "domain_files"}');
SELECT datamill.load('s3://domains/nulls.jsonl', 'cdc_dom.l', options => '{"server": "domain_files", "format": "jsonl"}');

-- feeds of rows: upserts need a value; deletes and truncates have none
CREATE DOMAIN key AS int NOT NULL;
CREATE TABLE ev (op text, id int, seq bigint, v int, w int);
INSERT INTO ev VALUES ('c', 1, 1, 5, 1), ('c', 2, 2, 6, 2), ('d', 1, 3, NULL, NULL);
SELECT inserted, deleted FROM datamill.cdc_merge('cdc_dom.r', 'SELECT op, id::key AS id, seq, v::dn AS v, w FROM ev WHERE op = ''c''', '{id}', mode => 'feed',
  options => '{"operation_column": "op", "sequence_column": "seq", "delete_values": ["d"], "truncate_values": ["t"]}');
SELECT deleted, unchanged FROM datamill.cdc_merge('cdc_dom.r', 'ev', mode => 'feed');
SELECT deleted FROM datamill.cdc_merge('cdc_dom.r', 'SELECT ''t'' AS op, NULL::int AS id, 4::bigint AS seq, NULL::int AS v, NULL::int AS w', mode => 'feed');
SELECT datamill.cdc_merge('cdc_dom.r', 'SELECT ''c'' AS op, 3 AS id, 5::bigint AS seq, NULL::int AS v, NULL::int AS w', mode => 'feed');
SELECT datamill.cdc_merge('cdc_dom.r', 'SELECT ''c'' AS op, NULL::int AS id, 5::bigint AS seq, 1 AS v, NULL::int AS w', mode => 'feed');
SELECT inserted, deleted FROM datamill.cdc_merge('cdc_dom.s', 's3://domains/events.csv', '{id}', mode => 'feed',
  options => '{"server": "domain_files", "columns": {"id": "cdc_dom.key", "v": "cdc_dom.dn", "w": "int", "seq": "bigint", "op": "text"}, "operation_column": "op", "sequence_column": "seq"}');
SELECT datamill.cdc_merge('cdc_dom.s', 's3://domains/bad_events.csv', mode => 'feed', options => '{"server": "domain_files"}');
SELECT inserted, deleted, rejected FROM datamill.cdc_merge('cdc_dom.s', 's3://domains/bad_events.csv', mode => 'feed', options => '{"server": "domain_files", "on_error": "quarantine"}');
SELECT id, v, w, eff_start_date, eff_end_date FROM s_versions ORDER BY 1, 4;

-- Debezium: null and members that an event lacks; values that it does not tell are kept, deletes have none
SELECT datamill.cdc_merge('cdc_dom.f', 'SELECT ''{"op":"c","after":{"id":2,"v":null},"source":{"lsn":1}}''::text AS value', '{id}', mode => 'feed', options => '{"format": "debezium", "columns": {"id": "int", "v": "cdc_dom.dn"}}');
SELECT datamill.cdc_merge('cdc_dom.f', 'SELECT ''{"op":"c","after":{"id":2},"source":{"lsn":1}}''::text AS value', '{id}', mode => 'feed', options => '{"format": "debezium", "columns": {"id": "int", "v": "cdc_dom.dc"}}');
CREATE TABLE dbz (nr int, value text);
INSERT INTO dbz VALUES (1, '{"op":"c","after":{"id":2,"v":7},"source":{"lsn":1}}'), (2, '{"op":"u","after":{"id":2,"v":"__debezium_unavailable_value"},"source":{"lsn":2}}'),
  (3, '{"op":"d","before":{"id":2,"v":null},"source":{"lsn":3}}'), (4, NULL);
SELECT inserted, deleted FROM datamill.cdc_merge('cdc_dom.f', 'SELECT nr AS kafka_offset, ''{"id": 2}''::jsonb AS key, value FROM dbz', '{id}', mode => 'feed',
  options => '{"format": "debezium", "sequence_column": "kafka_offset", "tombstones": "delete", "columns": {"id": "cdc_dom.key", "v": "cdc_dom.dc"}}');
SELECT id, v, eff_start_date, eff_end_date FROM f_versions ORDER BY 1, 3;
-- points of deletes have NULL there: a dump of them can be read
SELECT unchanged FROM datamill.cdc_merge('cdc_dom.f', $$SELECT 9 AS kafka_offset, '{"op":"d","before":{"id":7},"source":{"lsn":9}}' AS value$$, mode => 'feed');
SELECT id, v, operation, attname, atttypid::regtype FROM f_feed, pg_attribute WHERE attrelid = 'f_feed'::regclass AND attname IN ('id', 'v') AND id = 7 ORDER BY attname;
CREATE TABLE restored (LIKE f_feed);
INSERT INTO restored SELECT (jsonb_populate_record(NULL::restored, to_jsonb(f))).* FROM f_feed f;
SELECT removed, restored FROM datamill.cdc_undo('cdc_dom.f');
SELECT * FROM datamill.check_dataset('cdc_dom.f');
-- of members with one name the last one counts, null and placeholders, too
SELECT inserted FROM datamill.cdc_merge('cdc_dom.twice', $$VALUES ('{"op":"c","after":{"id":1,"v":1,"v":null},"source":{"lsn":1}}'), ('{"op":"c","after":{"id":2,"v":"__debezium_unavailable_value","v":2},"source":{"lsn":1}}')$$,
  '{id}', mode => 'feed', options => '{"format": "debezium", "columns": {"id": "int", "v": "int"}}');
SELECT id, v FROM twice ORDER BY id;

-- a new column: NULL in versions that are there, whatever its domain's default; an error where the domain refuses NULL
SELECT inserted FROM datamill.cdc_merge('cdc_dom.n', 'SELECT 1 AS id, 1 AS w', '{id}', '2020-01-01');
SELECT updated FROM datamill.cdc_merge('cdc_dom.n', 'SELECT 1 AS id, 2 AS w', effective => '2020-01-02');
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_dom.n', 'SELECT 1 AS id, 2 AS w, NULL::dd AS dd', effective => '2020-01-03', options => '{"on_new_column": "add"}');
SELECT id, w, dd, eff_start_date, eff_end_date FROM n_versions ORDER BY eff_start_date;
SELECT datamill.cdc_merge('cdc_dom.n', 'SELECT 1 AS id, 2 AS w, 1 AS dd, 1::dn AS dn', effective => '2020-01-03', options => '{"on_new_column": "add"}');
SELECT datamill.cdc_merge('cdc_dom.n', 'SELECT 1 AS id, 2 AS w, 1 AS dd, 1::dc AS dc', effective => '2020-01-03', options => '{"on_new_column": "add"}');
SELECT updated FROM datamill.cdc_merge('cdc_dom.n', 'SELECT 1 AS id, 2 AS w, 1 AS dd, 1::dn::int AS dn', effective => '2020-01-03', options => '{"on_new_column": "add"}');
SELECT * FROM datamill.check_dataset('cdc_dom.n');

-- kind 3: there is no value before the first
SELECT datamill.cdc_merge('cdc_dom.k', 'SELECT 1 AS id, 5::dn AS v', '{id}', '2020-01-01', options => '{"kinds": {"v": 3}}');
CREATE TABLE a (id int PRIMARY KEY, v dn, e dd);
INSERT INTO a VALUES (1, 1, 1);
SELECT datamill.create_dataset('cdc_dom.a', '{id}', effective => '2020-01-01', options => '{"kinds": {"v": 3}}');
SELECT datamill.create_dataset('cdc_dom.a', '{id}', effective => '2020-01-01', options => '{"kinds": {"e": 3}}');
SELECT id, v, e, previous_e FROM a;
DROP SCHEMA cdc_dom CASCADE;
DROP SERVER domain_files;
