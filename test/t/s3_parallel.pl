# s3_parallel.pl: parallel and asynchronous scans of S3: the rows of a serial scan, from a real server and from one that fails; errors,
# cancel and what is left behind; what LIMIT and scans that start over ask for. The fault server's numbers are arithmetic.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nmax_parallel_workers = 12");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my %faults = start_faults();
make_server($node, 'f', { endpoint => $faults{http}, part_size => '128kB', max_retries => 4, timeout => '2s' },
	{ access_key_id => 'someid', secret_access_key => 'somesecret' });

my $parallel = 'SET max_parallel_workers_per_gather = 3; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; ';

# Makes a foreign table of objects; returns its name.
sub table
{
	my ($server, $url, $columns) = @_;
	(my $name = "t $url") =~ s/\W+/_/g;
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE IF NOT EXISTS $name ($columns) SERVER $server OPTIONS (url 's3://$url', format 'csv', header 'true')");
	return $name;
}

# A table of the fault server.
sub fault_table
{
	my ($bucket, $key) = @_;
	return table('f', "$bucket/$key", 'id bigint, v bigint');
}

# The value of a query, run in parallel, in ranges of some size.
sub in_parallel
{
	my ($size, $query) = @_;
	return $node->safe_psql('postgres', "${parallel}SET datamill.split_size = $size; $query");
}

# The foreign scans of a query as EXPLAIN ANALYZE has them, one property of each.
sub explained
{
	my ($settings, $query, $property) = @_;
	my $plan = $node->safe_psql('postgres', "${settings}EXPLAIN (ANALYZE, FORMAT JSON) $query");
	return $node->safe_psql('postgres', 'SELECT string_agg((n->' . quote($property) . ")::text, ',') FROM jsonb_path_query("
		  . quote($plan) . "::jsonb, 'strict \$.** ? (\@.\"Node Type\" == \"Foreign Scan\")') n");
}

# 1. Faults of one process do not show; what cannot be helped ends all of them.
my $sums = 'SELECT count(*), sum(id), sum(v) FROM';
my $big = '200000|20000100000|140000700000';
for my $bucket (qw(plain reset cut drop storm throttle))
{
	is(in_parallel(100_000, "$sums " . fault_table($bucket, 'big.csv')), $big, "$bucket, in parallel");
}
is(explained("${parallel}SET datamill.split_size = 100000; ", "$sums t_plain_big_csv", 'Parallel Aware'), 'true', 'that was parallel');
like(sql_error($node, "${parallel}SET datamill.split_size = 100000; $sums " . fault_table('other', 'big.csv')), qr/ERROR:  DM001/, 'a changed object');
like(sql_error($node, "${parallel}SET datamill.split_size = 100000; SET statement_timeout = 500; $sums " . fault_table('stall', 'big.csv')),
	qr/ERROR:  57014/, 'a timeout while all are waiting');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'"), '0', 'no worker is left');
is(in_parallel(100_000, "$sums t_plain_big_csv"), $big, 'and all is well after that');

# 2. LIMIT stops fetching.
my $before = () = fault_log(qr{^/plain/big});
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT FROM t_plain_big_csv LIMIT 5) s'), '5', 'LIMIT');
cmp_ok((() = fault_log(qr{^/plain/big})) - $before, '<=', 4, 'asks for few of the 20 parts');

# 3. Scans that start over ask once more at most.
is(explained('', 'SELECT x, (SELECT sum(id) FROM ' . fault_table('plain', 'small.csv') . ' WHERE id <> x) FROM generate_series(1, 9) x', 'Requests'),
	'3', 'nine passes: a listing and two reads');

# 4. Scans of an Append fetch at the same time: what has come is given first, and rows are the same.
my $both = '(SELECT * FROM ' . fault_table('slow', 'small.csv') . ' UNION ALL SELECT v, id FROM t_plain_small_csv)';
my $first = "SELECT id = 7 * v FROM $both s (id, v) LIMIT 1";
is($node->safe_psql('postgres', $first), 't', 'rows of the fast one come before those of the slow one');
is($node->safe_psql('postgres', "SET enable_async_append = off; $first"), 'f', 'not so one after another');
is($node->safe_psql('postgres', "$sums $both s"), $node->safe_psql('postgres', "SET enable_async_append = off; $sums $both s"), 'all rows are the same');
$node->safe_psql('postgres', "ALTER SERVER f OPTIONS (ADD async_capable 'false')");
is($node->safe_psql('postgres', $first), 'f', 'option async_capable of the server');
$node->safe_psql('postgres', "ALTER FOREIGN TABLE t_slow_small_csv OPTIONS (ADD async_capable 'true'); ALTER FOREIGN TABLE t_plain_small_csv OPTIONS (ADD async_capable 'true')");
is($node->safe_psql('postgres', $first), 't', 'a table has the last word');
$node->safe_psql('postgres', "ALTER SERVER f OPTIONS (SET async_capable 'true')");
my $all = join ' UNION ALL ', map { 'SELECT * FROM ' . fault_table($_, 'big.csv') } qw(plain reset cut storm throttle);
is($node->safe_psql('postgres', "$sums ($all) s"), '1000000|100000500000|700003500000', 'with faults');
like(sql_error($node, 'SET statement_timeout = 500; SELECT count(*) FROM (SELECT * FROM ' . fault_table('stall', 'small.csv') . ' UNION ALL SELECT * FROM t_plain_small_csv) s'),
	qr/ERROR:  57014/, 'a timeout while scans are pending');
like(sql_error($node, 'SELECT count(*) FROM (SELECT * FROM t_plain_big_csv UNION ALL SELECT * FROM t_other_big_csv) s'), qr/ERROR:  DM001/, 'an error of one');
is($node->safe_psql('postgres', "SELECT x, (SELECT count(*) FROM (SELECT * FROM t_plain_small_csv UNION ALL SELECT v, id FROM t_plain_small_csv) s (id, v) WHERE id > x) FROM generate_series(8, 10) x"),
	"8|11\n9|10\n10|9", 'scans that start over');

# No error leaks a descriptor: a session whose scans fail, while others are pending, has not more files open than before (but a
# few of catalogs, which come and go).
my $loop = 'DO $$ BEGIN FOR i IN 1..20 LOOP BEGIN PERFORM * FROM (SELECT * FROM t_other_big_csv UNION ALL SELECT * FROM t_plain_big_csv) s; '
  . 'EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;';
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe('SET max_parallel_workers_per_gather = 0');
$session->query($loop);
my $files = () = glob "/proc/$pid/fd/*";
$session->query($loop);
cmp_ok((() = glob "/proc/$pid/fd/*"), '<', $files + 10, 'twenty more errors leave no descriptors open');
$session->quit;

# 5. A real server: a large object in ranges, and many small ones.
SKIP:
{
	my %rgw = start_rgw();
	skip 'RGW is not installed', 7 unless %rgw;
	make_server($node, 'r', { endpoint => $rgw{http} }, { access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key' });
	my $file = PostgreSQL::Test::Utils::tempdir() . '/large.csv';
	open my $out, '>', $file or die $!;
	print $out "a,b\n", map { $_ % 3 ? "$_,x$_\n" : qq($_,"two\nlines, ""$_"""\n) } 1 .. 600_000;
	close $out;
	s3('mb', 'lake');
	system("S3_ENDPOINT=$rgw{http} python3 $DmS3::lib/s3.py put lake large.csv <$file") == 0 or die;
	s3('many', 'lake', 'small/', 500);
	my $large = table('r', 'lake/large.csv', 'a int, b text');
	my $query = "SELECT count(*), sum(a), sum(hashtext(b)::bigint) FROM $large";
	my $serial = $node->safe_psql('postgres', "SET max_parallel_workers_per_gather = 0; $query");
	like($serial, qr/^600000\|180000300000\|/, 'a large object, serially');
	is(in_parallel($_, $query), $serial, "in ranges of $_ bytes") for (0, 1_500_000, 33_333);
	# Rows that fill the queues to the leader: workers are blocked while the leader waits for what they have taken.
	my $wide = "SELECT count(*), sum(a), sum(length(w)) FROM (SELECT a, repeat(b, 100) w FROM $large OFFSET 0) s";
	is(in_parallel(100_000, $wide), $node->safe_psql('postgres', "SET max_parallel_workers_per_gather = 0; $wide"), 'with workers that are blocked');
	is(explained("${parallel}SET datamill.split_size = 1500000; ", $query, 'Objects Read'), '1', 'all processes are counted');
	is(in_parallel(0, 'SELECT count(*), sum(id) FROM ' . table('r', 'lake/small/*', 'id int, v text')), '500|124750', 'many small objects');
}
done_testing();
