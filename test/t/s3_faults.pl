# s3_faults.pl: what the S3 client does when its peer resets, cuts, throttles, stalls or lies (test/lib/fault_server.py).
# The numbers are arithmetic: rows 1 .. n with v = 7 * id.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my %faults = start_faults();
my %keys = (access_key_id => 'someid', secret_access_key => 'somesecret');
my %options = (endpoint => $faults{http}, part_size => '128kB', max_retries => 4, timeout => '2s');
make_server($node, 'f', \%options, \%keys);

# A foreign table over one object of a bucket.
sub table
{
	my ($bucket, $key) = @_;
	(my $name = "t $bucket $key") =~ s/\W/_/g;
	$node->safe_psql('postgres', "DROP FOREIGN TABLE IF EXISTS $name; CREATE FOREIGN TABLE $name (id bigint, v bigint) SERVER f "
		  . "OPTIONS (url 's3://$bucket/$key', format 'csv', header 'true')");
	return $name;
}

# Count and sums of a table.
sub sums
{
	my ($table) = @_;
	return $node->safe_psql('postgres', "SELECT count(*), sum(id), sum(v) FROM $table");
}

my $big = '200000|20000100000|140000700000';
my $small = '10|55|385';

is(sums(table('plain', 'big.csv')), $big, 'no fault: a big object in parts');
is(sums(table('plain', '*.csv')), '200010|20000100055|140000700385', 'no fault: all objects');
is(sums(table('reset', 'big.csv')), $big, 'connections reset half-way');
is(sums(table('cut', 'big.csv')), $big, 'connections closed half-way');
my @ranges = map { $_->[3] } fault_log(qr{^/cut/big});
cmp_ok(scalar(grep { !/^bytes=\d+-\d+$/ } @ranges), '==', 0, 'parts are asked for by range');
cmp_ok(scalar(grep { /bytes=(\d+)-/ && $1 % 131072 != 0 } @ranges), '>', 0, 'a part that was cut goes on where it stopped');
is(sums(table('drop', 'small.csv')), $small, 'connections closed without an answer');
is(sums(table('storm', 'small.csv')), $small, '503 three times, then an answer');
is(sums(table('throttle', 'small.csv')), $small, '429 with Retry-After in seconds');
my @log = fault_log(qr{^/throttle/small});
cmp_ok($log[1][0] - $log[0][0], '>=', 0.29, 'Retry-After is waited for');
is(sums(table('throttle-date', 'small.csv')), $small, '429 with Retry-After as a date');
is(sums(table('norange', 'small.csv')), $small, 'a server that ignores Range, object of one part');
is(sums(table('slow', 'small.csv')), $small, 'a byte every 20 ms');

like(sql_error($node, 'SELECT * FROM ' . table('down', 'small.csv')),
	qr/DM002: could not list bucket "down": SlowDown.*told to\. HTTP status 503, attempts 5, request id r1.*HINT/s, '503 for ever');
is(scalar(fault_log(qr{^/down})), 5, 'max_retries + 1 requests, no more');
like(sql_error($node, 'SELECT * FROM ' . table('error', 'small.csv')), qr/DM002: .*InternalError/, '500 for ever');
my $begin = time;
like(sql_error($node, 'SELECT * FROM ' . table('throttle-long', 'small.csv')), qr/DM002: .*TooManyRequests.*Retry-After 3600/s,
	'Retry-After of an hour is an error');
cmp_ok(time - $begin, '<', 20, 'and a prompt one');
like(sql_error($node, 'SELECT * FROM ' . table('short', 'big.csv')), qr/08006: could not read object "s3:\/\/short\/big.csv": the server sends too few bytes/,
	'too few bytes are never taken for the end');
like(sql_error($node, 'SELECT * FROM ' . table('long', 'small.csv')), qr/08P01: .*the answer is longer than 55 bytes/, 'too many bytes');
like(sql_error($node, 'SELECT * FROM ' . table('norange', 'big.csv')), qr/08P01: .*did not send the range that was asked for/,
	'a server that ignores Range, object of many parts');
like(sql_error($node, 'SELECT * FROM ' . table('other', 'small.csv')), qr/DM001: object "s3:\/\/other\/small.csv" was replaced/, 'another ETag');
like(sql_error($node, 'SELECT * FROM ' . table('redirect', 'small.csv')), qr/HV024: .*PermanentRedirect.*region eu-central-1.*Set region/s,
	'redirects are not followed');
my %codes = ('400.ExpiredToken' => '42501: .*new temporary credentials', '403.InvalidToken' => '42501: .*session_token', '403.RequestTimeTooSkewed' => '42501: .*clock',
	'400.AuthorizationHeaderMalformed' => 'HV024: .*Set region', '403.AllAccessDisabled' => '42501: ', '400.RequestTimeout' => 'HV000: .*attempts 5', '418.Teapot' => 'HV000: .*attempts 1');
for my $code (sort keys %codes)
{
	like(sql_error($node, 'SELECT * FROM ' . table($code, 'small.csv')), qr/$codes{$code}/s, "error $code");
}
for my $bucket (qw(badxml doctype html))
{
	like(sql_error($node, 'SELECT * FROM ' . table($bucket, 'small.csv')), qr/08P01: .*the answer is no list of objects/, "listing: $bucket");
}
like(sql_error($node, 'SELECT * FROM ' . table('loop', 'small.csv')), qr/08P01: .*the same page came twice/, 'listing: a loop');
like(sql_error($node, 'SELECT * FROM ' . table('huge', 'small.csv')), qr/08P01: .*longer than 16777216 bytes/, 'listing: no end');

# Writes are tried again, too, and arrive whole.
for my $bucket (qw(plain drop storm throttle))
{
	$node->safe_psql('postgres',
		"SELECT * FROM datamill.generate_cdc(20000, 20000, 2, 2, 0.2, 0.4, 0.4, 's3://$bucket/w/1/', 's3://$bucket/w/2/', server => 'f')");
	is($node->safe_psql('postgres', "CREATE FOREIGN TABLE w_$bucket (key1 uuid, key2 uuid, value1 int, value2 int) SERVER f OPTIONS (url 's3://$bucket/w/1/*', format 'csv', header 'true');"
			  . "SELECT count(*), count(DISTINCT key1) FROM w_$bucket"), '20000|20000', "an upload to $bucket");
}
like(sql_error($node, "SELECT * FROM datamill.generate_cdc(10, 10, 1, 1, 0.2, 0.4, 0.4, 's3://down/w/1/', 's3://down/w/2/', server => 'f')"),
	qr/DM002: could not write object "s3:\/\/down\/w\/1\/.*SlowDown/, 'an upload that does not get through');

# A timeout of the option, then of the session, then cancel and terminate. The peer would be silent for 60 s.
make_server($node, 'f', { %options, max_retries => 1 }, \%keys);
like(sql_error($node, 'SELECT * FROM ' . table('stall', 'small.csv')), qr/08006: could not read object "s3:\/\/stall\/small.csv"/, 'option timeout: an object');
like(sql_error($node, 'SELECT * FROM ' . table('stall-list', 'small.csv')), qr/08006: could not list bucket "stall-list"/, 'option timeout: a listing');
make_server($node, 'f', { %options, timeout => '100s', max_retries => 100 }, \%keys);
for my $bucket (qw(stall stall-list down))
{
	my $table = table($bucket, 'small.csv');
	$begin = time;
	like(sql_error($node, "SET statement_timeout = 300; SELECT * FROM $table"), qr/57014: canceling statement due to statement timeout/,
		"statement_timeout: $bucket");
	cmp_ok(time - $begin, '<', 20, 'long before the peer does anything');
}
for my $function (qw(pg_cancel_backend pg_terminate_backend))
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $table = table('stall', 'small.csv');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/start/, "\\echo start\nSELECT count(*) FROM $table;\n");
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die 'not waiting';
	$begin = time;
	$node->safe_psql('postgres', "SELECT $function($pid)");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'");
	cmp_ok(time - $begin, '<', 20, "$function while the peer is silent");
	if ($function eq 'pg_cancel_backend')
	{
		$session->query('SELECT 1');
		like($session->{stderr}, qr/canceling statement due to user request/, 'and the session lives on');
	}
	eval { $session->quit };
}

# No error leaks a connection: a session that fails 50 times has as many files open as before.
my $other = table('other', 'small.csv');
my $loop = "DO \$\$ BEGIN FOR i IN 1..50 LOOP BEGIN PERFORM * FROM $other; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END \$\$";
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query("$loop;");
my $before = () = glob "/proc/$pid/fd/*";
$session->query("$loop;");
my $after = () = glob "/proc/$pid/fd/*";
is($after, $before, 'errors leak no connection');
$session->quit;

# Addresses that hand out credentials are refused, by name of the address; unknown and dead hosts are errors.
for my $host ('169.254.169.254', '[fe80::1]', '[::ffff:169.254.169.254]')
{
	make_server($node, 'f', { %options, endpoint => "http://$host" }, \%keys);
	like(sql_error($node, 'SELECT * FROM ' . table('plain', 'small.csv')), qr/42501: could not list bucket "plain": address \S+ may not be reached/, "address $host");
}
make_server($node, 'f', { %options, endpoint => 'http://127.0.0.1:1' }, \%keys);
like(sql_error($node, 'SELECT * FROM ' . table('plain', 'small.csv')), qr/08001: could not list bucket "plain": .*attempts: 3.*Check the endpoint/s, 'nobody listens');
# Buckets whose requesters pay: every request says so, and signs it.
make_server($node, 'f', \%options, \%keys);
like(sql_error($node, 'SELECT * FROM ' . table('payer', 'small.csv')), qr/42501: could not list bucket "payer": AccessDenied/, 'a bucket whose requesters pay');
make_server($node, 'f', { %options, requester_pays => 'true' }, \%keys);
is(sums(table('payer', 'small.csv')), $small, 'requester_pays');
is(sums(table('payer', 'big.csv')), $big, '... in every range');
$node->stop;
done_testing();
