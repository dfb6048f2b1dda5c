-- What jobs watch, and the runs that receipts queue. datamill.scheduler is off here: nothing runs.
\set VERBOSITY default
SET timezone = 'UTC';
CREATE ROLE watch_ann LOGIN;
CREATE ROLE watch_bob LOGIN;
GRANT USAGE ON SCHEMA datamill TO watch_ann, watch_bob;
CREATE SCHEMA "Watch";
GRANT ALL ON SCHEMA "Watch" TO watch_ann, watch_bob;

-- what can be watched, and how it is stored
SET ROLE watch_ann;
SELECT datamill.create_job('w' || n, 'SELECT 1', watch => w) > 0 FROM (VALUES (1, 'event:x'), (2, 'relation:"Watch".orders'), (3, 'relation:public.ORDERS'),
  (4, 's3://bucket/in/*.csv'), (5, 'each   s3://bucket/**'), (6, 'latest file:///srv/b/x.csv')) v(n, w);
SELECT name, watch, schedule, next_due IS NOT NULL AS is_due FROM datamill.jobs ORDER BY name;
SELECT datamill.create_job('w7', 'SELECT 1', '@daily', watch => 's3://bucket/in/*.csv') > 0;
SELECT schedule FROM datamill.jobs WHERE name = 'w7';
SELECT datamill.alter_job('w1', '{"watch": "s3://bucket/x"}');
SELECT watch, schedule, next_due IS NOT NULL AS is_due FROM datamill.jobs WHERE name = 'w1';

-- refused
SELECT datamill.create_job('x', 'SELECT 1', watch => 'orders');
SELECT datamill.create_job('x', 'SELECT 1', watch => '');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'event:');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'relation:orders');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'relation:a.b.c');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'relation:"a.b');
SELECT datamill.create_job('x', 'SELECT 1', watch => 's3://bucket');
SELECT datamill.create_job('x', 'SELECT 1', watch => 's3://bucket/');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'every s3://bucket/x');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'each event:x');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'file:///');
SELECT datamill.create_job('x', 'SELECT 1', watch => 'https://host/x');
SELECT datamill.alter_job('w1', '{"watch": "nothing"}');
SELECT datamill.drop_job(name) FROM datamill.jobs;

-- a receipt queues a run of each job that watches an output, in its transaction
CREATE TABLE "Watch".orders (id int PRIMARY KEY, "n,o" text);
CREATE TABLE "Watch".secret (id int);
SELECT datamill.create_job('on_orders', 'SELECT 1', watch => 'relation:"Watch".orders', arguments => '{"a": 1}') > 0;
SELECT datamill.create_job('on_merged', 'SELECT 1', watch => 'relation:"Watch".merged') > 0;
SELECT datamill.create_job('on_history', 'SELECT 1', watch => 'relation:"Watch".merged_history') > 0;
SELECT datamill.create_job('asleep', 'SELECT 1', watch => 'relation:"Watch".orders') > 0;
SELECT datamill.pause('asleep');
RESET ROLE;
SET ROLE watch_bob;
SELECT datamill.create_job('of_bob', 'SELECT 1', watch => 'relation:"Watch".orders');
SELECT datamill.create_job('of_bob', 'SELECT 1', watch => 'relation:"Watch".later') > 0;
SET ROLE watch_ann;
SELECT rows FROM datamill.load('SELECT n AS id, ''x''::text AS "n,o" FROM generate_series(1, 3) n', '"Watch".orders');
BEGIN;
SELECT rows FROM datamill.load('SELECT 4 AS id, ''x''::text AS "n,o"', '"Watch".orders');
SELECT count(*) FROM datamill.runs;
ROLLBACK;
SELECT inserted FROM datamill.cdc_merge('"Watch".merged', '"Watch".orders', keys => '{id}', effective => '2026-01-01');
SELECT updated FROM datamill.cdc_merge('"Watch".merged', 'SELECT id, ''y''::text AS "n,o" FROM "Watch".orders', effective => '2026-01-02');
CREATE TABLE "Watch".later (id int);
SELECT rows FROM datamill.load('SELECT 1 AS id', '"Watch".later');
SELECT r.name, r.trigger, r.state, r.arguments - 'receipt' AS arguments, r.arguments ->> 'receipt' IN (SELECT id FROM datamill.receipts) AS is_receipt
FROM datamill.runs r ORDER BY run_id;
RESET ROLE;
-- bob may not read the relation that came later; when he may, he hears of it
SELECT count(*) FROM datamill.runs WHERE name = 'of_bob';
SET ROLE watch_ann;
GRANT SELECT ON "Watch".later TO watch_bob;
SELECT rows FROM datamill.load('SELECT 2 AS id', '"Watch".later');
RESET ROLE;
SELECT arguments -> 'counts' AS counts FROM datamill.runs WHERE name = 'of_bob';

SELECT count(datamill.drop_job(name)) FROM datamill.jobs WHERE owner IN ('watch_ann'::regrole, 'watch_bob'::regrole);
SET client_min_messages = error;
DROP SCHEMA "Watch" CASCADE;
DROP OWNED BY watch_ann, watch_bob;
DROP ROLE watch_ann, watch_bob;
