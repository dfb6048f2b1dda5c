# s3_hosts.pl: datamill.allowed_hosts: which hosts the servers of ordinary users may be at.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my %faults = start_faults();
my %keys = (access_key_id => 'someid', secret_access_key => 'somesecret');
(my $port = $faults{http}) =~ s/.*://;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE ROLE plain');
for my $name (qw(ours theirs))
{
	make_server($node, $name, { endpoint => $faults{http}, max_retries => 2 }, \%keys);
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE of_$name (id bigint, v bigint) SERVER $name OPTIONS (url 's3://plain/small.csv', header 'true');"
		. "GRANT SELECT ON of_$name TO plain; GRANT USAGE ON FOREIGN SERVER $name TO plain");
}
make_server($node, 'by_name', { endpoint => "http://localhost:$port", max_retries => 2 }, \%keys);
$node->safe_psql('postgres', "GRANT USAGE ON FOREIGN DATA WRAPPER datamill_s3 TO plain; ALTER SERVER theirs OWNER TO plain; ALTER SERVER by_name OWNER TO plain;"
	. "CREATE FOREIGN TABLE of_by_name (id bigint, v bigint) SERVER by_name OPTIONS (url 's3://plain/small.csv', header 'true')");

# Sets the list for new sessions.
sub allow
{
	my ($list) = @_;
	$node->append_conf('postgresql.conf', 'datamill.allowed_hosts = ' . quote($list));
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('datamill.allowed_hosts', true) = " . quote($list)) or die 'no reload';
	return;
}

my $sums = 'SELECT count(*), sum(id) FROM';
is($node->safe_psql('postgres', "$sums of_theirs"), '10|55', 'no list: any host');
allow('10.0.0.0/8, s3.example.com');
my $error = sql_error($node, "$sums of_theirs");
like($error, qr/42501: could not list bucket "plain": address 127\.0\.0\.1 may not be reached.*none of the hosts of setting datamill\.allowed_hosts/s, 'an address that the list lacks');
is($node->safe_psql('postgres', "$sums of_ours"), '10|55', 'a server that a superuser owns is not limited');
is($node->safe_psql('postgres', "SET ROLE plain; $sums of_ours"), '10|55', '... whoever uses it');

# A connection that one server has opened is not lent to another that may not go there.
like(sql_error($node, "$sums of_ours; $sums of_theirs"), qr/42501: .*address 127\.0\.0\.1 may not be reached/s, 'a kept connection is no way round');
is(scalar(grep { $_ ne '' } split /\n/, $node->safe_psql('postgres', "$sums of_ours; $sums of_ours")), 2, 'while the same server keeps it');

allow('127.0.0.0/8');
is($node->safe_psql('postgres', "$sums of_theirs"), '10|55', 'a network that the list has');
allow('localhost');
is($node->safe_psql('postgres', "$sums of_by_name"), '10|55', 'a name that the list has');
like(sql_error($node, "$sums of_theirs"), qr/42501: .*may not be reached/, '... is that name, not its address');

# The setting is the superuser's, and is checked.
like(sql_error($node, "LOAD 'datamill'; SET ROLE plain; SET datamill.allowed_hosts = '*'"), qr/42501/, 'ordinary users cannot change it');
like(sql_error($node, "LOAD 'datamill'; SET datamill.allowed_hosts = 'a, https://b'"), qr/22023: invalid value.*"https:\/\/b" is no host name, pattern.*HINT/s, 'an entry that is none');
$node->stop;
done_testing();
