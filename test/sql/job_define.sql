-- What can be stored as a job, by whom, and what is refused. datamill.scheduler is off here: nothing runs.
\set VERBOSITY default
SET timezone = 'UTC';
CREATE ROLE job_ann LOGIN;
CREATE ROLE job_bob LOGIN;
CREATE ROLE job_group NOLOGIN;
GRANT job_group TO job_ann;
GRANT USAGE ON SCHEMA datamill TO job_ann, job_bob;

SET ROLE job_ann;
SELECT datamill.create_job('load', 'SELECT 1; CALL datamill_nowhere()', '0 3 * * *', 'Australia/Sydney') > 0 AS stored;
SELECT datamill.create_job('tidy', 'BEGIN; SELECT 1; COMMIT; VACUUM', 'every 30 s', retries => 3, backoff => '5 s', arguments => '{"a": 1}') > 0;
SELECT datamill.create_job('report', 'SELECT 2', after => ARRAY['load', 'tidy'], when_sql => 'SELECT true') > 0;
SELECT name, owner, schedule, timezone, after, overlap, missed, catchup, timeout, retries, backoff, suspend_after, pool, state, arguments
FROM datamill.jobs ORDER BY name;
SELECT name, next_due > now(), local_time::time FROM datamill.next_runs WHERE name = 'load';
SELECT length(definition) FROM datamill.jobs GROUP BY 1;

-- refused: each with what is wrong
SELECT datamill.create_job('load', 'SELECT 1');
SELECT datamill.create_job('', 'SELECT 1');
SELECT datamill.create_job(NULL, 'SELECT 1');
SELECT datamill.create_job('x', 'SELEC 1');
SELECT datamill.create_job('x', ' -- nothing');
SELECT datamill.create_job('x', 'SELECT 1; ROLLBACK');
SELECT datamill.create_job('x', 'SAVEPOINT s');
SELECT datamill.create_job('x', 'COPY load FROM STDIN');
SELECT datamill.create_job('x', 'SELECT 1', '61 * * * *');
SELECT datamill.create_job('x', 'SELECT 1', '* * * * *', 'Mars/Olympus');
SELECT datamill.create_job('x', 'SELECT 1', overlap => 'maybe');
SELECT datamill.create_job('x', 'SELECT 1', missed => 'some');
SELECT datamill.create_job('x', 'SELECT 1', timeout => '-1 s');
SELECT datamill.create_job('x', 'SELECT 1', retries => 101);
SELECT datamill.create_job('x', 'SELECT 1', suspend_after => -1);
SELECT datamill.create_job('x', 'SELECT 1', arguments => '[]');
SELECT datamill.create_job('x', 'SELECT 1', pool => 'nowhere');
SELECT datamill.create_job('x', 'SELECT 1', when_sql => 'DELETE FROM t');
SELECT datamill.create_job('x', 'SELECT 1', after => ARRAY['nobody']);
SELECT datamill.create_job('x', 'SELECT 1', owner => 'job_bob');
SELECT datamill.create_job('x', 'SELECT 1', owner => 'job_group');
SELECT datamill.set_pool('mine', 1);
SELECT datamill.alter_job('load', '{"colour": "red"}');
SELECT datamill.alter_job('load', '{"after": "tidy"}');
SELECT datamill.alter_job('load', '{"body": null}');
SELECT datamill.alter_job('nobody', '{}');
SELECT count(*) FROM datamill.jobs;

-- no circle, however long
SELECT datamill.alter_job('load', '{"after": ["load"]}');
SELECT datamill.alter_job('load', '{"after": ["report"]}');
SELECT datamill.create_job('last', 'SELECT 3', after => ARRAY['report']) > 0;
SELECT datamill.alter_job('tidy', '{"after": ["last"]}');
SELECT name, after FROM datamill.jobs ORDER BY name;

-- changed
SELECT datamill.alter_job('load', '{"name": "fetch", "schedule": "@daily", "timezone": "UTC", "timeout": "2 h", "retries": 2, "arguments": {"b": [1]}}');
SELECT name, schedule, timezone, timeout, retries, arguments FROM datamill.jobs WHERE name = 'fetch';
SELECT name, after FROM datamill.jobs WHERE name = 'report';
SELECT datamill.alter_job('fetch', '{"schedule": null, "watch": "event:arrived"}');
SELECT name, schedule, watch, next_due FROM datamill.jobs WHERE name = 'fetch';
SELECT datamill.alter_job('fetch', '{"name": "tidy"}');
SELECT datamill.pause('tidy');
SELECT name, state FROM datamill.jobs WHERE name = 'tidy';
SELECT datamill.resume('tidy');
SELECT name, state FROM datamill.jobs WHERE name = 'tidy';

-- nobody else sees or touches them, and nobody writes the tables
SET ROLE job_bob;
SELECT count(*) FROM datamill.jobs;
SELECT count(*) FROM datamill.next_runs;
SELECT datamill.pause('tidy');
SELECT datamill.run('tidy');
SELECT datamill.explain_schedule('tidy');
SELECT datamill.create_job('mine', 'SELECT 1', after => ARRAY['tidy']);
INSERT INTO datamill.job_catalog (name) VALUES ('x');
UPDATE datamill.run_catalog SET owner = 'job_bob';
CREATE TRIGGER t BEFORE INSERT ON datamill.run_catalog FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
-- a name is the owner's own
SELECT datamill.create_job('tidy', 'SELECT 1') > 0;
RESET ROLE;
SELECT datamill.pause('tidy');
SELECT count(*) FROM datamill.jobs WHERE name = 'tidy';

-- not from within code that runs with another's rights
SET ROLE job_ann;
CREATE FUNCTION pg_temp.sneak() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM datamill.create_job('sneaked', 'SELECT 1'); RETURN 1; END$$;
CREATE TEMP TABLE trap (a int);
INSERT INTO trap VALUES (1);
\set VERBOSITY terse
CREATE INDEX ON trap (pg_temp.sneak());
\set VERBOSITY default
RESET ROLE;

-- dropped
SET ROLE job_ann;
SELECT datamill.drop_job('tidy');
SELECT datamill.drop_job('last');
SELECT datamill.drop_job('report');
SELECT datamill.drop_job('tidy');
SELECT name FROM datamill.jobs ORDER BY name;
RESET ROLE;

-- of a role that is gone: a superuser still sees it
DROP OWNED BY job_bob;
DROP ROLE job_bob;
SELECT name, state FROM datamill.jobs WHERE name = 'tidy';
SELECT datamill.drop_job('tidy');
SELECT datamill.drop_job('fetch');
DROP OWNED BY job_ann;
DROP ROLE job_ann, job_group;
