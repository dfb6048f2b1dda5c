# job_crash.pl: processes of jobs are killed, find no room, or lose their server. No run is lost, doubled or left for ever in a state that is not true.
use strict;
use warnings;
use DmCrash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\nrestart_after_crash = on\n"
	  . "datamill.cancel_grace = '500ms'\ntimezone = UTC\nautovacuum = off");
$node->start;

my $where = $node;
sub sql { return $where->safe_psql('postgres', $_[0]); }
sub becomes { my ($query, $expected, $name) = @_; ok($where->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }
sub pid_of { return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'datamill $_[0]' AND (datname = 'postgres' OR datname IS NULL) ORDER BY backend_start DESC LIMIT 1"); }

# Waits until something is true; false if it does not become so.
sub comes { my ($what) = @_; for (1 .. 600) { return 1 if $what->(); usleep(100_000); } return 0; }

# Kills a process and waits until the server has started anew.
sub crash
{
	my $pid = shift;
	my $before = checkpointer_of($where);
	kill 'KILL', $pid;
	wait_for_restart($where, $before, 1);
	return;
}

sql(q{CREATE EXTENSION datamill; CREATE TABLE log (what text, at timestamptz DEFAULT clock_timestamp());
	SELECT datamill.create_job('tick', 'INSERT INTO log VALUES (datamill.scheduled_time()::text)', 'every 1 s', overlap => 'queue', missed => 'all', catchup => '1 hour');
	SELECT datamill.create_job('sleep', 'INSERT INTO log VALUES (''sleep''); SELECT pg_sleep(60)')});

# kill -9 of each kind of process, at moments that differ.
my $kills = 0;
for my $round (1 .. 3)
{
	for my $kind ('run', 'scheduler', 'launcher')
	{
		if ($kind eq 'run')
		{
			my $id = sql("SELECT datamill.run('sleep')");
			becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', "$round: a run goes on");
			crash(sql("SELECT pid FROM datamill.runs WHERE run_id = $id"));
			becomes("SELECT concat_ws('|', state, sqlstate, message, finished_at IS NOT NULL) FROM datamill.runs WHERE run_id = $id",
				'crashed|57P02|the server crashed while it ran|t', "$round: ... crashed by kill -9");
		}
		else
		{
			becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill $kind'", '1', "$round: a $kind is there");
			usleep(int(rand(300_000)));
			crash(pid_of($kind));
		}
		becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('datamill launcher', 'datamill scheduler')", '2', "$round: launcher and scheduler are back after the kill of a $kind");
		$kills++;
	}
	if ($round < 3)
	{
		is(sql("SELECT crashes || ' ' || state || ' ' || (not_before > now() + interval '20 s') FROM datamill.job_catalog WHERE name = 'sleep'"), "$round active true", 'the job waits a while');
	}
}
is(sql("SELECT state || ': ' || state_reason FROM datamill.jobs WHERE name = 'sleep'"), 'suspended: 3 runs in a row ended with a crash of the server', 'a job that crashes thrice is suspended');
is(sql("SELECT count(*) FROM log WHERE what = 'sleep'"), '0', 'nothing of a crashed run is there');

# Terminated processes come back, too.
for my $kind ('scheduler', 'launcher')
{
	my $pid = pid_of($kind);
	sql("SELECT pg_terminate_backend($pid)");
	becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill $kind' AND pid <> $pid", '1', "a terminated $kind comes back");
}

# A server that is stopped, in each way, under a run.
sql("SELECT datamill.resume('sleep')");
for my $mode ('fast', 'immediate')
{
	my $id = sql("SELECT datamill.run('sleep')");
	becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', "$mode: a run goes on");
	$node->stop($mode);
	$node->start;
	becomes("SELECT concat_ws('|', state, sqlstate, message) FROM datamill.runs WHERE run_id = $id", 'crashed|57P01|the server was stopped while it ran', "stop $mode");
}

# A run that ends before the scheduler does, while the server stops: a session keeps the server from being gone.
{
	my $id = sql("SELECT datamill.run('sleep')");
	becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', 'smart: a run goes on');
	my $session = $node->background_psql('postgres');
	$session->query_safe('SELECT 1');
	$node->command_ok([ 'pg_ctl', '-W', '-m', 'smart', '-D', $node->data_dir, 'stop' ], 'asked to stop');
	ok(comes(sub { slurp_file($node->data_dir . '/postmaster.pid') =~ /stopping/ }), '... which it is about to');
	$session->query_safe("SELECT pg_terminate_backend((SELECT pid FROM datamill.runs WHERE run_id = $id))");
	my $end;
	comes(sub { ($end = $session->query_safe("SELECT concat_ws('|', state, sqlstate, message) FROM datamill.runs WHERE run_id = $id")) !~ /^running/ });
	is($end, 'crashed|57P01|the server was stopped while it ran', 'stop smart: the scheduler says it as the next one would');
	$session->quit;
	ok(comes(sub { !-e $node->data_dir . '/postmaster.pid' }), '... and the server is gone with its last session');
	$node->{_pid} = undef;
	$node->start;
}
is(sql("SELECT crashes || ' ' || state FROM datamill.job_catalog WHERE name = 'sleep'"), '0 active', 'which is not held against the job');
$node->kill9;
usleep(1_000_000);
for (1 .. 100) { last if $node->start(fail_ok => 1); $node->{_pid} = undef; usleep(200_000); }
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('datamill launcher', 'datamill scheduler')", '2', 'launcher and scheduler are back after the postmaster was killed');

# Through all of this: each second of the tick ran exactly once, or a skipped row tells of it. Now a stretch without trouble, and the sum.
sql("SELECT datamill.pause('tick')");
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'tick' AND finished_at IS NULL", '0', 'all ticks are over');
is(sql("SELECT count(*) FROM (SELECT what FROM log WHERE what <> 'sleep' GROUP BY what HAVING count(*) > 1) x"), '0', 'no time ran twice');
is(sql("SELECT count(*) FROM datamill.runs r WHERE name = 'tick' AND state = 'succeeded' AND NOT EXISTS (SELECT FROM log WHERE what = r.scheduled_time::text)"), '0', 'what succeeded is there');
is(sql("SELECT count(*) FROM log l WHERE what <> 'sleep' AND NOT EXISTS (SELECT FROM datamill.runs r WHERE r.name = 'tick' AND r.state = 'succeeded' AND r.scheduled_time::text = l.what)"), '0', 'what is there succeeded');
is(sql("SELECT count(*) FROM (SELECT scheduled_time - lag(scheduled_time) OVER (ORDER BY scheduled_time) AS gap FROM (SELECT DISTINCT scheduled_time FROM datamill.runs WHERE name = 'tick') t) g WHERE gap <> interval '1 s'"), '0',
	'every second has a row');

# No process to be had: runs wait and say so.
# one is the logical replication launcher's
sql(q{ALTER SYSTEM SET max_worker_processes = 4; SELECT datamill.alter_job('sleep', '{"body": "SELECT pg_sleep(0.3)", "overlap": "allow"}')});
$node->restart;
sql("SELECT datamill.run('sleep') FROM generate_series(1, 4)");
becomes("SELECT count(*) > 0 FROM datamill.runs WHERE state = 'queued' AND reason = 'waits for a process: all of max_worker_processes are in use'", 't', 'all worker processes are in use');
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'sleep' AND state = 'succeeded'", '4', '... and all run in the end') or diag(sql('SELECT * FROM datamill.runs ORDER BY run_id DESC LIMIT 4'));
is(sql("SELECT failures FROM datamill.jobs WHERE name = 'sleep'"), '0', '... without a failure');
sql("ALTER SYSTEM SET max_worker_processes = 3");
$node->restart;
sql("SELECT datamill.run('sleep')");
usleep(1_500_000);
is(sql("SELECT state FROM datamill.runs ORDER BY run_id DESC LIMIT 1"), 'queued', 'with room for the scheduler only, runs stay queued');
sql("ALTER SYSTEM RESET max_worker_processes");
$node->restart;
becomes("SELECT state FROM datamill.runs ORDER BY run_id DESC LIMIT 1", 'succeeded', '... until there is room');

# pg_upgrade starts the server with -b: nothing of ours runs then.
$node->stop;
$node->command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start' ], 'started as pg_upgrade does');
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'datamill%'"), '0', 'no process during a binary upgrade');
$node->command_ok([ 'pg_ctl', '-w', '-D', $node->data_dir, 'stop' ], 'stopped');
$node->start;
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('datamill launcher', 'datamill scheduler')", '2', '... they are back after it');

# A scheduler that is asked for twice is one.
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill scheduler' AND datname = 'postgres'"), '1', 'one scheduler');

# A standby starts nothing; promoted, it takes over, once.
$node->backup('b');
sql(q{SELECT datamill.alter_job('tick', '{"missed": "once"}'); SELECT datamill.resume('tick'); TRUNCATE log});
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'datamill%'"), '0', 'no process on a standby');
like($standby->safe_psql('postgres', "SELECT datamill.explain_schedule('tick')"), qr/The job is active/, '... where one can look');
my ($code, $out, $err) = $standby->psql('postgres', "SELECT datamill.run('tick')");
like($err, qr/read-only transaction/, '... but not queue');
becomes("SELECT count(*) > 2 FROM log", 't', 'the primary ticks');
my $id = sql(q{SELECT datamill.create_job('lost', 'SELECT pg_sleep(60)'); SELECT datamill.run('lost')});
$id =~ s/.*\n//s;
becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', 'a run goes on');
$node->wait_for_catchup($standby);
$node->stop('immediate');
$standby->promote;
$where = $standby;
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('datamill launcher', 'datamill scheduler')", '2', 'promoted, it has its processes');
becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'crashed', 'the run of the old primary is over');
becomes("SELECT count(*) > 1 FROM datamill.runs WHERE name = 'tick' AND state = 'succeeded' AND started_at > (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'datamill launcher')", 't', 'the new one ticks');
is(sql("SELECT count(*) FROM (SELECT what FROM log GROUP BY what HAVING count(*) > 1) x"), '0', 'no time ran twice');

# A dump that is restored into another cluster brings its jobs, paused. So does a database that is restored as another.
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 16\ntimezone = UTC");
$other->start;
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$standby->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $standby->connstr('postgres') ], 'dumped');
$other->command_ok([ 'pg_restore', '--create', '--clean', '--if-exists', '-d', $other->connstr('template1'), $dump ], 'restored');
$where = $other;
becomes("SELECT count(*) FROM datamill.jobs WHERE state = 'active'", '0', 'its jobs are paused');
is(sql("SELECT string_agg(DISTINCT state_reason, '') FROM datamill.jobs WHERE name = 'tick'"), 'this database was restored or copied: datamill.accept_jobs() makes its jobs active here', '... and say why');
my $runs = sql("SELECT count(*) FROM datamill.runs WHERE state = 'succeeded'");
usleep(2_500_000);
is(sql("SELECT count(*) FROM datamill.runs WHERE state = 'succeeded'"), $runs, 'nothing runs');
cmp_ok($runs, '>', 3, 'the runs of old came along');
is(sql("SELECT count(*) FROM datamill.runs WHERE finished_at IS NULL"), '0', 'none of them goes on');
cmp_ok(sql("SELECT datamill.accept_jobs()"), '>', 1, 'accepted');
becomes("SELECT count(*) > $runs FROM datamill.runs WHERE state = 'succeeded'", 't', '... they run');

for my $one ($node, $standby, $other)
{
	unlike(slurp_file($one->logfile), qr/PANIC|TRAP:|segfault|signal 11/, 'no crash of our own: ' . $one->name);
}
$standby->stop;
$other->stop;
done_testing();
