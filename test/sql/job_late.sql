-- Jobs that are late: rows are made up, since nothing runs here (datamill.scheduler is off). Times lie before now() by far more than a test takes.
\set VERBOSITY default
SET timezone = 'UTC';
-- the last time that a schedule was due
SELECT datamill.cron_previous('0 3 * * *', 'Europe/Berlin', '2026-03-30 00:59:59+00') AT TIME ZONE 'Europe/Berlin' AS spring,
  datamill.cron_previous('0 3 * * *', 'Europe/Berlin', '2026-03-30 01:00:00+00') AT TIME ZONE 'Europe/Berlin' AS not_itself,
  datamill.cron_previous('0 3 * * *', 'Europe/Berlin', '2026-03-30 01:00:00.000001+00') AT TIME ZONE 'Europe/Berlin' AS itself;
SELECT datamill.cron_previous('0 0 29 2 *', 'UTC', '1999-06-01 12:00+00') AS leap, datamill.cron_previous('* * * * *', 'UTC', '1970-01-01 00:00:00.5+00') AS epoch,
  datamill.cron_previous('59 23 * * *', 'UTC', '1969-12-31 23:59:00.000001+00') AS before_epoch, datamill.cron_previous('@yearly', 'UTC', '1999-12-31 23:59:59.5+00') AS yearly;
SELECT datamill.cron_previous('every 7 minutes', 'UTC', '2026-01-01 01:00+00', '2026-01-01 00:00+00') AS every, datamill.cron_previous('every 7 minutes', 'UTC', '2026-01-01 00:00+00', '2026-01-01 00:00+00') AS anchor,
  datamill.cron_previous('every 7 minutes', 'UTC', '2026-01-01 00:00:01+00', '2026-01-01 00:00+00') AS first, datamill.cron_previous('every 7 minutes') AS no_anchor,
  datamill.cron_previous('@daily', 'UTC', '2026-01-02 12:00+00', '2026-01-02 00:00+00') AS since, datamill.cron_previous('@reboot') AS reboot, datamill.cron_previous('@daily', 'Nowhere/Land') AS no_zone,
  datamill.cron_previous('@daily', 'UTC', '-infinity') AS never, datamill.cron_previous('@daily', 'UTC', 'infinity') AS always;
SELECT datamill.cron_previous('61 * * * *');
SELECT datamill.cron_previous('0 0 30 2 *');
SELECT datamill.cron_previous('@yearly', 'UTC', '4000-01-01 BC'), datamill.cron_previous('@yearly', 'UTC', '0100-06-01') IS NOT NULL AS ok;

-- in a transaction that is taken back, so that the scheduler, which settles runs without a process also when it is off, sees none of it
BEGIN;
CREATE ROLE job_late_ann LOGIN;
CREATE ROLE job_late_bob LOGIN;
GRANT USAGE ON SCHEMA datamill TO job_late_ann, job_late_bob;

-- a job for each reason to be late or not; each was made two days ago and is due once a day, half an hour before now
SELECT to_char(now() - interval '30 min', 'MI HH24 * * *') AS daily, date_trunc('minute', now() - interval '30 min') AS due \gset
CREATE FUNCTION made(name text, owner regrole, schedule text, after text[] DEFAULT NULL, watch text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
  $$SELECT datamill.create_job(name, 'SELECT 1', schedule, owner => owner, after => after, watch => watch, timeout => '10 min')$$;
CREATE PROCEDURE ran(job text, at timestamptz, state text, seconds int DEFAULT 5, reason text DEFAULT NULL, message text DEFAULT NULL) LANGUAGE sql AS
  $$INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, reason, message, arguments, queued_at, started_at, finished_at)
    SELECT job_id, name, owner, at, CASE WHEN reason = 'rehearsal' THEN 'rehearsal' ELSE 'schedule' END, ran.state, reason, message, '{}', at,
      CASE WHEN ran.state <> 'queued' THEN at END, CASE WHEN ran.state NOT IN ('queued', 'running') THEN at + make_interval(secs => seconds) END
    FROM datamill.job_catalog WHERE name = job$$;
SELECT count(made(n, 'job_late_ann', :'daily')) FROM unnest('{never,good,failed,skipped,unwanted,going,waiting,rehearsed,paused,old,slow}'::text[]) n;
SELECT made('young', 'job_late_ann', :'daily') > 0, made('by hand', 'job_late_ann', NULL) > 0, made('event', 'job_late_ann', NULL, watch => 'event:x') > 0, made('of bob', 'job_late_bob', :'daily') > 0;
UPDATE datamill.job_catalog SET anchor = now() - interval '2 days' WHERE name <> 'young';
CALL ran('good', :'due', 'succeeded');
CALL ran('failed', :'due', 'failed', 5, NULL, 'division by zero');
CALL ran('skipped', :'due', 'skipped', 0, 'run 7 was not over (overlap => skip)');
CALL ran('unwanted', :'due', 'skipped', 0, 'when_sql was not true');
CALL ran('going', :'due', 'running');
CALL ran('waiting', :'due', 'queued', 0, 'pool "default" is full');
CALL ran('rehearsed', :'due', 'succeeded', 5, 'rehearsal');
CALL ran('old', :'due'::timestamptz - interval '1 day', 'succeeded');
CALL ran('slow', :'due'::timestamptz - interval '1 day', 'succeeded', 86400 / 2);
UPDATE datamill.job_catalog SET timeout = '2 days' WHERE name = 'slow';
SELECT datamill.pause('paused');
SELECT name, owner, state, expected_at = :'due' AS due, late_by = now() - :'due' AS by, last_success - :'due' AS last, why FROM datamill.late_jobs ORDER BY name;
SELECT datamill.scheduler_state();

-- each sees what is theirs
SET ROLE job_late_bob;
SELECT name FROM datamill.late_jobs;
SAVEPOINT before;
SELECT name FROM datamill.late_job_catalog;
ROLLBACK TO before;
RESET ROLE;

-- with a scheduler, why is what its row says
CREATE FUNCTION stripped(text) RETURNS text LANGUAGE sql AS $$SELECT regexp_replace(regexp_replace($1, '\d{4}-\S+ \S+ UTC', 'TIME', 'g'), 'run \d+', 'run N')$$;
CREATE OR REPLACE FUNCTION datamill.scheduler_state() RETURNS text LANGUAGE sql AS $$SELECT 'running'$$;
SELECT name, stripped(why) FROM datamill.late_jobs WHERE owner = 'job_late_ann'::regrole ORDER BY name;
UPDATE datamill.job_catalog SET not_before = now() + interval '1 h' WHERE name = 'failed';
SELECT name, stripped(why) FROM datamill.late_jobs WHERE name = 'failed';
CREATE OR REPLACE FUNCTION datamill.scheduler_state() RETURNS text LANGUAGE sql AS $$SELECT 'not running'$$;
SELECT name, stripped(why) FROM datamill.late_jobs WHERE name IN ('going', 'waiting') ORDER BY name;
CREATE OR REPLACE FUNCTION datamill.scheduler_state() RETURNS text AS '$libdir/datamill', 'dm_scheduler_state_sql' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

-- what follows is due when all that it follows has succeeded for a time
SELECT made('join', 'job_late_ann', NULL, '{good,old}') > 0, made('then', 'job_late_ann', NULL, '{join}') > 0;
UPDATE datamill.job_catalog SET anchor = now() - interval '2 days' WHERE name IN ('join', 'then');
SELECT name FROM datamill.late_jobs WHERE name IN ('join', 'then');
CALL ran('old', :'due', 'succeeded', 65);
SELECT name, expected_at - :'due' AS after_due, last_success, why FROM datamill.late_jobs WHERE name IN ('join', 'then', 'old');
CALL ran('join', :'due', 'succeeded');
SELECT name, expected_at - :'due' AS after_due FROM datamill.late_jobs WHERE name IN ('join', 'then');
CALL ran('then', :'due'::timestamptz + interval '1 min', 'succeeded');
SELECT name FROM datamill.late_jobs WHERE name IN ('join', 'then');

-- how much is queued
SELECT datamill.set_pool('late', 2);
SELECT datamill.alter_job(n, '{"pool": "late"}') FROM unnest('{going,waiting,never}'::text[]) n;
CALL ran('never', now() - interval '1 min', 'queued');
UPDATE datamill.run_catalog SET not_before = now() + interval '1 h' WHERE name = 'never';
SELECT pool, slots, queued, waiting, starting, running, oldest_queued_at = :'due' AS oldest, process_slots > 0 AS some, process_slots_used FROM datamill.queue_depth WHERE pool = 'late';
SELECT slots = current_setting('datamill.max_runs')::int AS slots, used, used_here FROM datamill.process_slots();

ROLLBACK;
