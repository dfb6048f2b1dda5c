# job_pg_cron.pl: with the real pg_cron: its schedules are read, its jobs are moved over, and it can call what datamill has.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_cron,datamill'\ncron.database_name = 'postgres'\ncron.host = '" . $node->host . "'\n"
	  . "max_worker_processes = 24\ntimezone = UTC\nautovacuum = off");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }
sub sql_error { my ($sql, $user) = @_; my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", extra_params => [ '-U', $user // $ENV{PGUSER} // 'postgres' ]); return $err; }

sql('CREATE EXTENSION datamill');
like(sql_error('SELECT * FROM datamill.import_pg_cron()'), qr/55000: pg_cron keeps no jobs in this database\nHINT:  They are in database "postgres"/, 'without the extension');
sql('CREATE EXTENSION pg_cron');

# Whatever pg_cron takes for a schedule is one here, but for what never comes and what follows the fifth field. (Not the other way round: intervals are ours.)
sub quote { my ($text) = @_; $text =~ s/'/''/g; return "'$text'"; }
my @schedules = ('* * * * *', '*/5 * * * *', '0 3 * * *', '30 3 * * 6', '0 0 1 * *', '0 0 * * 0', '0 0 * * 7', '5-59/10 * * * *', '1,2,3-10/3,59 0-23/2 1-31 1-12 0-7',
	'0 0 1 JAN *', '0 0 * jan-mar,DEC mon-FRI', '0 22 * * SUN', '0 0 13 * 5', '  0   3  *  *  * ', "0\t3\t*\t*\t*", '*/1 */1 */1 */1 */1', '0-59/30 * * * *', '00 03 * * *',
	'*/59 * * * *', '0 0 31 * *', '0 0 29 2 *', '59 23 31 12 *', '0 0 */2 * *', '0 0 1-31/7 * *', '@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually', '@reboot',
	'0 0 * * sun-sat', '0 0 * * 5-7', '1-59 * * * *', '*,5 * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * * 13 *', '* * * * 8', '* * * *', '5-1 * * * *', '*/0 * * * *', '*-5 * * * *',
	'0 0 30 2 *', '0 0 L * *', '0 0 ? * *', '0 0 * * mon,', '0/5 * * * *', '@every', '0 3 * * * nightly');
my (@taken, @differ);
for my $schedule (@schedules)
{
	my ($code, $out, $err) = $node->psql('postgres', 'SELECT cron.schedule(' . quote($schedule) . ", 'SELECT 1')");
	next if $code || $err =~ /ERROR/;
	push @taken, $schedule;
	push @differ, $schedule if sql_error('SELECT datamill.cron_next(' . quote($schedule) . ')') =~ /ERROR:  22023/;
}
is(scalar(@taken), 40, 'schedules that pg_cron takes');
is(join(';', @differ), '5-1 * * * *;*-5 * * * *;0 0 30 2 *;0 3 * * * nightly', '... are schedules here, but for those without a time');
is(sql(q{SELECT string_agg(schedule || ' ' || result || ': ' || reason, '; ' ORDER BY jobid) FROM datamill.import_pg_cron() WHERE reason IS NOT NULL}),
	q{5-1 * * * * not moved: invalid schedule "5-1 * * * *": minute: the range 5-1 runs backwards.; *-5 * * * * not moved: invalid schedule "*-5 * * * *": minute: unexpected "-".; }
	  . q{0 0 30 2 * not moved: invalid schedule "0 0 30 2 *": day of month: no month that is named has such a day.; 0 3 * * * nightly moved: pg_cron looks at five fields only: its schedule is "0 3 * * *"}, '... which are not moved, with the reason');
is(sql("SELECT string_agg(schedule, ';' ORDER BY jobid) FROM cron.job"), '5-1 * * * *;*-5 * * * *;0 0 30 2 *', '... all others are');
is(sql("SELECT schedule FROM datamill.jobs WHERE job_id = (SELECT max(job_id) FROM datamill.jobs)"), '0 3 * * *', '... five fields of it');
sql('SELECT cron.unschedule(jobid) FROM cron.job; SELECT datamill.drop_job(name) FROM datamill.jobs');

# Jobs of several roles and databases.
sql(q{CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE sue LOGIN; GRANT USAGE ON SCHEMA cron, datamill TO ann, bob, sue; CREATE DATABASE other; CREATE TABLE log (who text, what text); GRANT ALL ON log TO ann;
	SET ROLE ann; SELECT cron.schedule('nightly', '0 3 * * *', 'INSERT INTO log VALUES (session_user, ''nightly''); SELECT count(*) FROM log'); SELECT cron.schedule('0 4 * * *', 'SELECT 4'); RESET ROLE;
	SET ROLE bob; SELECT cron.schedule('theirs', '@daily', 'VACUUM'); SELECT cron.schedule('no', '@daily', 'SELEC 1'); RESET ROLE;
	SELECT cron.schedule('elsewhere', '@daily', 'SELECT 1'), cron.schedule('far', '@daily', 'SELECT 1'), cron.schedule('idle', '@daily', 'SELECT 1'), cron.schedule('shut', '@daily', 'SELECT 1');
	UPDATE cron.job SET database = 'other' WHERE jobname = 'elsewhere'; UPDATE cron.job SET nodename = 'db.example.com' WHERE jobname = 'far';
	UPDATE cron.job SET active = false WHERE jobname = 'idle'; UPDATE cron.job SET username = 'sue' WHERE jobname = 'shut'; ALTER ROLE sue NOLOGIN; SELECT datamill.create_job('theirs', 'SELECT 1', owner => 'bob')});
my $list = q{SELECT string_agg(concat_ws('|', regexp_replace(name, '\d+', 'N'), schedule, result, reason), E'\n' ORDER BY jobid) FROM datamill.import_pg_cron};
my $expected = q{nightly|0 3 * * *|moved
pg_cron N|0 4 * * *|moved
theirs|@daily|not moved|bob has a job "theirs" already: Change it with datamill.alter_job().
no|@daily|not moved|syntax error at or near "SELEC"
elsewhere|@daily|not moved|it runs in database "other": make it there with datamill.create_job()
far|@daily|not moved|it runs on host "db.example.com": make it there with datamill.create_job()
idle|@daily|moved
shut|@daily|not moved|role sue cannot own a job, since it cannot log in: ALTER ROLE sue LOGIN, or give another owner.};
is(sql("$list(true)"), $expected, 'what would be done');
is(sql('SELECT count(*) FROM cron.job') . sql('SELECT count(*) FROM datamill.jobs'), '81', '... is not done');
is($node->safe_psql('postgres', "$list(true)", extra_params => [ '-U', 'ann' ]), "nightly|0 3 * * *|moved\npg_cron N|0 4 * * *|moved", 'a role sees its own');
(my $copied = $expected) =~ s/\|moved/|copied/g;
is(sql("BEGIN; $list(unschedule => false); SELECT string_agg(name || ' ' || state, ',' ORDER BY name) FROM datamill.jobs WHERE owner = 'ann'::regrole; SELECT count(*) FROM cron.job; ROLLBACK"),
	"$copied\nnightly paused,pg_cron " . sql("SELECT jobid FROM cron.job WHERE schedule = '0 4 * * *'") . " paused\n8", 'copied, they are paused');
is(sql("$list()"), $expected, 'moved');
is(sql('SELECT string_agg(jobname, \',\' ORDER BY jobid) FROM cron.job'), 'theirs,no,elsewhere,far,shut', '... they are gone there');
is(sql("SELECT concat_ws('|', owner, body, schedule, timezone, overlap, missed, timeout, retries, suspend_after, state) FROM datamill.jobs WHERE name = 'nightly'"),
	q{ann|INSERT INTO log VALUES (session_user, 'nightly'); SELECT count(*) FROM log|0 3 * * *|GMT|queue|skip|24 days|0|0|active}, '... and are as they were here');
is(sql("SELECT owner || ' ' || state || ': ' || state_reason FROM datamill.jobs WHERE name = 'idle'"), 'postgres paused: it was not active in pg_cron', '... idle, too');
sql("UPDATE datamill.job_catalog SET next_due = now() WHERE name = 'nightly'; SELECT datamill.pause('theirs')");
becomes("SELECT concat_ws('|', trigger, state, result) FROM datamill.runs WHERE name = 'nightly'", 'schedule|succeeded|[{"count": 1}]', 'it runs when its time comes');
is(sql('SELECT * FROM log'), 'ann|nightly', '... as its owner');

# pg_cron may call what datamill has. @reboot does not have to be waited for.
sql(q{SELECT cron.unschedule(jobid) FROM cron.job; CREATE TABLE new AS SELECT n AS key, n * 2 AS value FROM generate_series(1, 5) n;
	SELECT datamill.create_job('called', 'SELECT datamill.arguments()');
	SELECT cron.schedule('run', '@reboot', 'SELECT datamill.run(''called'', ''{"by": "pg_cron"}'')');
	SELECT cron.schedule('merge', '@reboot', 'SELECT * FROM datamill.cdc_merge(''public.merged'', ''public.new'', keys => ''{key}'', effective => ''2026-01-01'')')});
$node->restart;
becomes("SELECT concat_ws('|', trigger, state, result) FROM datamill.runs WHERE name = 'called'", 'run|succeeded|[{"arguments": {"by": "pg_cron"}}]', 'pg_cron calls run()');
becomes("SELECT coalesce(string_agg(concat_ws('|', dataset, inserted), ''), '') FROM datamill.merges", 'merged|5', 'pg_cron calls cdc_merge()');
is(sql('SELECT sum(value) FROM merged'), '30', '... whose rows are there');
becomes("SELECT string_agg(j.jobname || ' ' || d.status || ' ' || d.return_message, ',' ORDER BY j.jobid) FROM cron.job_run_details d JOIN cron.job j USING (jobid)", 'run succeeded 1 row,merge succeeded 1 row', '... as pg_cron saw it');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|segfault|signal 11|was terminated by signal/, 'no crash');
$node->stop;
done_testing();
