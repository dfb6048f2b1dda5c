# s3_upload.pl: what the parts of an upload look like on a real S3 server (Ceph RGW), and that none are left there, whatever ends the
# statement. Checked by test/lib/s3.py, which asks the server itself (ListMultipartUploads).
use strict;
use warnings;
use DmCrash;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my %keys = (access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key');
make_server($node, 'r', { endpoint => $rgw{http}, part_size => '5MB' }, \%keys);
make_server($node, 't', { endpoint => "https://s3.localhost:$rgw{tls_port}", url_style => 'virtual', ca_file => $rgw{ca}, part_size => '5MB' }, \%keys);
my $root = PostgreSQL::Test::Utils::tempdir();
mkdir "$root/local";
make_server($node, 'l', { endpoint => "file://$root" });
s3('mb', 'bucket');

# SQL that writes two objects of a million rows each, far longer than a part, under a prefix.
sub generate
{
	my ($prefix, $server, $rows) = @_;
	$rows //= 1_000_000;
	return "SELECT sum(records) FROM datamill.generate_cdc($rows, $rows, 2, 3, 0.2, 0.4, 0.4, 's3://$prefix/1/', 's3://$prefix/2/', server => '$server', seed => 5)";
}

# The same bytes through the S3 store and the local one, which has no parts.
$node->safe_psql('postgres', generate('local', 'l', 150_000));
my $whole = slurp_file("$root/local/1/part-00000.csv");
cmp_ok(length $whole, '>', 15_000_000, 'more than three parts');
for my $server (qw(r t))
{
	$node->safe_psql('postgres', generate("bucket/$server", $server, 150_000));
	ok(s3('get', 'bucket', "$server/1/part-00000.csv") eq $whole, "an object of parts is what was written: $server");
}
like(s3('head', 'bucket', 'r/1/part-00000.csv'), qr/^etag: "[0-9a-f]{32}-3"$/m, 'of three parts');
is(s3('uploads', 'bucket'), '', 'nothing stays open');
make_server($node, 'small', { endpoint => $rgw{http}, part_size => '64kB', max_concurrency => 1 }, \%keys);
$node->safe_psql('postgres', 'SET datamill.prefetch_memory = \'1MB\'; ' . generate('bucket/small', 'small', 150_000));
ok(s3('get', 'bucket', 'small/1/part-00000.csv') eq $whole, 'a part_size below the minimum, no memory, no concurrency');

# All parts but the last are equal: seen while the upload is under way.
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');

# Starts an upload in the session and waits until it has parts on the server. Returns id and key.
sub start_upload
{
	my ($prefix, $before) = @_;
	$before //= '';
	$session->query_until(qr/start/, "$before\\echo start\n" . generate("bucket/$prefix", 'r', 20_000_000) . ";\n");
	for (1 .. 600)
	{
		my ($id, $key) = split ' ', s3('uploads', 'bucket');
		return ($id, $key) if $id && split(' ', s3('parts', 'bucket', $key, $id)) >= 3;
		select undef, undef, undef, 0.05;
	}
	die 'no upload';
}

# Waits until the session's statement is over.
sub wait_end
{
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'") or die 'still active';
	return;
}

my ($id, $key) = start_upload('equal');
my @sizes = split ' ', s3('parts', 'bucket', $key, $id);
is(scalar(grep { $_ != 5 * 1024 * 1024 } @sizes), 0, 'parts are of equal size');
unlike(scalar($node->safe_psql('postgres', "SELECT string_agg(query, '') FROM pg_stat_activity")), qr/\Q$id/, 'no id shows');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
wait_end();
is(s3('uploads', 'bucket'), '', 'pg_cancel_backend: nothing stays open');
like($session->query('SELECT 42'), qr/42/, 'and the session lives on');

# A savepoint: gone when it is rolled back to, not when the transaction ends.
start_upload('savepoint', "BEGIN;\nSAVEPOINT s;\n");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$session->query_until(qr/done/, "ROLLBACK TO s;\n\\echo done\n");
is($node->safe_psql('postgres', "SELECT state FROM pg_stat_activity WHERE pid = $pid"), 'idle in transaction', 'the transaction goes on');
is(s3('uploads', 'bucket'), '', 'ROLLBACK TO SAVEPOINT: nothing stays open');
like($session->query("COMMIT;\nSELECT 43"), qr/43/, 'and commits');

# An exception that PL/pgSQL catches.
my ($status, $out, $err) = $node->psql('postgres', "SET statement_timeout = 2000; DO \$\$ BEGIN PERFORM 1 FROM (" . generate('bucket/caught', 'r', 20_000_000)
	  . ") x; EXCEPTION WHEN query_canceled THEN RAISE NOTICE 'caught'; END \$\$");
like($err, qr/NOTICE:  caught/, 'an error that is caught');
is(s3('uploads', 'bucket'), '', 'nothing stays open');
like(sql_error($node, 'SET statement_timeout = 1500; ' . generate('bucket/timeout', 'r', 20_000_000)), qr/57014: canceling statement due to statement timeout/, 'statement_timeout');
is(s3('uploads', 'bucket'), '', 'nothing stays open');

# An error of the rows themselves, after some parts.
like(sql_error($node, q{SELECT * FROM datamill.unload('SELECT repeat(md5(g::text), 32), 1 / (20000 - g) FROM generate_series(1, 30000) g', 's3://bucket/failed/', '{"server": "r"}')}),
	qr/22012: division by zero/, 'an error in mid-upload');
is(s3('uploads', 'bucket'), '', 'nothing stays open');

# Sealed files that nobody publishes: the error comes after the first twenty.
like(sql_error($node, q{SELECT * FROM datamill.unload('SELECT repeat(md5(g::text), 32), 1 / (20000 - g) FROM generate_series(1, 30000) g', 's3://bucket/failed/', '{"server": "r", "max_file_size": "1MB"}')}),
	qr/22012: division by zero/, 'an error after sealed files');
is(s3('uploads', 'bucket'), '', 'nothing stays open');

# What was there is removed after all is published, several at once, and only there.
s3('many', 'bucket', 'clean/old', 60);
s3('many', 'bucket', 'cleaner', 1);
is($node->safe_psql('postgres', q{SELECT files FROM datamill.unload('SELECT 1 AS a', 's3://bucket/clean/', '{"server": "r", "overwrite": "clean"}')}), '1', 'overwrite clean');
is(join(' ', grep { /^clean/ } split /\n/, s3('ls', 'bucket')), 'clean/00000.csv cleaner00000.csv', 'nothing else is left');
s3('rm', 'bucket', $_) for qw(clean/00000.csv cleaner00000.csv);

start_upload('terminated');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid") or die 'alive';
is(s3('uploads', 'bucket'), '', 'pg_terminate_backend: nothing stays open');
eval { $session->quit };
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_tmpdir()"), '0', 'no temporary file');
my $keys_left = join ' ', grep { !m{^(r|t|small)/} } split /\n/, s3('ls', 'bucket');
is($keys_left, '', 'and no object of any of them appeared');

# A process that is killed leaves its parts; abort_uploads() finds them, page by page, and leaves the others alone.
$session = $node->background_psql('postgres', on_error_stop => 0);
$pid = $session->query_safe('SELECT pg_backend_pid()');
start_upload('killed/a+b%');
my $checkpointer = checkpointer_of($node);
kill 'KILL', $pid;
eval { $session->quit };
wait_for_restart($node, $checkpointer, 1);
is(scalar(() = s3('uploads', 'bucket') =~ /\n/g), 1, 'SIGKILL: an upload stays open');
s3('begin', 'bucket', 'killed/lots/', 1100);
s3('begin', 'bucket', 'other/', 1);
my $abort = "FROM datamill.abort_uploads('s3://bucket/killed/', server => 'r'";
is($node->safe_psql('postgres', "SELECT count(*) $abort)"), '0', 'abort_uploads: none is a day old');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT upload_id), bool_and(bucket = 'bucket' AND initiated BETWEEN now() - interval '1 hour' AND now()) $abort, older_than => '0 s', dry_run => true)"),
	'1101|1101|t', 'a dry run lists all');
is($node->safe_psql('postgres', "SELECT count(*), min(key) $abort, older_than => '0 s')"), '1101|killed/a+b%/1/part-00000.csv', 'all are aborted');
like(s3('uploads', 'bucket'), qr{^\S+ other/00000\n\z}, 'but for the one elsewhere');
is($node->safe_psql('postgres', "SELECT count(*) $abort, older_than => '0 s')"), '0', 'and are gone');
append_to_file("$root/local/1/.datamill-upload-42", 'x');
append_to_file("$root/local/1/.datamill", 'x');
is($node->safe_psql('postgres', "SELECT key, upload_id FROM datamill.abort_uploads('s3://local/', '0 s', 'l')"), '1/|.datamill-upload-42', 'abort_uploads: a local folder');
is(join(' ', sort map { s{.*/}{}r } glob "$root/local/1/* $root/local/1/.d*"), '.datamill part-00000.csv', 'nothing else is removed');
$node->safe_psql('postgres', 'CREATE ROLE nobody; GRANT USAGE ON SCHEMA datamill TO nobody');
like(sql_error($node, "SET ROLE nobody; SELECT count(*) $abort)"), qr/42501: permission denied for function abort_uploads/, 'who may not call it');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION datamill.abort_uploads TO nobody');
like(sql_error($node, "SET ROLE nobody; SELECT count(*) $abort)"), qr/42501: permission denied for foreign server r/, 'who may not use the server');
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER l TO nobody');
like(sql_error($node, "SET ROLE nobody; SELECT datamill.abort_uploads('s3://local/', server => 'l')"), qr/42501: permission denied to write to the directory/, 'who may not write');
like(sql_error($node, "SELECT datamill.abort_uploads('s3://nosuch/', server => 'r')"), qr/42704: could not list the uploads of bucket "nosuch": NoSuchBucket/, 'an unknown bucket');
like(sql_error($node, 'SELECT datamill.abort_uploads(NULL)'), qr/22004: argument url of abort_uploads must not be NULL/, 'NULL');
$node->stop;
done_testing();
