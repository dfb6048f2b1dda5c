# s3_credentials_where.pl: the variables of the database server's environment that say where keys are, and what they may not say.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %keys = start_keys();
my ($port) = $keys{http} =~ /(\d+)$/;
my $dir = PostgreSQL::Test::Utils::tempdir_short();
delete @ENV{ grep { /^AWS_/ } keys %ENV };
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');

# Restarts the cluster with these variables.
sub restart_with
{
	local %ENV = (%ENV, @_);
	$node->restart;
	return;
}

# Reads through a server with these options: what comes, or the error.
sub try_with
{
	make_server($node, 'k', { endpoint => $keys{http}, @_ });
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE t (id bigint, v bigint) SERVER k OPTIONS (url 's3://plain/small.csv', format 'csv', header 'true')");
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT count(*), sum(v) FROM t");
	return $err ne '' ? $err : $out;
}

# Nothing is set.
like(try_with(credentials => 'ecs'), qr/42704: no credentials for server "k" from the container's metadata service\n.*Neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor .*_FULL_URI is set.*HINT/s, 'ecs');
like(try_with(credentials => 'web_identity'), qr/42704: no credentials for server "k" by web identity\n.*AWS_WEB_IDENTITY_TOKEN_FILE is not set.*HINT/s, 'web_identity without a file');
like(try_with(credentials => 'web_identity', web_identity_token_file => '/nowhere'), qr/42704: .*AWS_ROLE_ARN is not set/s, 'web_identity without a role');

# Places that are not asked: an authorization token would go there.
for my $url ('http://192.0.2.1/ecs', 'http://169.254.169.254/ecs', "http://127.0.0.1\@192.0.2.1/ecs", 'http://localhost.example.com/ecs', 'http://127.0.0.1.example.com/ecs', 'ftp://127.0.0.1/ecs', 'ecs')
{
	restart_with(AWS_CONTAINER_CREDENTIALS_FULL_URI => $url, AWS_CONTAINER_AUTHORIZATION_TOKEN => 'containertoken');
	my $error = try_with(credentials => 'ecs');
	like($error, qr/42501: no credentials for server "k" from the container's metadata service: AWS_CONTAINER_CREDENTIALS_FULL_URI may not be asked.*loopback/s, "ecs at $url");
	unlike($error, qr/containertoken/, 'and the token is not shown');
}
restart_with(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI => 'v2', AWS_CONTAINER_CREDENTIALS_FULL_URI => "$keys{http}/ecs");
like(try_with(credentials => 'ecs'), qr/42704: .*_RELATIVE_URI does not begin with a slash/s, 'ecs with a relative path');

# Places that are; the home folder; and a machine's service that is switched off.
mkdir "$dir/.aws";
append_to_file("$dir/.aws/credentials", "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n[lake]\naws_access_key_id = STATICKEY\naws_secret_access_key = staticsecret\n");
restart_with(HOME => $dir, AWS_PROFILE => 'lake', AWS_EC2_METADATA_DISABLED => 'true', AWS_CONTAINER_CREDENTIALS_FULL_URI => "http://localhost:$port/ecs",
	AWS_CONTAINER_AUTHORIZATION_TOKEN => 'containertoken');
is(try_with(credentials => 'profile'), '10|385', 'a profile of the home folder, named by AWS_PROFILE');
like(try_with(credentials => 'profile', profile => 'default'), qr/42501: .*HINT: .*profile of the database server's user/s, 'by the option');
like(try_with(credentials => 'profile', profile => 'none'), qr/42704: .*Looked in "\Q$dir\E\/.aws\/credentials" and "\Q$dir\E\/.aws\/config"/s, 'one that is not there');
is(try_with(credentials => 'ecs'), '10|385', 'ecs at localhost, with a token of the environment');
like(try_with(credentials => 'imds'), qr/42704: .*from the instance metadata service: it is switched off.*AWS_EC2_METADATA_DISABLED/s, 'imds that is switched off');
restart_with(AWS_EC2_METADATA_SERVICE_ENDPOINT => 'file:///etc/passwd');
like(try_with(credentials => 'imds'), qr/F0000: .*AWS_EC2_METADATA_SERVICE_ENDPOINT is no http\(s\) URL/, 'imds elsewhere');
$node->stop;
done_testing();
