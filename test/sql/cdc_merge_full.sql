-- A full merge: what becomes of each key, the four relations, the log, and a repeat that changes nothing.
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE TABLE day1 (id int, name text, price numeric, note text);
INSERT INTO day1 VALUES (1, 'one', 1.0, NULL), (2, 'two', 2, ''), (3, 'three', 3, 'x'), (4, 'four', 4, 'y');
CREATE TABLE day2 (price numeric, note text, id int, name text);
INSERT INTO day2 VALUES (1.00, NULL, 1, 'one'), (2, NULL, 2, 'two'), (3, 'x', 3, 'THREE'), (5, 'z', 5, 'five');

SELECT inserted, updated, deleted, unchanged, missing, rejected, length(receipt)
FROM datamill.cdc_merge('cdc_full.item', 'day1', keys => '{id}', effective => '2019-06-18');
-- columns are matched by name; 1.0 = 1.00; '' is not NULL
SELECT inserted, updated, deleted, unchanged, missing, rejected
FROM datamill.cdc_merge('cdc_full.item', 'day2', effective => '2019-06-19');
SELECT id, name, price, note, operation, eff_start_date FROM cdc_full.item ORDER BY id;
SELECT id, name, price, note, operation, eff_start_date, eff_end_date, ended_by FROM cdc_full.item_history ORDER BY id;
SELECT id, name, operation, eff_start_date, eff_end_date, valid FROM cdc_full.item_versions ORDER BY id, eff_start_date;
SELECT effective, operation, id, name FROM cdc_full.item_changes ORDER BY effective, id;
SELECT id, name FROM cdc_full.item_versions WHERE valid @> '2019-06-18'::date ORDER BY id;

-- the same batch again: all unchanged, no row written
CREATE TEMP TABLE places AS SELECT id, ctid AS place, xmin::text AS writer FROM cdc_full.item;
SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('cdc_full.item', 'day2', effective => '2019-06-19');
SELECT count(*) AS moved FROM cdc_full.item i JOIN places p USING (id) WHERE i.ctid <> p.place OR i.xmin::text <> p.writer;
SELECT count(DISTINCT receipt) AS receipts FROM datamill.merges
WHERE dataset = 'cdc_full.item'::regclass AND effective_day = '2019-06-19';

-- a key that returns is I again, and the gap stays; a third version of a key
SELECT inserted, updated, deleted, unchanged
FROM datamill.cdc_merge('cdc_full.item', $$SELECT * FROM day1 WHERE id > 2 UNION ALL VALUES (1, 'uno', 1, NULL)$$,
                        effective => '2019-06-21');
SELECT id, name, operation, eff_start_date, eff_end_date FROM cdc_full.item_versions ORDER BY id, eff_start_date;
SELECT dataset, effective_day, mode, inserted, updated, deleted, unchanged FROM datamill.merges
WHERE dataset = 'cdc_full.item'::regclass ORDER BY merge_id;

-- two merges at one date: the version between them has no length, so no as-of query finds it
SELECT inserted, updated, deleted, unchanged
FROM datamill.cdc_merge('cdc_full.item', $$SELECT 1 AS id, 'eins' AS name, 1::numeric AS price, NULL::text AS note
                                          UNION ALL SELECT * FROM day1 WHERE id IN (3, 4)$$, effective => '2019-06-21');
SELECT name, valid FROM cdc_full.item_versions WHERE id = 1 ORDER BY eff_start_date, eff_end_date;

-- deletes: ignore counts what is missing and closes nothing
SELECT inserted, updated, deleted, unchanged, missing
FROM datamill.cdc_merge('cdc_full.item', 'SELECT * FROM day1 WHERE id = 3', effective => '2019-06-22',
                        options => '{"deletes": "ignore"}');
SELECT count(*) FROM cdc_full.item;
-- an empty source, when it is meant
SELECT inserted, updated, deleted, unchanged
FROM datamill.cdc_merge('cdc_full.item', 'SELECT * FROM day1 WHERE false', effective => '2019-06-23',
                        options => '{"allow_empty": true}');
SELECT count(*) FROM cdc_full.item;
SELECT id, string_agg(name || ' ' || valid::text, ', ' ORDER BY eff_start_date, eff_end_date)
FROM cdc_full.item_versions GROUP BY id ORDER BY id;

-- untracked columns are brought up to date without a version
SELECT inserted FROM datamill.cdc_merge('cdc_full.seen', $$SELECT 1 AS id, 'a' AS name, 10 AS hits$$, keys => '{id}',
  effective => '2020-01-01', options => '{"untracked": ["hits"], "effective_type": "timestamptz"}');
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_full.seen', $$SELECT 1 AS id, 'a' AS name, 11 AS hits$$,
  effective => '2020-01-02 03:04:05+00');
SELECT id, name, hits, operation, eff_start_date FROM cdc_full.seen;
SELECT updated, unchanged FROM datamill.cdc_merge('cdc_full.seen', $$SELECT 1 AS id, 'b' AS name, 12 AS hits$$,
  effective => '2020-01-03 03:04:05+00');
SELECT name, hits, operation, valid FROM cdc_full.seen_versions ORDER BY eff_start_date;
SELECT outputs FROM datamill.receipts WHERE definition = 'cdc_full.seen' ORDER BY receipt_no;

-- the dataset is listed, with a primary key on the keys
SELECT current_table, history_table, versions_view, changes_view, keys, untracked, deletes, effective_type
FROM datamill.datasets WHERE current_table::text LIKE 'cdc_full.%' ORDER BY dataset_id;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'cdc_full.item'::regclass AND contype = 'p';

SET client_min_messages = warning;
DROP SCHEMA cdc_full CASCADE;
DROP TABLE day1, day2;
