-- What cdc_merge refuses, and that nothing is changed by it.
\set VERBOSITY default
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE good (id int, name text);
INSERT INTO good VALUES (1, 'one'), (2, 'two');
CREATE VIEW a_view AS SELECT 1 AS id;
CREATE TABLE a_table (id int, name text);

-- the first merge
SELECT datamill.cdc_merge('cdc_errors.t', 'good');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{nr}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"untracked": ["id"]}');
SELECT datamill.cdc_merge('a_view', 'good', keys => '{id}');
SELECT datamill.cdc_merge('a_table', 'good', keys => '{id}');
SELECT datamill.cdc_merge('a.b.c.d', 'good', keys => '{id}');
SELECT datamill.cdc_merge('', 'good', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'no_such_table', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT 1 AS id; DROP TABLE good', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'DELETE FROM good RETURNING id', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT * FROM good UNION ALL SELECT * FROM good', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT NULL::int AS id', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT id, name AS operation FROM good', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT id, point(1, 2) AS spot FROM good', keys => '{spot}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT * FROM good WHERE false', keys => '{id}');
SELECT datamill.cdc_merge(NULL, 'good', keys => '{id}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id,NULL}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', effective => 'infinity');
SELECT datamill.cdc_merge('cdc_errors.' || repeat('x', 60), 'good', keys => '{id}');
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'cdc_errors';

-- modes and options
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', mode => 'feed');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', mode => 'fulll');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"delets": "close"}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"deletes": "maybe"}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"deletes": 1}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"untracked": "name"}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"effective_type": "timestamp"}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '{"allow_empty": 1}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', options => '[1]');

-- later merges
SELECT inserted FROM datamill.cdc_merge('cdc_errors.t', 'good', keys => '{id}', effective => '2019-06-18');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', effective => '2019-06-17');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', keys => '{name}', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', effective => '2019-06-19', options => '{"untracked": ["name"]}');
SELECT datamill.cdc_merge('cdc_errors.t', 'good', effective => '2019-06-19', options => '{"effective_type": "timestamptz"}');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT id FROM good', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT id, name, 1 AS extra FROM good', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT name AS id, name FROM good', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT * FROM good UNION ALL SELECT 2, ''zwei''', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT id + 7 AS id, name FROM good UNION ALL SELECT 8, ''acht''', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT NULLIF(id, 2) AS id, name FROM good', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT * FROM good WHERE false', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t', 'SELECT 1 / (id - 2) AS id, name FROM good', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t_versions', 'good', effective => '2019-06-19');
SELECT datamill.cdc_merge('cdc_errors.t_history', 'good', effective => '2019-06-19');
BEGIN READ ONLY;
SELECT datamill.cdc_merge('cdc_errors.t', 'good', effective => '2019-06-19');
ROLLBACK;

-- nothing of all this left a trace
SELECT id, name, operation, eff_start_date FROM cdc_errors.t ORDER BY id;
SELECT count(*) FROM cdc_errors.t_history;
SELECT count(*) AS merges FROM datamill.merges WHERE dataset = 'cdc_errors.t'::regclass;
SELECT count(*) AS receipts FROM datamill.receipts WHERE definition = 'cdc_errors.t';

-- tables that were changed by hand
SET client_min_messages = warning;
ALTER TABLE cdc_errors.t_history DROP COLUMN name CASCADE;
SELECT datamill.cdc_merge('cdc_errors.t', 'good', effective => '2019-06-19');
DROP TABLE cdc_errors.t_history CASCADE;
SELECT datamill.cdc_merge('cdc_errors.t', 'good', effective => '2019-06-19');

-- generate_cdc
SELECT datamill.generate_cdc(0, 0, 1, 1, 0, 0, 1, 's3://b/a', 's3://b/b');
SELECT datamill.generate_cdc(10, 10, 1, 1, 0.5, 0.5, 0.5, 's3://b/a', 's3://b/b');
SELECT datamill.generate_cdc(10, 10, 1, 1, -1, 1, 1, 's3://b/a', 's3://b/b');
SELECT datamill.generate_cdc(10, 5, 1, 1, 0.2, 0.4, 0.4, 's3://b/a', 's3://b/b');
SELECT datamill.generate_cdc(10, 10, 0, 1, 0.2, 0.4, 0.4, 's3://b/a', 's3://b/b');
SELECT datamill.generate_cdc(10, 10, 1, 0, 0.2, 0.4, 0.4, 's3://b/a', 's3://b/b');
SELECT datamill.generate_cdc(10, 10, 1, 1, 0.2, 0.4, 0.4, 'here', 's3://b/b', server => 'no_such_server');

DROP SCHEMA cdc_errors CASCADE;
DROP VIEW a_view;
DROP TABLE good, a_table;
