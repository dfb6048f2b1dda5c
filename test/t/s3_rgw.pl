# s3_rgw.pl: objects on a real S3 server (Ceph RGW), plain and over TLS, in both URL styles. Objects are written and checked
# by test/lib/s3.py, which signs with its own code.
use strict;
use warnings;
use utf8;
use DmS3;
use Encode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my %keys = (access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key');
my %styles = (
	plain_path => { endpoint => $rgw{http}, url_style => 'path' },
	plain_virtual => { endpoint => "http://s3.localhost:$rgw{port}", url_style => 'virtual' },
	tls_path => { endpoint => $rgw{https}, ca_file => $rgw{ca} },
	tls_virtual => { endpoint => "https://s3.localhost:$rgw{tls_port}", url_style => 'virtual', ca_file => $rgw{ca} },
);
make_server($node, $_, $styles{$_}, \%keys) for sort keys %styles;
s3('mb', 'retail');
s3('many', 'retail', 'lots/', 2500);

# Makes foreign table t over a URL.
sub table
{
	my ($server, $url, $columns, $options) = @_;
	$columns //= 'id bigint, v bigint';
	$options //= "format 'csv', header 'true'";
	$node->safe_psql('postgres', "SET client_min_messages = error; DROP FOREIGN TABLE IF EXISTS t; CREATE FOREIGN TABLE t ($columns) SERVER $server OPTIONS (url "
		  . quote($url) . ", $options)");
	return 't';
}

# The error of a scan.
sub scan_error
{
	my ($server, $url) = @_;
	table($server, $url // 's3://retail/lots/00001.csv');
	return sql_error($node, 'SELECT count(*) FROM t');
}

# 2,500 objects: three pages of the listing. The sum is that of the squares below 2500.
for my $server (sort keys %styles)
{
	table($server, 's3://retail/lots/*.csv');
	is($node->safe_psql('postgres', 'SELECT count(*), sum(id), sum(v) FROM t'), '2500|3123750|5205208750', "2,500 objects: $server");
}
table('plain_path', 's3://retail/lots/*.csv', 'id bigint, v bigint, _file text, _etag text, _size bigint');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT _file), count(DISTINCT _etag), min(_size), max(_size) FROM t'), '2500|2500|2500|9|18',
	'each with its own name and etag');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT _file, lag(_file) OVER () AS before FROM t) x WHERE _file COLLATE "C" <= before'), '0',
	'in byte order');
table('plain_path', 's3://retail/lots/{0000[1-3],02499}.csv');
is($node->safe_psql('postgres', 'SELECT array_agg(id ORDER BY id) FROM t'), '{1,2,3,2499}', 'a glob');
like(scan_error('plain_path', 's3://retail/nothing/*.csv'), qr/ERROR:  \w{5}: .*no object/i, 'no object is an error');

# Keys with everything in them. Written by the other client, then by ours and read back by the other.
my @keys = ('sp ace.csv', 'pl+us.csv', 'per%cent%20.csv', 'ünï/☃/𝄞.csv', 'a//b.csv', '/lead.csv', 'trail/', './dot.csv', 'x/../y.csv', 'q?x=1&y#z.csv',
	'eq=1/k:v;w,u@h.csv', q{quo'te"`.csv}, 'lt<&>amp;.csv', "br{a}ck[]et(1)*!~\$.csv", 'back\\slash|^.csv', 'k' x 1000, "new\nline\tand\x01.csv");
s3('mb', 'odd');
my $i = 0;
s3('put', 'odd', encode('UTF-8', $_), "id,v\n" . ++$i . ",0\n") for @keys;
for my $server (qw(plain_path tls_virtual))
{
	table($server, 's3://odd/**', 'id bigint, v bigint, _file text');
	my $got = $node->safe_psql('postgres', q{SELECT string_agg(encode(convert_to(_file, 'UTF8'), 'hex'), ',' ORDER BY id) FROM t});
	is($got, join(',', map { unpack 'H*', encode('UTF-8', "s3://odd/$_") } @keys), "odd keys: $server");
}
s3('mb', 'made');
for my $folder ("day 1+%é", 'a//b', '.')
{
	$node->safe_psql('postgres', 'SELECT * FROM datamill.generate_cdc(10, 10, 1, 1, 0.2, 0.4, 0.4, '
		  . quote(encode('UTF-8', "s3://made/$folder/1/")) . ', ' . quote(encode('UTF-8', "s3://made/$folder/2/")) . ", server => 'plain_path')");
	is(scalar(() = s3('get', 'made', encode('UTF-8', "$folder/1/part-00000.csv")) =~ /\n/g), 11, 'an object that we wrote under ' . encode('UTF-8', $folder));
}

# Sizes: nothing, and more than the upload's buffer and several parts.
s3('put', 'odd', 'empty', '');
table('plain_path', 's3://odd/empty', 'id text', "format 'csv'");
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '0', 'an object of no bytes');
$node->safe_psql('postgres', "ALTER SERVER plain_path OPTIONS (ADD part_size '1MB')");
$node->safe_psql('postgres', "SELECT * FROM datamill.generate_cdc(100000, 100000, 2, 3, 0.2, 0.4, 0.4, 's3://made/big/1/', 's3://made/big/2/', server => 'plain_path')");
table('plain_path', 's3://made/big/1/*', 'key1 uuid, key2 uuid, value1 int, value2 int, value3 int');
my $from_s3 = $node->safe_psql('postgres', "SELECT count(*), sum(value1::bigint), sum(hashtextextended(t::text, 0)) FROM t");
my $file = PostgreSQL::Test::Utils::tempdir() . '/big.csv';
append_to_file($file, s3('get', 'made', 'big/1/part-00000.csv'));
cmp_ok(-s $file, '>', 5_000_000, 'a big object');
$node->safe_psql('postgres', "CREATE TABLE big (LIKE t); COPY big FROM '$file' WITH (FORMAT csv, HEADER)");
is($from_s3, $node->safe_psql('postgres', "SELECT count(*), sum(value1::bigint), sum(hashtextextended(big::text, 0)) FROM big"), 'is what COPY reads');

# Loads: the same rows, each object once. An object written anew with the same bytes is the same, with others it has changed.
my $options = q{options => '{"server": "plain_path"}'};
$node->safe_psql('postgres', "CREATE TABLE loaded (LIKE t); SELECT datamill.load('s3://made/big/1/*', 'loaded', $options)");
is($node->safe_psql('postgres', '(TABLE loaded EXCEPT ALL TABLE big) UNION ALL (TABLE big EXCEPT ALL TABLE loaded)'), '', 'a load');
s3('put', 'made', 'once.csv', "id,v\n1,2\n");
$node->safe_psql('postgres', 'CREATE TABLE once (id int, v int)');
my $load_once = "SELECT files, files_skipped, rows FROM datamill.load('s3://made/once.csv', 'once', $options)";
is($node->safe_psql('postgres', $load_once), '1|0|1', 'a load of one object');
s3('put', 'made', 'once.csv', "id,v\n1,2\n");
is($node->safe_psql('postgres', $load_once), '0|1|0', 'the same bytes written anew');
s3('put', 'made', 'once.csv', "id,v\n1,3\n");
like(sql_error($node, $load_once), qr{55000: object "s3://made/once.csv" has changed since it was loaded.*on_changed}s, 'other bytes');

# An object that is replaced, or removed, between two fetches of a cursor: never a mix of two versions.
$node->safe_psql('postgres', "ALTER SERVER plain_path OPTIONS (SET part_size '64kB', ADD max_concurrency '1')");
for my $change ([ 'put', 'made', 'big/1/part-00000.csv', "key1,key2,value1,value2,value3\n" ], [ 'rm', 'made', 'big/1/part-00000.csv' ])
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM t; FETCH 10 FROM c');
	s3(@$change);
	$session->query("\\set VERBOSITY verbose\nFETCH ALL FROM c");
	like($session->{stderr}, qr/DM001: object "s3:\/\/made\/big\/1\/part-00000.csv" was (replaced|removed)/, "an object in mid-scan: $change->[0]");
	$session->quit;
	$node->safe_psql('postgres', "SELECT * FROM datamill.generate_cdc(100000, 100000, 2, 3, 0.2, 0.4, 0.4, 's3://made/big/1/', 's3://made/big/2/', server => 'plain_path')");
}

# Who may not. No error says a secret.
like(scan_error('plain_path', 's3://nobody/x.csv'), qr/42704: could not list bucket "nobody": NoSuchBucket.*HINT/s, 'an unknown bucket');
like(scan_error('plain_path', 's3://*/x.csv'), qr/22023: invalid bucket name "\*"/, 'a wildcard in the bucket');
my $secret = 'wrongwrongwrong';
make_server($node, 'bad', $styles{tls_path}, { %keys, secret_access_key => $secret });
like(scan_error('bad'), qr/42501: could not list bucket "retail": SignatureDoesNotMatch.*secret_access_key of the user mapping/s, 'a wrong secret');
make_server($node, 'bad', $styles{plain_path}, { %keys, access_key_id => 'NOSUCHKEY' });
like(scan_error('bad'), qr/42501: .*InvalidAccessKeyId.*access_key_id of the user mapping/s, 'an unknown key');
make_server($node, 'bad', $styles{plain_path}, { access_key_id => 'RGWOTHERKEY', secret_access_key => 'othersecret' });
like(scan_error('bad'), qr/42501: .*AccessDenied/s, "another user's bucket");
make_server($node, 'bad', { %{ $styles{plain_path} }, credentials => 'anonymous' });
like(scan_error('bad'), qr/42501: .*AccessDenied/s, 'anonymous');
make_server($node, 'bad', $styles{plain_path});
like(scan_error('bad'), qr/42704: no credentials for server "bad".*CREATE USER MAPPING FOR .* SERVER bad OPTIONS/s, 'no user mapping');
make_server($node, 'bad', { %{ $styles{plain_path} }, buckets => 'lake-*,made' }, \%keys);
like(scan_error('bad'), qr/42501: server "bad" does not allow bucket "retail"/, 'a bucket that is not on the list');
table('bad', 's3://made/big/2/*', 'key1 uuid, key2 uuid, value1 int, value2 int, value3 int');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '100000', 'a bucket that is');

# TLS: an authority that did not sign, a name that is not in the certificate, plain text to a TLS port.
my $dir = PostgreSQL::Test::Utils::tempdir();
system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other -keyout $dir/k -out $dir/ca.pem 2>/dev/null");
make_server($node, 'bad', { %{ $styles{tls_path} }, ca_file => "$dir/ca.pem" }, \%keys);
like(scan_error('bad'), qr/08001: could not list bucket "retail": .*certificate.*HINT: .*ca_file/s, 'another authority');
make_server($node, 'bad', { endpoint => $styles{tls_path}{endpoint} }, \%keys);
like(scan_error('bad'), qr/08001: .*certificate.*ca_file/s, 'no ca_file');
make_server($node, 'bad', { %{ $styles{tls_path} }, ca_file => "$dir/none.pem" }, \%keys);
like(scan_error('bad'), qr/08001: .*ca_file of the server must name a PEM file/s, 'a ca_file that is not there');
make_server($node, 'bad', { %{ $styles{tls_path} }, endpoint => "https://other.localhost:$rgw{tls_port}" }, \%keys);
like(scan_error('bad'), qr/08001: .*(subject|host)/s, 'another host name');
make_server($node, 'bad', { endpoint => "https://127.0.0.1:$rgw{port}" }, \%keys);
like(scan_error('bad'), qr/ERROR:  08\w{3}: /, 'TLS to a plain port');

# Temporary credentials, while they last and after. RGW is set to allow two seconds.
my ($id, $temporary, $token) = split /\n/, s3('sts', 3);
make_server($node, 'temporary', $styles{plain_path}, { access_key_id => $id, secret_access_key => $temporary, session_token => $token });
table('temporary', 's3://retail/lots/00007.csv');
is($node->safe_psql('postgres', 'SELECT v FROM t'), '49', 'temporary credentials');
my $error = '';
for (1 .. 20)
{
	sleep 1;
	$error = sql_error($node, 'SELECT v FROM t');
	last if $error !~ /no error/;
}
like($error, qr/42501: could not list bucket "retail": (ExpiredToken|InvalidAccessKeyId).*HINT: .*(expired|new temporary credentials)/s, 'that have expired');

my $log = slurp_file($node->logfile);
$log =~ s/^.*(LOG:  statement:|STATEMENT:).*(\n\t.*)*//mg;
unlike($log, qr/\Q$_\E/, 'the log has no secret') for ($keys{secret_access_key}, $secret, $temporary, $token, 'othersecret', 'Signature=');
$node->stop;
done_testing();
