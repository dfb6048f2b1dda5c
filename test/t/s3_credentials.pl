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
