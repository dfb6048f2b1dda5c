-- Runs that users ask for: queued here and never started, since datamill.scheduler is off.
\set VERBOSITY default
SET timezone = 'UTC';
CREATE ROLE job_ann LOGIN;
GRANT USAGE ON SCHEMA datamill TO job_ann;
SET ROLE job_ann;
SELECT datamill.create_job('load', 'SELECT 1', '0 3 * * *', 'Europe/Berlin', arguments => '{"a": 1, "b": 2}') > 0 AS stored;

-- now, with arguments over the job's
SELECT datamill.run('load', '{"b": 3}') > 0;
SELECT datamill.run('load') <> datamill.run('load');
SELECT name, owner, attempt, trigger, state, arguments, started_at, scheduled_time <= clock_timestamp() + interval '1 ms' AS "now" FROM datamill.runs ORDER BY run_id;
SELECT datamill.run('load', '3');
SELECT datamill.run('nobody');

-- cancelled before it starts, tried again, cancelled again
SELECT datamill.cancel(run_id) FROM datamill.runs ORDER BY run_id;
SELECT datamill.cancel(run_id) FROM datamill.runs ORDER BY run_id;
SELECT state, reason, finished_at IS NOT NULL AS finished, count(*) FROM datamill.runs GROUP BY 1, 2, 3;
SELECT min(run_id) AS first FROM datamill.runs \gset
SELECT datamill.retry(:first) > :first;
SELECT replace(reason, :'first', 'N') AS reason, attempt, trigger, state, arguments FROM datamill.runs WHERE attempt > 1;
\set VERBOSITY sqlstate
SELECT datamill.retry(:first);
SELECT datamill.retry(-1);
SELECT datamill.cancel(-1);
\set VERBOSITY default
SELECT datamill.cancel(run_id) FROM datamill.runs WHERE attempt > 1;

-- a range of times: through a change of the clock, then the same again, then steps
SELECT datamill.backfill('load', '[2026-03-27 00:00+00, 2026-04-01 00:00+00)');
SELECT scheduled_time, scheduled_time AT TIME ZONE 'Europe/Berlin' AS local, state, trigger, arguments FROM datamill.runs WHERE trigger = 'backfill' ORDER BY 1;
SELECT datamill.backfill('load', '[2026-03-27 00:00+00, 2026-04-01 00:00+00)');
SELECT datamill.backfill('load', '(2026-04-01 01:00+00, 2026-04-03 01:00+00]');
SELECT datamill.backfill('load', '[2026-03-28 12:00+00, 2026-03-31 12:00+00)', '1 day');
SELECT scheduled_time AT TIME ZONE 'Europe/Berlin' AS local FROM datamill.runs WHERE trigger = 'backfill' ORDER BY run_id OFFSET 7;
SELECT datamill.backfill('load', 'empty');
SELECT datamill.backfill('load', '[2026-03-27 00:00+00,)');
SELECT datamill.backfill('load', '[2026-03-27 00:00+00, 2026-04-01 00:00+00)', '-1 day');
SELECT datamill.backfill('load', '[2026-03-27 00:00+00, 2026-04-01 00:00+00)', '1 s');
SELECT datamill.backfill('load', NULL);
SELECT datamill.alter_job('load', '{"schedule": null}');
SELECT datamill.backfill('load', '[2026-03-27 00:00+00, 2026-04-01 00:00+00)');

-- events start the jobs that watch them, with the payload as argument
SELECT datamill.create_job('react', 'SELECT 1', watch => 'event:arrived') > 0;
SELECT datamill.emit('arrived', '{"file": "a.csv"}') > 0;
SELECT datamill.emit('left') > 0;
SELECT event, payload FROM datamill.events ORDER BY event_no;
SELECT name, trigger, state, arguments - 'event_no' AS arguments FROM datamill.runs WHERE name = 'react';
SELECT datamill.emit('failure');
SELECT datamill.emit('');

-- outside of a run
SELECT datamill.scheduled_time() = now(), datamill.arguments(), datamill.run_id();

-- why it does not run
SELECT datamill.pause('react');
SELECT regexp_replace(datamill.explain_schedule('react'), 'Run \d+ for \S+ \S+', 'Run N for TIME', 'g');
SELECT datamill.explain_schedule('nobody');

-- runs stay when their job goes, and a retry says that it is gone
SELECT datamill.drop_job('load');
SELECT state, reason, count(*) FROM datamill.runs WHERE trigger = 'backfill' GROUP BY 1, 2;
\set VERBOSITY sqlstate
SELECT datamill.retry(:first);
\set VERBOSITY default
SELECT datamill.drop_job('react');
RESET ROLE;

-- pools are the superuser's, and may be given
SELECT datamill.set_pool('one', 1);
SELECT datamill.set_pool('one', 2);
SELECT * FROM datamill.pools ORDER BY name;
SELECT datamill.set_pool('one', -1);
DROP OWNED BY job_ann;
DROP ROLE job_ann;
