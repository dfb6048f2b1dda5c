-- Columns of fixed length: rows that did not change are known by their bits, all others by the rules of their types.
-- with little memory the second row of a key is met while the source is read, else after it
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA cdc_image;
CREATE TABLE cdc_image.src (k uuid, n bigint, i int, s smallint, b bool, d date, f float8, c "char");
INSERT INTO cdc_image.src
SELECT ('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid, g * 10000000000, -g, g, g % 2 = 0, date '2020-01-01' + g,
       CASE g % 4 WHEN 0 THEN '-0' WHEN 1 THEN 'NaN' WHEN 2 THEN NULL ELSE g / 7.0 END::float8, chr(64 + g)::"char"
FROM generate_series(1, 20) g;
CREATE FUNCTION cdc_image.merge(day date) RETURNS text LANGUAGE sql AS $$
  SELECT format('I%s U%s D%s N%s', inserted, updated, deleted, unchanged) FROM datamill.cdc_merge('cdc_image.t', 'cdc_image.src', keys => '{k}', effective => day) $$;
SELECT cdc_image.merge('2020-02-01'), cdc_image.merge('2020-02-01');
-- 0 equals -0, though its bits differ; each other column alone makes a change, as NULL does
UPDATE cdc_image.src SET f = 0 WHERE f = '-0';
SELECT cdc_image.merge('2020-02-02');
UPDATE cdc_image.src SET n = n + 1 WHERE s = 1;
UPDATE cdc_image.src SET i = i + 1 WHERE s = 2;
UPDATE cdc_image.src SET s = 1000 WHERE s = 3;
UPDATE cdc_image.src SET b = NOT b WHERE s = 4;
UPDATE cdc_image.src SET d = d + 1 WHERE s = 5;
UPDATE cdc_image.src SET f = 5 WHERE s = 6;
UPDATE cdc_image.src SET c = 'z' WHERE s = 7;
UPDATE cdc_image.src SET n = NULL WHERE s = 8;
UPDATE cdc_image.src SET f = NULL WHERE s = 9;
SELECT cdc_image.merge('2020-02-03'), cdc_image.merge('2020-02-04');
SELECT count(*) AS differ FROM (SELECT * FROM cdc_image.src EXCEPT SELECT k, n, i, s, b, d, f, c FROM cdc_image.t) x;
-- a column that is gone, one that rows stored before do not have
ALTER TABLE cdc_image.src DROP COLUMN i, ADD COLUMN later int;
SELECT inserted, updated, unchanged FROM datamill.cdc_merge('cdc_image.t', 'cdc_image.src', effective => '2020-02-05', options => '{"on_new_column": "add", "on_missing_column": "ignore"}');
UPDATE cdc_image.src SET later = 1 WHERE s = 10;
SELECT inserted, updated, unchanged FROM datamill.cdc_merge('cdc_image.t', 'cdc_image.src', effective => '2020-02-06', options => '{"on_missing_column": "ignore"}');
SELECT s, i, later FROM cdc_image.t WHERE s IN (10, 11) ORDER BY s;
-- a row twice, unchanged or not
INSERT INTO cdc_image.src SELECT * FROM cdc_image.src WHERE s = 12;
SELECT updated FROM datamill.cdc_merge('cdc_image.t', 'cdc_image.src', effective => '2020-02-07', options => '{"on_missing_column": "ignore"}');
DELETE FROM cdc_image.src WHERE s = 12;
SELECT updated, deleted, unchanged FROM datamill.cdc_merge('cdc_image.t', 'cdc_image.src', effective => '2020-02-07', options => '{"on_missing_column": "ignore"}');
-- many pages, in an order that is not the table's; rows of a page changed in the middle of it
CREATE TABLE cdc_image.many AS SELECT g AS k, g * 2 AS v FROM generate_series(1, 30000) g;
SELECT inserted FROM datamill.cdc_merge('cdc_image.m', 'cdc_image.many', keys => '{k}', effective => '2020-01-01');
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_image.m',
  'SELECT k, v + (k % 7 = 0)::int AS v FROM cdc_image.many WHERE k % 11 > 0 UNION ALL SELECT -k, 0 FROM cdc_image.many WHERE k % 100 = 0 ORDER BY 1 DESC', effective => '2020-01-02');
SELECT count(*), sum(k), sum(v) FROM cdc_image.m;
SELECT ended_by, count(*), sum(k), sum(v) FROM cdc_image.m_history GROUP BY 1 ORDER BY 1;
SELECT count(*), sum(k), sum(v + (k % 7 = 0)::int) FROM (SELECT k, v FROM cdc_image.many WHERE k % 11 > 0 UNION ALL SELECT -k, CASE WHEN k % 7 = 0 THEN -1 ELSE 0 END FROM cdc_image.many WHERE k % 100 = 0) x;
DROP SCHEMA cdc_image CASCADE;
