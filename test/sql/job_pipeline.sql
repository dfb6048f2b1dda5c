-- Pipelines: sets of jobs that are described as a whole. datamill.scheduler is off here: nothing runs.
\set VERBOSITY default
SET timezone = 'UTC';
CREATE ROLE pipe_ann LOGIN;
CREATE ROLE pipe_bob LOGIN;
CREATE ROLE pipe_team LOGIN;
GRANT pipe_team TO pipe_ann;
GRANT USAGE ON SCHEMA datamill TO pipe_ann, pipe_bob;
SET ROLE pipe_ann;
SELECT datamill.create_job('mine', 'SELECT 0') > 0;

-- made, in an order in which all that is followed is there
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {
  "a_report": {"body": "SELECT 3", "after": ["load", "tidy", "mine"], "when_sql": "SELECT true", "expect": ["SELECT true"]},
  "load": {"body": "SELECT 1", "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "retries": 2, "arguments": {"x": [1, "two"]}},
  "tidy": {"body": "VACUUM", "schedule": "every 90 s", "timeout": "90 s", "owner": "pipe_team"},
  "watch": {"body": "SELECT 4", "watch": "each   s3://bucket/in/*"}}}', dry_run => true);
SELECT name FROM datamill.jobs ORDER BY 1;
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {
  "a_report": {"body": "SELECT 3", "after": ["load", "tidy", "mine"], "when_sql": "SELECT true", "expect": ["SELECT true"]},
  "load": {"body": "SELECT 1", "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "retries": 2, "arguments": {"x": [1, "two"]}},
  "tidy": {"body": "VACUUM", "schedule": "every 90 s", "timeout": "90 s", "owner": "pipe_team"},
  "watch": {"body": "SELECT 4", "watch": "each   s3://bucket/in/*"}}}');
SELECT name, owner, pipeline, schedule, after, retries, timeout FROM datamill.jobs ORDER BY name;
SELECT jsonb_pretty(datamill.pipeline_config('nightly'));
SELECT * FROM datamill.set_pipeline(datamill.pipeline_config('nightly'));

-- what differs is altered and nothing else: times stay
CREATE TEMP TABLE times AS SELECT name, next_due FROM datamill.jobs;
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {
  "a_report": {"body": "SELECT 3;", "after": ["load"]},
  "load": {"body": "SELECT 1", "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "arguments": {"x": [1, "two"]}},
  "new": {"body": "SELECT 5", "after": ["a_report"]},
  "watch": {"body": "SELECT 4", "watch": "each s3://bucket/in/*"}}}');
SELECT name, t.next_due = j.next_due AS same_time FROM datamill.jobs j JOIN times t USING (name) WHERE j.next_due IS NOT NULL ORDER BY 1;
-- turned round
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {"a_report": {"body": "SELECT 3;"}, "load": {"body": "SELECT 1", "after": ["a_report", "new"]},
  "new": {"body": "SELECT 5", "after": ["a_report"]}}}', prune => false);
SELECT name, after FROM datamill.jobs ORDER BY name;

-- circles
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {"a": {"body": "SELECT 1", "after": ["c", "mine"]}, "b": {"body": "SELECT 1", "after": ["a"]}, "c": {"body": "SELECT 1", "after": ["b"]},
  "d": {"body": "SELECT 1", "after": ["c"]}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {"a": {"body": "SELECT 1", "after": ["a"]}}}');
SELECT datamill.create_job('outside', 'SELECT 1', after => '{new}') > 0;
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {"new": {"body": "SELECT 5", "after": ["outside"]}}}', prune => false);

-- refused, and nothing is done
SELECT * FROM datamill.set_pipeline('[]');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p"}');
SELECT * FROM datamill.set_pipeline('{"pipeline": 1, "jobs": {}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "", "jobs": {}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": []}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {}, "colour": 1}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": 1}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"name": "b", "body": "SELECT 1"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "SELECT 1", "after": "b"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {}, "pools": 1}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {}, "pools": {"x": -1}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {}, "pools": {"x": 1}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "SELECT 1"}, "b": {"body": "SELECT 1", "colour": "red"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "SELECT 1"}, "b": {"body": "SELEC 1"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"schedule": "@daily"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "SELECT 1", "owner": "pipe_bob"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "SELECT 1", "after": ["nobody"]}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"mine": {"body": "SELECT 1"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {}}');
SELECT datamill.pipeline_config('p');
SELECT count(*) FROM datamill.jobs WHERE pipeline = 'p';

-- another's pipeline of the name is another
RESET ROLE;
SELECT datamill.pipeline_config('nightly');
SET ROLE pipe_bob;
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {"load": {"body": "SELECT 6"}}}');
SELECT * FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {}}');
RESET ROLE;
SELECT count(*) FROM datamill.jobs WHERE owner IN ('pipe_ann'::regrole, 'pipe_team'::regrole);
-- pools are the superuser's
SELECT * FROM datamill.set_pipeline('{"pipeline": "wide", "jobs": {"pooled": {"body": "SELECT 1", "pool": "pipe_pool"}}, "pools": {"pipe_pool": 2}}');
SELECT datamill.pipeline_config('wide');
SELECT * FROM datamill.set_pipeline('{"pipeline": "wide", "jobs": {}, "pools": {"pipe_pool": 3}}');
DELETE FROM datamill.pool_catalog WHERE name = 'pipe_pool';
-- a member whose owner the caller is no member of any more
SET ROLE pipe_ann;
SELECT * FROM datamill.set_pipeline('{"pipeline": "of_team", "jobs": {"t": {"body": "SELECT 1", "owner": "pipe_team"}}}');
RESET ROLE;
REVOKE pipe_team FROM pipe_ann;
SET ROLE pipe_ann;
SELECT * FROM datamill.set_pipeline('{"pipeline": "of_team", "jobs": {}}');
RESET ROLE;
SELECT datamill.drop_job(name) FROM datamill.jobs WHERE owner = 'pipe_team'::regrole;

-- whatever is set comes back, and is found unchanged
SET ROLE pipe_ann;
SELECT datamill.drop_job(n) FROM unnest('{outside}'::text[]) n;
SELECT count(*) FROM datamill.set_pipeline('{"pipeline": "nightly", "jobs": {}}');
DO $$
DECLARE config jsonb; options jsonb; again jsonb; bad int := 0; made int := 0;
BEGIN
  PERFORM setseed(0.5);
  FOR round IN 1 .. 40 LOOP
    config := '{}';
    FOR n IN 1 .. 1 + (random() * 6)::int LOOP
      options := jsonb_build_object('body', (ARRAY['SELECT 1', E'SELECT ''"\\\\''\n;', 'VACUUM', 'SELECT $x$ é $x$'])[1 + (random() * 3)::int]);
      IF random() < 0.5 THEN options := options || jsonb_build_object('schedule', (ARRAY['@daily', '*/5 * * * *', 'every 30 s'])[1 + (random() * 2)::int]); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('timezone', 'Asia/Tokyo'); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('watch', (ARRAY['event:x', 's3://b/*', 'latest s3://b/c', 'relation:a."B c"'])[1 + (random() * 3)::int]); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('timeout', (ARRAY['90 s', '1 month', '36 hours', '00:00:00.5'])[1 + (random() * 3)::int]); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('catchup', '2 days', 'backoff', '1.5 s', 'missed', 'all'); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('retries', (random() * 9)::int, 'suspend_after', 0, 'overlap', 'queue'); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('arguments', jsonb_build_object('a', random() < 0.5, 'b', array['x', NULL])); END IF;
      IF random() < 0.3 THEN options := options || jsonb_build_object('expect', (ARRAY['["SELECT true", "SELECT 1 = 1"]', '[]'])[1 + (random())::int]::jsonb, 'when_sql', 'SELECT true'); END IF;
      IF random() < 0.5 THEN options := options || jsonb_build_object('after', (SELECT coalesce(jsonb_agg('j"' || m), '[]') FROM generate_series(1, n - 1) m WHERE random() < 0.4)); END IF;
      config := config || jsonb_build_object('j"' || n, options);
    END LOOP;
    config := jsonb_build_object('pipeline', 'random', 'jobs', config);
    PERFORM datamill.set_pipeline(config);
    again := datamill.pipeline_config('random');
    SELECT bad + count(*) INTO bad FROM (SELECT * FROM datamill.set_pipeline(config) UNION ALL SELECT * FROM datamill.set_pipeline(again)) d WHERE action <> 'unchanged';
    SELECT made + count(*) INTO made FROM jsonb_object_keys(again -> 'jobs');
    IF again <> datamill.pipeline_config('random') OR (SELECT array_agg(k) FROM jsonb_object_keys(config -> 'jobs') k) <> (SELECT array_agg(k) FROM jsonb_object_keys(again -> 'jobs') k) THEN bad := bad + 1; END IF;
  END LOOP;
  RAISE NOTICE '% differences, more than 100 jobs: %', bad, made > 100;
END$$;
-- what create_job has where nothing is said is what a pipeline has
SELECT datamill.create_job('plain', 'SELECT 1') > 0;
SELECT count(*) FROM datamill.set_pipeline('{"pipeline": "random", "jobs": {"plainer": {"body": "SELECT 1"}}}');
SELECT (to_jsonb(a) - '{job_id,name,definition,created_at,pipeline}'::text[]) = (to_jsonb(b) - '{job_id,name,definition,created_at,pipeline}'::text[]) FROM datamill.jobs a, datamill.jobs b WHERE a.name = 'plain' AND b.name = 'plainer';
SELECT count(datamill.drop_job(name)) FROM datamill.jobs;
RESET ROLE;
DROP OWNED BY pipe_ann, pipe_bob, pipe_team;
DROP ROLE pipe_ann, pipe_bob, pipe_team;
