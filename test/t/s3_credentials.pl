# s3_credentials.pl: keys that do not come from a user mapping, against a real S3 server (Ceph RGW).
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my @names = qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN);
s3('mb', 'retail');
s3('many', 'retail', 'lots/', 10);
my ($id, $temporary, $token) = split /\n/, s3('sts', 900);
delete @ENV{@names};
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE ROLE plain');

# Restarts the cluster with these values in its environment.
sub restart_with
{
	my @values = @_;
	delete local @ENV{@names};
	$ENV{ $names[$_] } = $values[$_] for 0 .. $#values;
	$node->restart;
	return;
}

# Makes server host with credentials 'env' and table t on it.
make_server($node, 'host', { endpoint => $rgw{http}, credentials => 'env' });
$node->safe_psql('postgres', "CREATE FOREIGN TABLE t (id bigint, v bigint) SERVER host OPTIONS (url 's3://retail/lots/*.csv', format 'csv', header 'true')");
my $query = 'SELECT count(*), sum(v) FROM t';

like(sql_error($node, $query), qr/42704: no credentials for server "host" in the environment.*AWS_ACCESS_KEY_ID is not set.*HINT: .*restart/s, 'nothing is set');
restart_with('RGWTESTKEY');
like(sql_error($node, $query), qr/42704: .*AWS_SECRET_ACCESS_KEY is not set/s, 'only the id is set');
restart_with('RGWTESTKEY', 'rgw/test+secret=key');
is($node->safe_psql('postgres', $query), '10|285', 'keys of the environment');
restart_with('RGWTESTKEY', 'wrongwrongwrong');
like(sql_error($node, $query), qr/42501: .*SignatureDoesNotMatch.*HINT: .*database server's environment/s, 'a wrong secret');
restart_with($id, $temporary, $token);
is($node->safe_psql('postgres', $query), '10|285', 'temporary keys of the environment');

# A role of RGW's own token service, assumed with keys of a mapping and of the environment, plain and over TLS. RGW allows two seconds.
my %mapping = (access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key');
my %role = (role_arn => 'arn:aws:iam:::role/tester');

# Makes server r and table rt on it; returns what the query gives.
sub by_role
{
	my ($options, $keys) = @_;
	make_server($node, 'r', { endpoint => $rgw{http}, %$options }, $keys);
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE rt (id bigint, v bigint) SERVER r OPTIONS (url 's3://retail/lots/*.csv', format 'csv', header 'true')");
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT count(*), sum(v) FROM rt");
	return $status == 0 && $err !~ /ERROR/ ? $out : $err;
}
is(by_role({%role}, \%mapping), '10|285', 'a role with keys of a mapping');
is(by_role({ %role, endpoint => $rgw{https}, ca_file => $rgw{ca}, role_session_name => 'some.body@x', role_duration => '15min' }, \%mapping), '10|285', 'over TLS');
is(by_role({ %role, endpoint => $rgw{http}, sts_endpoint => $rgw{https}, ca_file => $rgw{ca}, credentials => 'env' }), '10|285', 'a role with keys of the environment that are temporary themselves');
like(by_role({ role_arn => 'arn:aws:iam:::role/nobody' }, \%mapping), qr/ERROR:  \w{5}: no credentials for server "r" by assuming role "arn:aws:iam:::role\/nobody": \w+.*Asked "\Q$rgw{http}\E", HTTP status 4/s, 'an unknown role');
like(by_role({%role}, { %mapping, secret_access_key => 'wrongwrongwrong' }), qr/42501: no credentials for server "r" by assuming .*SignatureDoesNotMatch/, 'a wrong secret for a role');
is(by_role({ %role, role_duration => '2s', part_size => '64kB', max_concurrency => 1 }, \%mapping), '10|285', 'keys of two seconds');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT v FROM rt; FETCH 1 FROM c');
sleep 4;
is($session->query_safe('FETCH 9 FROM c'), join("\n", map { $_ * $_ } 1 .. 9), 'renewed in mid-scan');
$session->quit;

# Who may: superusers only, and the owner must still be one when the server is used.
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN DATA WRAPPER datamill_s3 TO plain; ALTER SERVER host OWNER TO plain');
like(sql_error($node, $query), qr/42501: server "host" may not use the host's own identity.*"plain" is no superuser.*HINT/s, 'the owner is no superuser');
like(sql_error($node, "SET ROLE plain; ALTER SERVER host OPTIONS (SET endpoint 'http://127.0.0.1:1')"),
	qr/42501: permission denied to set option "credentials"/, 'who cannot alter it either');

my $log = slurp_file($node->logfile);
$log =~ s/^.*(LOG:  statement:|STATEMENT:).*(\n\t.*)*//mg;
unlike($log, qr/\Q$_\E/, 'the log has no secret') for ('rgw/test+secret=key', 'wrongwrongwrong', $temporary, $token);
$node->stop;
done_testing();
