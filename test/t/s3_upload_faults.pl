# s3_upload_faults.pl: every fault of test/lib/fault_server.py at every kind of request: LIST, GET, PUT and the three of a multipart
# upload. Either the rows are right or there is one clear error, and no upload stays open. Cells of a fault run side by side.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use DmS3;
use HTTP::Tiny;
use IPC::Run qw(start finish);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = warning\nlog_error_verbosity = verbose");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my %faults = start_faults();
my %keys = (access_key_id => 'someid', secret_access_key => 'somesecretkey');
my %options = (endpoint => $faults{http}, part_size => '5MB', max_retries => 2, timeout => '1s');
make_server($node, 'f', \%options, \%keys);
make_server($node, 'h', { %options, max_retries => 0 }, \%keys);
make_server($node, 's', { %options, endpoint => $faults{https}, ca_file => $faults{ca} }, \%keys);

# Rows of two uuids make objects of one PUT, rows of six ones objects of two parts.
my $rows = 25_000;
my %is_big = map { $_ => 1 } qw(create part complete);

# The SQL of a cell, which prints "right" if all is well.
sub cell_sql
{
	my ($server, $operation, $bucket) = @_;
	my $table = "pg_temp.t";
	return "CREATE FOREIGN TABLE $table (id bigint, v bigint) SERVER $server OPTIONS (url 's3://$bucket/big.csv', format 'csv', header 'true');"
	  . "SELECT CASE WHEN (count(*), sum(id), sum(v)) = (200000, 20000100000, 140000700000) THEN 'right' ELSE 'WRONG' END FROM $table"
	  if $operation eq 'list' || $operation eq 'get';
	my ($count, $keys) = $is_big{$operation} ? ($rows, 6) : (100, 2);
	my $columns = join ', ', (map { "key$_ uuid" } 1 .. $keys), 'value1 int', '_file text';
	return "SELECT FROM datamill.generate_cdc($count, $count, $keys, 1, 0.2, 0.4, 0.4, 's3://$bucket/a/', 's3://$bucket/b/', server => '$server', seed => 3);"
	  . "CREATE FOREIGN TABLE $table ($columns) SERVER $server OPTIONS (url 's3://$bucket/*/*', format 'csv', header 'true');"
	  . "SELECT CASE WHEN (count(*), count(DISTINCT (key1, _file))) = (2 * $count, 2 * $count) THEN 'right' ELSE 'WRONG' END FROM $table";
}

# Runs the cells of a fault at once; returns operation => [output, error].
sub run_cells
{
	my ($server, $fault, @operations) = @_;
	my (%result, @runs);
	for my $operation (@operations)
	{
		my ($out, $err) = ('', '');
		$result{$operation} = [ \$out, \$err ];
		my $run = start([ 'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', cell_sql($server, $operation, "$operation-$fault") ],
			'<', \undef, '>', \$out, '2>', \$err);
		push @runs, $run;
	}
	finish($_) for @runs;
	return %result;
}

# Uploads that are open in a bucket.
sub open_uploads
{
	my ($bucket) = @_;
	return scalar(() = HTTP::Tiny->new->get("$faults{http}/$bucket?uploads")->{content} =~ /<UploadId>/g);
}

# fault => what every operation must come to: "right", or the error; [operations] where not all make sense.
my @all = qw(list get put create part complete);
my @matrix = (
	[ 'f', 'reset', 'right' ],
	[ 'f', 'error', 'right' ],
	[ 'f', 'slow', 'right' ],
	[ 'f', 'throttle', 'right' ],
	[ 'f', 'stall', 'right' ],
	[ 'f', 'body', 'right', 'complete' ],
	# The answer is lost after all was done. Of a creation that leaves an upload that nobody knows: empty, and listed by its store.
	[ 'f', 'lost', 'right', qw(list get put part complete) ],
	[ 'f', 'cut', 'right', qw(list get put part complete) ],
	[ 'f', 'length', 'right', qw(list get put part complete) ],
	[ 's', 'tls', 'right', qw(list get put part complete) ],
	[ 'f', 'expired', qr/42501: could not (list|read|write) .*ExpiredToken.*HINT:  Put new temporary credentials/s ],
	[ 'f', 'down', qr/DM002: could not (list|read|write) .*SlowDown.*HTTP status 503, attempts 3/s ],
	[ 'h', 'hang', qr/08006: could not (list|read|write) .*attempts: 1/s ],
);
for my $line (@matrix)
{
	my ($server, $fault, $wanted, @operations) = @$line;
	@operations = @all unless @operations;
	my %result = run_cells($server, $fault, @operations);
	for my $operation (@operations)
	{
		my ($out, $err) = map { $$_ } @{ $result{$operation} };
		if (ref $wanted) { like($err, $wanted, "$fault at $operation: one error"); }
		else { is("$err$out", "right\n", "$fault at $operation: right"); }
		is(() = $err =~ /ERROR:/g, ref $wanted ? 1 : 0, 'and one only') if $err =~ /ERROR:.*ERROR:/s;
		is(open_uploads("$operation-$fault"), 0, "$fault at $operation: no upload stays open") if $is_big{$operation};
	}
}

# TLS: a certificate that nobody vouches for is one error, at once and without another try.
make_server($node, 'u', { %options, endpoint => $faults{https} }, \%keys);
for my $operation (qw(list part))
{
	like(sql_error($node, cell_sql('u', $operation, 'plain')), qr/08001: could not (list|write) .*HINT:  Set option ca_file/s, "unknown authority: $operation");
}

# An upload that cannot be aborted is named in a warning, and the statement's own error stays.
my $error = sql_error($node, cell_sql('f', 'part', 'part-expired.abort-down'));
like($error, qr{42501: could not write part \d of object "s3://part-expired\.abort-down/a/part-00000\.csv": ExpiredToken}, 'an abort that fails: the error');
like($error, qr{WARNING:  01000: could not abort the upload of object "s3://part-expired\.abort-down/a/part-00000\.csv"\s+DETAIL:  Upload id \S+, HTTP status 503; left open: 1\.}, 'and a warning');
is(open_uploads('part-expired.abort-down'), 1, 'it is open indeed');
my $begin = time;
like(sql_error($node, cell_sql('f', 'part', 'part-expired.abort-hang')), qr/WARNING:.*Upload id \S+, Timeout was reached; left open: 1/s, 'an abort without an answer');
cmp_ok(time - $begin, '<', 20, 'is not waited for');
like(sql_error($node, cell_sql('f', 'part', 'part-expired.abort-slow')), qr/ExpiredToken(?!.*WARNING)/s, 'an abort is tried twice');

# Who cancels does not wait for a silent store, at none of the steps, and no upload stays open.
make_server($node, 'c', { %options, timeout => '100s', max_retries => 100 }, \%keys);
for my $operation (qw(put create part complete))
{
	$begin = time;
	like(sql_error($node, "SET statement_timeout = 1000; " . cell_sql('c', $operation, "$operation-hang.c")), qr/57014: canceling statement due to statement timeout/,
		"statement_timeout: $operation");
	cmp_ok(time - $begin, '<', 20, 'long before the store does anything');
	is(open_uploads("$operation-hang.c"), 0, 'no upload stays open');
}

# An object is made, but not replaced: a lost answer makes a try find its own object, which is known by its etag. Of no bytes it is one PUT.
sub unload
{
	my ($url, $query) = @_;
	return "SELECT files, rows FROM datamill.unload(" . quote($query) . ", 's3://$url/x', '{\"server\": \"f\", \"header\": false, \"empty\": \"file\"}')";
}
my $rows_of_6mb = "SELECT repeat(md5(g::text), 32) FROM generate_series(1, 6000) g";
for my $bucket (qw(complete-lost.m complete-cut.m complete-nolock.m complete-unknown.m))
{
	is($node->safe_psql('postgres', unload($bucket, $rows_of_6mb)), '1|6000', "a new object of parts: $bucket");
}
for my $bucket (qw(put-lost.n put-cut.n put-unknown.n))
{
	is($node->safe_psql('postgres', unload($bucket, 'SELECT 1 WHERE false')), '1|0', "a new object without bytes: $bucket");
}
# What appears while ours is being made stays, also where If-None-Match is ignored. (pg_sleep holds the rows back.)
for my $bucket (qw(plain.race complete-nolock.race))
{
	my ($out, $err) = ('', '');
	my $run = start([ 'psql', '-XqAt', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', unload($bucket, "$rows_of_6mb UNION ALL SELECT 'end' FROM pg_sleep(1.5)") ],
		'<', \undef, '>', \$out, '2>', \$err);
	for (1 .. 300)
	{
		last if open_uploads($bucket);
		select undef, undef, undef, 0.05;
	}
	HTTP::Tiny->new->request('PUT', "$faults{http}/$bucket/x00000.csv", { content => 'theirs', headers => { 'x-amz-content-sha256' => sha256_hex('theirs') } });
	finish($run);
	like($err, qr{42710: object "s3://\Q$bucket\E/x00000\.csv" already exists.*HINT}s, "another writer was first: $bucket");
	is(HTTP::Tiny->new->get("$faults{http}/$bucket/x00000.csv")->{content}, 'theirs', 'and its object stays');
	is(open_uploads($bucket), 0, 'no upload stays open');
}
$node->stop;
done_testing();
