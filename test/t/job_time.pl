# job_time.pl: clocks that were set, zones that change under a schedule, a scheduler that stands still, and ten thousand jobs.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $lib = $ENV{DM_LIB} or die 'DM_LIB is not set: run bash test/run.sh tap';
my $folder = PostgreSQL::Test::Utils::tempdir();
system('gcc', '-shared', '-fPIC', '-O1', '-o', "$folder/shim.so", "$lib/clock_shim.c", '-ldl') == 0 or die 'the shim does not build';

# Puts the server's clock on by so many seconds, at once.
sub clock
{
	open(my $file, (-e "$folder/clock" ? '+<' : '>'), "$folder/clock") or die $!;
	print $file pack('q', $_[0]);
	close $file;
	return;
}
clock(0);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 32\ndatamill.max_runs = 16\ntimezone = UTC\nautovacuum = off");
{
	local %ENV = (%ENV, LD_PRELOAD => "$folder/shim.so", DM_CLOCK => "$folder/clock");
	$node->start;
}
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }
sub scheduler { my $on = shift; $node->safe_psql('postgres', "ALTER SYSTEM SET datamill.scheduler = $on"); $node->reload; usleep(300_000); return; }

sql('CREATE EXTENSION datamill');

# A zone of its own making that goes forward five minutes at one time of today and back at another: the scheduler that was held back for hours catches up through both, as cron_next says.
scheduler('off');
my ($day, $hour) = split(/ /, sql("SELECT to_char(now() - interval '20 hours', 'FMDDD FMHH24')"));
my ($day2, $hour2) = split(/ /, sql("SELECT to_char(now() - interval '10 hours', 'FMDDD FMHH24')"));
my $leap = sql("SELECT extract(year FROM now())::int % 4 = 0");
my $zone = sprintf('AAA0BBB-0:05,%d/%d:00,%d/%d:05', $day - 1, $hour, $day2 - 1, $hour2);
sql("SELECT datamill.create_job('zone' || n, 'SELECT 1', s, '$zone', missed => 'all', catchup => '23 hours') FROM unnest(ARRAY['*/7 * * * *', '2 * * * *', '57 * * * *', '0-4 */2 * * *']) WITH ORDINALITY u(s, n)");
my $start = sql("SELECT now() - interval '22 hours'");
sql("UPDATE datamill.job_catalog SET next_due = t FROM (SELECT job_id AS id, (SELECT datamill.cron_next(schedule, timezone, '$start')) AS t FROM datamill.job_catalog) x WHERE id = job_id AND name LIKE 'zone%'");
my $changes = sql("SELECT count(DISTINCT t AT TIME ZONE '$zone' - t AT TIME ZONE 'UTC') FROM generate_series('$start'::timestamptz, now(), '1 minute') t");
is($changes, '2', 'the zone changes in these hours');
scheduler('on');
becomes("SELECT count(*) FROM datamill.runs WHERE name LIKE 'zone%' AND finished_at IS NULL HAVING count(*) = 0 AND (SELECT count(*) FROM datamill.runs WHERE name LIKE 'zone%') > 200", '0', 'caught up through a gap and an overlap of five minutes');
sql("SELECT datamill.pause(name) FROM datamill.jobs");
is(sql("SELECT count(*) FROM datamill.jobs j, LATERAL datamill.cron_next(j.schedule, j.timezone, '$start', 2000) t WHERE j.name LIKE 'zone%' AND t <= (SELECT max(scheduled_time) FROM datamill.runs r WHERE r.name = j.name) "
	  . "AND NOT EXISTS (SELECT FROM datamill.runs r WHERE r.name = j.name AND r.scheduled_time = t AND r.state = 'succeeded')"), '0', '... each time once');
is(sql("SELECT count(*) FROM datamill.runs r JOIN datamill.jobs j USING (job_id) WHERE r.name LIKE 'zone%' AND NOT EXISTS (SELECT FROM datamill.cron_next(j.schedule, j.timezone, r.scheduled_time - interval '1 us') t WHERE t = r.scheduled_time)"), '0', '... and no other');

# A scheduler that stands still is not doubled, and does all of it when it goes on.
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'datamill scheduler'");
kill 'STOP', $pid;
sql("SELECT datamill.create_job('still', 'SELECT 1', overlap => 'queue')");
sql("SELECT datamill.run('still')") for 1 .. 5;
usleep(1_000_000);
is(sql("SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE backend_type = 'datamill scheduler'"), $pid, 'no second scheduler comes');
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'still' AND state = 'queued'"), '5', '... runs wait');
kill 'CONT', $pid;
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'still' AND state = 'succeeded'", '5', '... and go on');

# Ten thousand jobs, a hundred due at once.
sql("SELECT count(datamill.create_job('n' || n, 'SELECT ' || n || ' AS n', '0 3 1 1 *')) FROM generate_series(1, 10000) n; UPDATE datamill.job_catalog SET next_due = now() + interval '1 s' WHERE name ~ '^n\\d*00\$'; SELECT datamill.pause('still')");
becomes("SELECT count(*) FROM datamill.runs WHERE name ~ '^n\\d' AND state = 'succeeded' AND result -> 0 ->> 'n' = substr(name, 2)", '100', 'a hundred of ten thousand are due at once, and run');
is(sql("SELECT count(*) FROM datamill.runs WHERE name ~ '^n\\d'"), '100', '... each once');
is(sql("SELECT count(*) FROM datamill.next_runs WHERE next_due > now() AND name ~ '^n'"), '10000', '... and is due again');
sql("DELETE FROM datamill.job_catalog WHERE name ~ '^n'");

# The clock goes forward by hours while the scheduler sleeps: it looks at it once a minute. Then it goes back.
sql("SELECT datamill.create_job('hourly', 'SELECT 1', '0 * * * *', missed => 'once'); SELECT datamill.create_job('seconds', 'SELECT 1', 'every 2 s'); SELECT datamill.create_job('long', 'SELECT 1', 'every 90 minutes')");
becomes("SELECT count(*) > 1 FROM datamill.runs WHERE name = 'seconds' AND state = 'succeeded'", 't', 'it ticks');
sql("SELECT datamill.pause('seconds')");
usleep(500_000);
clock(3 * 3600);
my $ahead = sql('SELECT now()');
ok($node->poll_query_until('postgres', "SELECT count(*) FROM datamill.runs WHERE name = 'hourly' AND state = 'succeeded'", '1') || $node->poll_query_until('postgres', "SELECT count(*) FROM datamill.runs WHERE name = 'hourly' AND state = 'succeeded'", '1'),
	'the clock goes forward three hours: the latest hour runs');
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'hourly' AND state = 'skipped' AND reason LIKE 'missed: nothing ran from then to%'"), '1', '... and a row tells of the others');
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'long' AND state = 'succeeded'", '1', '... as does one of intervals');
sql("SELECT datamill.resume('seconds')");
becomes("SELECT count(*) > 1 FROM datamill.runs WHERE name = 'seconds' AND state = 'succeeded' AND scheduled_time >= '$ahead'", 't', 'it ticks in the new time');
clock(0);
sql("SELECT datamill.run('still')");
is(sql("SELECT now() < '$ahead'::timestamptz - interval '2 hours'"), 't', 'the clock is back');
my $back = sql('SELECT max(run_id) FROM datamill.runs');
becomes("SELECT count(*) > 1 FROM datamill.runs WHERE name = 'seconds' AND state = 'succeeded' AND run_id > $back AND started_at < '$ahead'", 't', 'intervals go on');
is(sql("SELECT next_due <= now() + interval '90 minutes' FROM datamill.jobs WHERE name = 'long'"), 't', '... however long');
is(sql("SELECT count(*) FROM (SELECT job_id, scheduled_time FROM datamill.runs GROUP BY 1, 2 HAVING count(*) > 1) x"), '0', 'no time has two runs');
is(sql("SELECT next_due < now() + interval '1 hour 1 second' FROM datamill.jobs WHERE name = 'hourly'"), 't', 'and the next hour is due');
# Who is late is told once each time, also while nothing starts jobs.
scheduler('off');
sql("SELECT datamill.pause(name) FROM datamill.jobs; SELECT datamill.create_job('daily', 'SELECT 1', '0 3 * * *'); SELECT datamill.create_notifier('bell', 'notify', '{\"channel\": \"bell\"}'); SELECT datamill.notify_on('daily', 'late', 'bell')");
my $wake = "SELECT datamill.set_pool('default', 1000)";
is(sql("$wake; SELECT count(*) FROM datamill.events WHERE event = 'late'"), "\n0", 'nobody is late');
for my $days (1, 2)
{
	clock($days * 86400 + 4 * 3600);
	sql($wake);
	becomes("SELECT count(*) FROM datamill.events e JOIN datamill.jobs j USING (job_id) WHERE event = 'late' AND j.name = 'daily' AND payload ->> 'reason' LIKE '%datamill.scheduler is off%'", $days, "late on day $days");
	clock($days * 86400 + 4 * 3600 + 120);
	sql($wake);
	usleep(500_000);
	is(sql("SELECT count(*) FROM datamill.events WHERE event = 'late'"), $days, '... and told once');
}
scheduler('on');
becomes("SELECT sum(count) FROM datamill.notifications WHERE notifier = 'bell' AND event = 'late' AND state = 'sent'", '2', 'a notifier tells of it when all goes on again');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|segfault|signal 11/, 'no crash');
$node->stop;
done_testing();
