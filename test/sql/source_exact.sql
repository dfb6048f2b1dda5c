-- Objects given one by one, each in one version.
\set VERBOSITY default
\getenv buckets DM_BUCKETS
\getenv tmp DM_TMP
\set endpoint 'file://' :tmp '/exact'
\set make 'mkdir -p ' :tmp '/exact/b/in && cd ' :tmp '/exact/b/in && printf "id,v\\n1,a\\n" >1.csv && printf "id,v\\n2,b\\n" >2.csv && printf "id,v\\n3,c\\n" >3.csv'
\setenv MAKE :make
\! sh -c "$MAKE"
CREATE SERVER exact FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint :'endpoint');
CREATE FOREIGN TABLE exact_all (id int, v text, _file text, _etag text, _size bigint) SERVER exact OPTIONS (url 's3://b/in/*.csv');
CREATE TABLE exact_list AS SELECT jsonb_agg(jsonb_build_object('uri', _file, 'etag', _etag, 'size', _size) ORDER BY _file) AS objects FROM exact_all WHERE id <> 2;

-- just these, as source of a merge, a load and an inference
SELECT inserted FROM datamill.cdc_merge('public.exact_merged', 's3://b/in/*.csv', keys => '{id}', effective => '2026-01-01',
  options => jsonb_build_object('server', 'exact', 'objects', (SELECT objects FROM exact_list)));
SELECT id, v FROM exact_merged ORDER BY id;
CREATE TABLE exact_loaded (id int, v text);
SELECT files, rows FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => jsonb_build_object('server', 'exact', 'objects', (SELECT objects FROM exact_list)));
SELECT files, files_skipped, rows FROM datamill.load('s3://b/**', 'exact_loaded', options => jsonb_build_object('server', 'exact', 'objects', (SELECT objects -> 0 FROM exact_list)));
SELECT * FROM exact_loaded ORDER BY id;
SELECT column_name, type FROM datamill.infer_schema('s3://b/in/*.csv', jsonb_build_object('server', 'exact', 'objects', (SELECT objects FROM exact_list)));

-- one that was replaced since is an error
\set make 'printf "id,v\\n1,A\\n" >' :tmp '/exact/b/in/new && mv ' :tmp '/exact/b/in/new ' :tmp '/exact/b/in/1.csv'
\setenv MAKE :make
\! sh -c "$MAKE"
\set VERBOSITY sqlstate
SELECT files, rows FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => jsonb_build_object('server', 'exact', 'force', true, 'objects', (SELECT objects FROM exact_list)));
\set VERBOSITY default

-- refused
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": "x"}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": []}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": [1]}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": [{"uri": "s3://b/in/1.csv"}]}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": [{"uri": "s3://b/in/1.csv", "etag": "x"}]}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": [{"uri": "s3://b/in/1.csv", "etag": "x", "size": -1}]}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": [{"uri": "s3://b/out/1.csv", "etag": "x", "size": 1}]}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "objects": [{"uri": "s3://b", "etag": "x", "size": 1}]}');
SELECT * FROM datamill.load('s3://b/in/*.csv', 'exact_loaded', options => '{"server": "exact", "manifest": true, "objects": [{"uri": "s3://b/in/1.csv", "etag": "x", "size": 1}]}');

-- pins: what a job is kept to
SELECT datamill.create_job('exact_watch', 'SELECT 1', watch => 's3://b/in/*.csv') > 0;
SELECT datamill.pin('exact_watch', (SELECT objects -> 0 FROM exact_list));
SELECT pinned -> 0 ->> 'uri' AS uri, jsonb_array_length(pinned) FROM datamill.jobs WHERE name = 'exact_watch';
SELECT datamill.pin('exact_watch', '[]');
SELECT datamill.pin('exact_watch', '[{"uri": "s3://b/in/1.csv"}]');
SELECT datamill.pin('nobody', NULL);
SELECT datamill.pin(NULL, NULL);
SELECT datamill.pin('exact_watch', NULL);
SELECT pinned FROM datamill.jobs WHERE name = 'exact_watch';
SELECT datamill.unpin('exact_watch');
SELECT datamill.pin('exact_watch', (SELECT objects FROM exact_list));
SELECT datamill.alter_job('exact_watch', '{"watch": "event:x"}');
SELECT pinned FROM datamill.jobs WHERE name = 'exact_watch';
SELECT datamill.pin('exact_watch', (SELECT objects FROM exact_list));
SELECT datamill.drop_job('exact_watch');
SELECT datamill.drop_dataset('exact_merged', true);
DROP TABLE exact_loaded, exact_list;
DROP SERVER exact CASCADE;
