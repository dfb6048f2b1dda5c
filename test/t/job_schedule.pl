# job_schedule.pl: when schedules are due, against croniter and a walk through every minute (test/lib/cron_oracle.py).
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $lib = $ENV{DM_LIB} or die 'DM_LIB is not set: run bash test/run.sh tap';
my $seed = $ENV{SEED} // 4711;
my $cases = '';
my $error = '';
IPC::Run::run([ 'python3', "$lib/cron_oracle.py", $seed ], '<', \'', '>', \$cases, '2>', \$error) or die "oracle: $error";
cmp_ok(scalar(my @lines = split(/\n/, $cases)), '>', 120, "cases of seed $seed");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE TABLE cases (schedule text, zone text, at bigint, expected text)');
my $file = PostgreSQL::Test::Utils::tempdir() . '/cases';
append_to_file($file, $cases);
$node->safe_psql('postgres', "\\copy cases FROM '$file'");
my $wrong = $node->safe_psql('postgres', q{
	SELECT format(E'%s in %s after %s:\n  got      %s\n  expected %s', schedule, zone, at, got, expected) FROM cases, LATERAL (
		SELECT string_agg(extract(epoch FROM t)::bigint::text, ',' ORDER BY t) FROM datamill.cron_next(schedule, zone, to_timestamp(at),
			cardinality(string_to_array(expected, ','))) t) x (got)
	WHERE got IS DISTINCT FROM expected LIMIT 5});
is($wrong, '', 'the same times');
my $zones = $node->safe_psql('postgres', 'SELECT count(DISTINCT zone) FROM cases');
cmp_ok($zones, '>=', 10, 'in many zones');

# Backwards: the time before each of them, a moment before the first, and what lies between (croniter's get_prev says the same in UTC).
$wrong = $node->safe_psql('postgres', q{
	SELECT format(E'%s in %s before %s: got %s, expected %s', schedule, zone, t + more, got, t) FROM cases,
		unnest(string_to_array(expected, ',')::bigint[]) WITH ORDINALITY u (t, i), LATERAL (SELECT (string_to_array(expected, ',')::bigint[])[i + 1]) n (next_t),
		unnest(ARRAY[1, (next_t - t + 1) / 2, next_t - t]) more, LATERAL (SELECT extract(epoch FROM datamill.cron_previous(schedule, zone, to_timestamp(t + more)))::bigint) x (got)
	WHERE next_t IS NOT NULL AND got IS DISTINCT FROM t LIMIT 5});
is($wrong, '', 'the same times backwards');
my $backwards = '';
IPC::Run::run([ 'python3', "$lib/cron_oracle.py", $seed, 'backwards' ], '<', \'', '>', \$backwards, '2>', \$error) or die "oracle: $error";
cmp_ok(scalar(@lines = split(/\n/, $backwards)), '>', 80, 'cases backwards');
append_to_file("$file.backwards", $backwards);
$node->safe_psql('postgres', "CREATE TABLE backwards (LIKE cases)");
$node->safe_psql('postgres', "\\copy backwards FROM '$file.backwards'");
is($node->safe_psql('postgres', q{
	SELECT format(E'%s before %s: got %s, expected %s', schedule, at, got, expected) FROM backwards,
		LATERAL (SELECT extract(epoch FROM datamill.cron_previous(schedule, zone, to_timestamp(at)))::bigint::text) x (got)
	WHERE got IS DISTINCT FROM expected LIMIT 5}), '', '... as croniter has them');

# One call that gives many times is the same as many calls that give one.
is($node->safe_psql('postgres', q{
	WITH RECURSIVE one AS (SELECT 0 AS n, timestamptz '2026-10-24 12:00+00' AS t
		UNION ALL SELECT n + 1, (SELECT * FROM datamill.cron_next('*/20 0-4 * * *', 'Europe/Berlin', t)) FROM one WHERE n < 60)
	SELECT count(*) FROM (SELECT t FROM one WHERE n > 0 EXCEPT SELECT * FROM datamill.cron_next('*/20 0-4 * * *', 'Europe/Berlin', '2026-10-24 12:00+00', 60)) d}),
	'0', 'step by step');

# A zone of its own making, with DST of five minutes: forward at 02:00 on day 100, back at 02:00 on day 101 (Julian days, no leap day).
my $posix = 'AAA0BBB-0:05,J100/2,J101/2';
my %expected = ('2 2 * * *' => '04-10 02:00 04-11 02:02 04-12 02:02', '58 1 * * *' => '04-10 01:58 04-11 01:53 04-12 01:58',
	'58 * * * 6' => '04-11 00:53 04-11 01:53 04-11 01:58', '2 * 10 * *' => '04-10 00:02 04-10 01:02 04-10 02:57');
for my $schedule (sort keys %expected)
{
	is($node->safe_psql('postgres', "SELECT string_agg(to_char(t AT TIME ZONE 'UTC', 'MM-DD HH24:MI'), ' ' ORDER BY t) "
		. "FROM datamill.cron_next('$schedule', '$posix', '2026-04-09 12:00+00', 3) t"), $expected{$schedule}, "$schedule with changes of five minutes");
}
$node->stop;
done_testing();
