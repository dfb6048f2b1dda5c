-- What is a schedule and what is not; when schedules are due is compared with other programs in test/t/job_schedule.pl.
SET timezone = 'UTC';
\set VERBOSITY default
-- macros, names, the last day of the month, several at once
SELECT m, t FROM unnest(ARRAY['@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually', '@DAILY']) m,
  LATERAL datamill.cron_next(m, 'UTC', '2026-11-20 12:34:56') t;
SELECT * FROM datamill.cron_next('0 12 $ * *', after => '2028-01-31 12:00', n => 3);
SELECT * FROM datamill.cron_next('0 12 15,L feb-MAR *', after => '2027-01-31', n => 4);
SELECT to_char(t, 'Dy DD HH24:MI') FROM datamill.cron_next('30 8 * * sat-sun', after => '2026-11-20', n => 3) t;
SELECT to_char(t, 'Dy DD HH24:MI') FROM datamill.cron_next('30 8 * * 7', after => '2026-11-20', n => 2) t;
-- the thirteenth, and every Friday
SELECT to_char(t, 'Dy DD') FROM datamill.cron_next('0 0 13 * fri', after => '2026-11-06', n => 4) t;
-- a leap day, over a century that has none
SELECT * FROM datamill.cron_next('0 0 29 2 *', after => '2096-03-01', n => 2);
-- the time itself is not after itself; a second before it is
SELECT * FROM datamill.cron_next('0 3 * * *', after => '2026-11-20 03:00:00');
SELECT * FROM datamill.cron_next('0 3 * * *', after => '2026-11-20 02:59:59.999999');
SELECT * FROM datamill.cron_next('0 0 * * *', after => '1999-12-31 23:59:59.5');
-- intervals, as EventBridge and pg_cron spell them, too; counted from `after`
SELECT s, array_agg(t::text) FROM unnest(ARRAY['every 90 s', 'every 1 day 2 hours', 'rate(5 minutes)', '30 seconds', ' every 1 h ']) s,
  LATERAL datamill.cron_next(s, 'UTC', '2026-11-20', 2) t GROUP BY s ORDER BY s;
-- no times of their own
SELECT count(*) FROM datamill.cron_next('@after');
SELECT count(*) FROM datamill.cron_next('@reboot');
SELECT count(*) FROM datamill.cron_next('@daily', after => 'infinity');
SELECT count(*) FROM datamill.cron_next('@daily', n => 0);

\set VERBOSITY terse
SELECT datamill.cron_next('');
SELECT datamill.cron_next('* * * *');
SELECT datamill.cron_next('@fortnightly');
SELECT datamill.cron_next('every month');
SELECT datamill.cron_next('every 0 s');
SELECT datamill.cron_next('every -1 day');
SELECT datamill.cron_next('rate(5 parsecs)');
SELECT datamill.cron_next('@daily', 'Mars/Olympus');
SELECT datamill.cron_next('@daily', n => -1);
SELECT datamill.cron_next('@daily', n => 100001);
-- all that may be wrong with a field, and where
\set VERBOSITY default
CREATE FUNCTION pg_temp.fault(schedule text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  detail text;
BEGIN
  PERFORM datamill.cron_next(schedule);
  RETURN 'none';
EXCEPTION WHEN invalid_parameter_value THEN
  GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
  RETURN detail;
END $$;
SELECT s, pg_temp.fault(s) FROM unnest(ARRAY['60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 *', '* * * * 8', '1-0 * * * *', '*/0 * * * *',
  '5/10 * * * *', '1,,2 * * * *', '1- * * * *', ', * * * *', 'x * * * *', '* * * janu *', '* * * * * *', '-1 * * * *', '99999999999 * * * *', '0 0 31 2,4,6 *',
  '0 0 30 2 *', '$ * * * *', '** * * * *']) s;
