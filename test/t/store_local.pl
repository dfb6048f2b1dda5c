# store_local.pl: a local directory as an object store: what it lists, what it never reaches, and how it writes.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my $root = PostgreSQL::Test::Utils::tempdir() . '/buckets';
mkdir $root;
mkdir "$root/b";
make_server($node, 'l', { endpoint => "file://$root" });

# Writes a file below the root, with its folders.
sub write_file
{
	my ($key, $text) = @_;
	my $folder = '';
	$folder .= "/$_", mkdir "$root$folder" for (split m{/}, $key)[ 0 .. ($key =~ tr{/}{}) - 1 ];
	open my $file, '>', "$root/$key" or die "$key: $!";
	print $file $text;
	close $file;
	return;
}

# Foreign table t over a URL.
sub table
{
	my ($url, $columns) = @_;
	$columns //= 'id bigint, _file text';
	$node->safe_psql('postgres', 'SET client_min_messages = error; DROP FOREIGN TABLE IF EXISTS t;'
		  . "CREATE FOREIGN TABLE t ($columns) SERVER l OPTIONS (url " . quote($url) . ", format 'csv', header 'true')");
	return;
}

# The keys that a URL matches, in the order in which they are read.
sub keys_of
{
	my ($url) = @_;
	table($url);
	return $node->safe_psql('postgres', "SELECT string_agg(replace(_file, 's3://b/', ''), ' ') FROM t");
}

# The order of S3: bytes of the whole key, so that a-b comes before a/1 though the folder is called a. Sorted by LC_ALL=C sort.
write_file("b/$_", "id\n1\n") for ('a/1', 'a-b', 'a.d/2', 'ab', 'B', 'sub/x/4.csv', 'sub/5.csv', 'z e+%', '.hidden');
is(keys_of('s3://b/**'), '.hidden B a-b a.d/2 a/1 ab sub/5.csv sub/x/4.csv z e+%', 'keys in byte order');
is(keys_of('s3://b/**/*.csv'), 'sub/5.csv sub/x/4.csv', 'a glob over folders');
is(keys_of('s3://b/a*'), 'a-b ab', 'a star stays in its step');
is(keys_of('s3://b/sub/x/4.csv'), 'sub/x/4.csv', 'one key');

# Nothing outside is reached: links are no objects and no folders.
my $outside = PostgreSQL::Test::Utils::tempdir() . '/outside';
mkdir $outside;
append_to_file("$outside/secret.csv", "id\n4242424242\n");
symlink "$outside/secret.csv", "$root/b/link.csv";
symlink $outside, "$root/b/linked";
symlink $outside, "$root/linkedbucket";
is(keys_of('s3://b/**/*.csv'), 'sub/5.csv sub/x/4.csv', 'links are not listed');
for my $url ('s3://b/link.csv', 's3://b/linked/secret.csv', 's3://b/../outside/secret.csv', 's3://b/./ab', 's3://linkedbucket/secret.csv', 's3://../outside/secret.csv')
{
	table($url);
	like(sql_error($node, 'SELECT * FROM t'), qr/ERROR:  (?!XX)\w{5}: /, "an error: $url");
	unlike(sql_error($node, 'SELECT * FROM t'), qr/4242424242/, 'that shows nothing of it');
}
table('s3://nobody/x.csv');
like(sql_error($node, 'SELECT * FROM t'), qr/42704: bucket "nobody" does not exist/, 'an unknown bucket');

# Writing: new folders, a whole file or none, over an object that is there.
my $generate = "SELECT * FROM datamill.generate_cdc(100, 100, 1, 1, 0.2, 0.4, 0.4, 's3://b/%s/1/', 's3://b/%s/2/', server => 'l')";
$node->safe_psql('postgres', sprintf $generate, 'new/deep', 'new/deep') for 1 .. 2;
is(scalar(() = slurp_file("$root/b/new/deep/1/part-00000.csv") =~ /\n/g), 101, 'an object in a new folder');
for my $key ('linked/x', 'a/../../x', 'ab/x', 'x/./y')
{
	like(sql_error($node, sprintf $generate, $key, $key), qr/22023: key "\Q$key\E\S+" cannot be a file of a local directory/, "no object $key");
}
is_deeply([ glob "$outside/*" ], ["$outside/secret.csv"], 'nothing was written outside');
like(sql_error($node, sprintf $generate, ('x' x 300) x 2), qr/22023: /, 'a name that is too long');
my $big = "SET statement_timeout = 200; SELECT * FROM datamill.generate_cdc(50000000, 50000000, 5, 10, 0.2, 0.4, 0.4, 's3://b/big/1/', 's3://b/big/2/', server => 'l')";
like(sql_error($node, $big), qr/57014: /, 'an upload that is cancelled');
is_deeply([ glob "$root/b/big/1/{.d,}*" ], [], 'leaves nothing behind');
like(sql_error($node, sprintf $generate, 'a', '../x'), qr/22023/, 'the second of two uploads fails');

# Rights: the owner of the server must be able to write files here, and so must whoever calls.
$node->safe_psql('postgres', q{CREATE ROLE reader LOGIN; GRANT pg_read_server_files TO reader; GRANT USAGE ON FOREIGN SERVER l TO reader;
	GRANT USAGE ON SCHEMA datamill TO reader; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA datamill TO reader});
$node->safe_psql('postgres', 'ALTER SERVER l OWNER TO reader');
like(sql_error($node, sprintf $generate, 'r', 'r'), qr/42501: permission denied to write to the directory of server "l".*pg_write_server_files/s, 'an owner who may only read');
$node->safe_psql('postgres', 'GRANT pg_write_server_files TO reader');
$node->safe_psql('postgres', sprintf $generate, 'r', 'r');
$node->safe_psql('postgres', q{CREATE ROLE analyst; GRANT USAGE ON FOREIGN SERVER l TO analyst});
my $as_analyst = 'SET ROLE analyst; ' . sprintf($generate, 'r', 'r');
like(sql_error($node, $as_analyst), qr/42501: permission denied to write to the directory of server "l".*USAGE on the server is for reading/s, 'a caller who may only read');
$node->safe_psql('postgres', 'GRANT pg_write_server_files TO analyst');
$node->safe_psql('postgres', $as_analyst);

# A file that is replaced, written to or removed between listing and its end.
my @changes = ([ 'removed', sub { unlink "$root/b/big.csv" } ], [ 'replaced', sub { rename "$root/b/other.csv", "$root/b/big.csv" } ],
	[ 'replaced', sub { append_to_file("$root/b/big.csv", "1\n") } ]);
for my $change (@changes)
{
	write_file('b/big.csv', "id\n" . join('', map { "$_\n" } 1 .. 200000));
	write_file('b/other.csv', "id\n" . join('', map { "$_\n" } 1 .. 200000));
	write_file('b/aa.csv', "id\n1\n2\n3\n");
	table('s3://b/{aa,big}.csv');
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 1 FROM c');
	$change->[1]->();
	$session->query("\\set VERBOSITY verbose\nFETCH ALL FROM c");
	like($session->{stderr}, qr/DM001: object "s3:\/\/b\/big.csv" was $change->[0]/, "a file before it is opened: $change->[0]");
	$session->quit;
}
write_file('b/big.csv', "id\n" . join('', map { "$_\n" } 1 .. 200000));
table('s3://b/big.csv');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 1 FROM c');
write_file('b/big.csv', "id\n" . join('', map { "$_\n" } 2 .. 200001));
$session->query("\\set VERBOSITY verbose\nFETCH ALL FROM c");
like($session->{stderr}, qr/DM001: object "s3:\/\/b\/big.csv" was replaced/, 'a file that is rewritten in mid-scan');
$session->quit;

# Errors leak no file.
$session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
append_to_file("$root/b/bad.csv", "id\nx\n");
$node->safe_psql('postgres', "CREATE FOREIGN TABLE bad (id bigint) SERVER l OPTIONS (url 's3://b/{bad,a-b}*', format 'csv', header 'true')");
my $loop = 'DO $$ BEGIN FOR i IN 1..50 LOOP BEGIN PERFORM id FROM bad; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;';
$session->query($loop);
my $before = () = glob "/proc/$pid/fd/*";
$session->query($loop);
my $after = () = glob "/proc/$pid/fd/*";
is($after, $before, 'errors leak no file');
$session->quit;

# What does not become whole leaves nothing: an error of the rows, a full disk (here: a limit on the size of files), termination.
my $failing = q{SELECT * FROM datamill.unload('SELECT repeat(md5(g::text), 32), 1 / (20000 - g) FROM generate_series(1, 30000) g', 's3://b/failed/x', '{"server": "l", "max_file_size": "1MB"}')};
like(sql_error($node, $failing), qr/22012: division by zero/, 'an error in mid-upload');
is(join(' ', glob "$root/b/failed/* $root/b/failed/.d*"), '', 'leaves no file');
my $huge = "SELECT * FROM datamill.generate_cdc(20000000, 20000000, 2, 3, 0.2, 0.4, 0.4, 's3://b/huge/1/', 's3://b/huge/2/', server => 'l')";
for my $how (qw(limit terminate))
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my @temp;
	system('prlimit', '--pid', $pid, '--fsize=100000') == 0 or die 'prlimit' if $how eq 'limit';
	$session->query_until(qr/start/, "\\echo start\n$huge;\n");
	if ($how eq 'terminate')
	{
		for (1 .. 600)
		{
			last if @temp = glob "$root/b/huge/1/.datamill-upload-*";
			select undef, undef, undef, 0.05;
		}
		is(scalar(@temp), 1, 'a temporary file while it is written');
		is(keys_of('s3://b/{huge,sub}/**'), 'sub/5.csv sub/x/4.csv', 'that no listing shows');
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	}
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'") or die 'still active';
	if ($how eq 'limit')
	{
		$session->query('SELECT 1');
		like($session->{stderr}, qr{could not write object "s3://b/huge/1/part-00000.csv": File too large}, 'no room for more');
	}
	is(join(' ', glob "$root/b/huge/1/* $root/b/huge/1/.d*"), '', "leaves no file: $how");
	eval { $session->quit };
}
$node->stop;
done_testing();
