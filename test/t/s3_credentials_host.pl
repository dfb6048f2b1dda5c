# s3_credentials_host.pl: keys from a machine's and a container's metadata service, web identities, profiles and roles, against a stand-in
# that checks what it is asked and signed with (test/lib/keys_server.py).
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %keys = start_keys();
my $dir = PostgreSQL::Test::Utils::tempdir_short();
delete @ENV{ grep { /^AWS_/ } keys %ENV };
%ENV = (%ENV, AWS_EC2_METADATA_SERVICE_ENDPOINT => "$keys{http}/", AWS_CONTAINER_CREDENTIALS_FULL_URI => "$keys{http}/ecs",
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$dir/container", AWS_WEB_IDENTITY_TOKEN_FILE => "$dir/web", AWS_ROLE_ARN => 'arn:aws:iam::1:role/webrole',
	AWS_ROLE_SESSION_NAME => 'web-session', AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials", AWS_CONFIG_FILE => "$dir/config");
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE ROLE plain');

# Writes a file.
sub put_file
{
	my ($name, $text) = @_;
	open my $file, '>', "$dir/$name" or die $!;
	print $file $text;
	close $file;
	return;
}

# Makes server k and table t on it.
sub server
{
	my ($options, $mapping) = @_;
	make_server($node, 'k', { endpoint => $keys{http}, max_retries => 0, %$options }, $mapping);
	$node->safe_psql('postgres', "CREATE FOREIGN TABLE t (id bigint, v bigint) SERVER k OPTIONS (url 's3://plain/small.csv', format 'csv', header 'true')");
	return;
}

# Reads through a server with these options, and tells for whom the store's requests were signed. An error is returned as text.
sub who
{
	my $before = keys_log(qr/./);
	server(@_);
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT count(*), sum(v) FROM t");
	my @log = keys_log(qr/./);
	my %signers = map { /^store (.*)/ ? ($1 => 1) : () } @log[ $before .. $#log ];
	return $out eq '10|385' && $err eq '' ? join(',', sort keys %signers) : $err;
}

# Machines.
is(who({ credentials => 'imds' }), 'machine', 'imds');
is(scalar(keys_log(qr/^session/)), 1, 'with one session');
is(scalar(keys_log(qr/^imds-refused/)), 0, 'and never without');
for my $broken ([ 'norole', qr/42704: no credentials for server "k" from the instance metadata service: HTTP status 404: the machine has no role.*HINT: .*EC2 instance/s ],
	[ '500', qr/DM002: .*HTTP status 500/ ], [ 'html', qr/42704: .*it names no role of the machine/ ], [ 'nokeys', qr/42704: .*it names no role of the machine/ ],
	[ 'stall', qr/08001: no credentials for server "k" from the instance metadata service: .*Asked "\Q$keys{http}\E"; attempts: 3/s ])
{
	keys_set(broken => $broken->[0]);
	like(who({ credentials => 'imds' }), $broken->[1], "imds: $broken->[0]");
}
keys_set(broken => 'past');
is(who({ credentials => 'imds' }), 'machine', 'imds: keys that are said to be of the past, and serve');
keys_set(broken => '');

# Containers.
like(who({ credentials => 'ecs' }), qr/42704: no credentials for server "k" from the container's metadata service: could not read file "\Q$dir\E\/container"/, 'ecs: no token file');
put_file('container', "wrongtokenwrong\n");
like(who({ credentials => 'ecs' }), qr/42704: .*HTTP status 401/, 'ecs: a wrong token');
put_file('container', "containertoken\n");
is(who({ credentials => 'ecs' }), 'container', 'ecs');
keys_set(broken => 'html');
like(who({ credentials => 'ecs' }), qr/08P01: .*the answer is no JSON object/, 'ecs: no JSON');
keys_set(broken => 'nokeys');
like(who({ credentials => 'ecs' }), qr/08P01: .*the answer holds no keys/, 'ecs: no keys');
keys_set(broken => '');
put_file('container', "a\nX-Other: b");
like(who({ credentials => 'ecs' }), qr/F0000: .*the authorization token has a line break/, 'ecs: a token that would be two headers');

# Web identities.
like(who({ credentials => 'web_identity' }), qr/42704: no credentials for server "k" by web identity: could not read file "\Q$dir\E\/web": No such file.*HINT/s, 'web_identity: no token');
put_file('web', 'nothing');
like(who({ credentials => 'web_identity' }), qr/42501: no credentials for server "k" by web identity as role "arn:aws:iam::1:role\/webrole": InvalidIdentityToken.*HINT/s, 'a wrong one');
put_file('web', "webtoken1\n");
is(who({ credentials => 'web_identity' }), 'webrole:web-session:-<webtoken1', 'web_identity of the environment');
put_file('web2', 'webtoken2');
is(who({ credentials => 'web_identity', web_identity_token_file => "$dir/web2", role_arn => 'arn:aws:iam::1:role/other', role_session_name => 's', role_duration => '20min' }),
	'other:s:1200<webtoken2', 'of options');

# Roles, with the keys of any source.
my %static = (access_key_id => 'STATICKEY', secret_access_key => 'staticsecret');
my $role = 'arn:aws:iam::1:role/r';
is(who({}, \%static), 'static', 'a mapping');
is(who({ role_arn => $role }, \%static), 'r:datamill:-<static', 'a role with keys of a mapping');
is(who({ role_arn => $role, sts_endpoint => $keys{http} }, \%static), 'r:datamill:-<static', 'an sts_endpoint');
is(who({ role_arn => 'arn:aws:iam::1:role/guarded', external_id => 'sesame', role_session_name => 'night@x', role_duration => '900' }, \%static),
	'guarded:night@x:900<static', 'external_id');
is(who({ role_arn => $role, credentials => 'imds' }), 'r:datamill:-<machine', 'a role with keys of the machine, which have a token');
my $refused = qr/42501: no credentials for server "k" by assuming role "arn:aws:iam::1:role\/\w+": AccessDenied.*Asked "\Q$keys{http}\E".*HINT: .*trust/s;
like(who({ role_arn => 'arn:aws:iam::1:role/guarded', external_id => 'wrong' }, \%static), $refused, 'a wrong external_id');
like(who({ role_arn => 'arn:aws:iam::1:role/refused' }, \%static), $refused, 'a role that is refused');
like(who({ role_arn => $role }, { %static, secret_access_key => 'nonsense' }), qr/42501: .*SignatureDoesNotMatch/, 'a wrong secret');
like(who({ role_arn => $role, sts_endpoint => 'http://127.0.0.1:1' }, \%static), qr/08001: no credentials .*attempts: 1/s, 'nobody listens');
like(who({ role_arn => $role, sts_endpoint => 'http://169.254.169.254' }, \%static), qr/42501: no credentials .*address 169.254.169.254 may not be reached/, 'a metadata address');
keys_set(broken => '500');
like(who({ role_arn => $role }, \%static), qr/DM002: .*HTTP status 500/, 'a token service that is down');
keys_set(broken => 'html');
like(who({ role_arn => $role }, \%static), qr/08P01: .*the answer holds no keys/, 'one that is something else');
keys_set(broken => '');

# Profiles.
like(who({ credentials => 'profile' }), qr/42704: no credentials for server "k" in profile "default": there is no such profile.*"\Q$dir\E\/credentials" and "\Q$dir\E\/config".*HINT/s, 'no files');
put_file('credentials', "[default]\naws_access_key_id = STATICKEY\naws_secret_access_key = staticsecret\n[sourced]\naws_access_key_id = STATICKEY\naws_secret_access_key = staticsecret\n");
put_file('config', <<"END");
[profile role]
role_arn = arn:aws:iam::1:role/guarded
source_profile = sourced
external_id = sesame
role_session_name = p
duration_seconds = 1000
[profile chain]
role_arn = arn:aws:iam::1:role/second
source_profile = role
[profile own]
aws_access_key_id = STATICKEY
aws_secret_access_key = staticsecret
role_arn = arn:aws:iam::1:role/own
source_profile = own
[profile machine]
role_arn = arn:aws:iam::1:role/m
credential_source = Ec2InstanceMetadata
[profile web]
role_arn = arn:aws:iam::1:role/w
web_identity_token_file = $dir/web
[profile loop]
role_arn = a
source_profile = pool
[profile pool]
role_arn = a
source_profile = loop
[profile self]
role_arn = a
source_profile = self
[profile lost]
role_arn = a
source_profile = nowhere
[profile process]
credential_process = touch $dir/ran
[profile sso]
sso_session = x
[profile mfa]
role_arn = a
source_profile = sourced
mfa_serial = b
[profile odd]
role_arn = a
credential_source = Elsewhere
[profile empty]
region = r
END
my %profiles = (default => qr/^static$/, role => qr/^guarded:p:1000<static$/, chain => qr/^second:datamill:-<guarded:p:1000<static$/, own => qr/^own:datamill:-<static$/,
	machine => qr/^m:datamill:-<machine$/, web => qr/^w:web-session:-<webtoken1$/, loop => qr/F0000: .*in profile "loop": its source_profile leads back to it/,
	self => qr/F0000: .*in profile "self": it is its own source_profile and has no keys/, lost => qr/42704: .*in profile "nowhere": there is no such profile/,
	process => qr/0A000: .*in profile "process": credential_process is not supported.*No program is run/s, sso => qr/0A000: .*sso_session is not supported/,
	mfa => qr/0A000: .*mfa_serial is not supported/, odd => qr/F0000: .*unknown credential_source "Elsewhere"/, empty => qr/42704: .*it has neither keys nor a role/);
like(who({ credentials => 'profile', profile => $_ }), $profiles{$_}, "profile $_") for sort keys %profiles;
ok(!-e "$dir/ran", 'no program was run');
is(who({ credentials => 'profile', role_arn => $role }), 'r:datamill:-<static', 'a role with keys of a profile');
append_to_file("$dir/config", "junk\n");
like(who({ credentials => 'profile' }), qr/F0000: .*line \d+ of file "\Q$dir\E\/config" is no setting/, 'a file that is wrong');
unlink "$dir/config";
mkdir "$dir/config";
like(who({ credentials => 'profile' }), qr/F0000: .*could not read file "\Q$dir\E\/config": Is a directory.*HINT/s, 'no file');

# datamill.allowed_hosts goes for the token service as for the store.
server({ role_arn => $role }, \%static);
$node->safe_psql('postgres', 'ALTER SERVER k OWNER TO plain');
is($node->safe_psql('postgres', "SET datamill.allowed_hosts = '127.0.0.1'; SELECT count(*) FROM t"), '10', 'a token service that is allowed');
like(sql_error($node, "SET datamill.allowed_hosts = '127.0.0.2'; SELECT * FROM t"),
	qr/42501: no credentials for server "k" by assuming .*address 127.0.0.1 may not be reached.*allowed_hosts/s, 'one that is not');

# A server that is given away gives no keys; nor does one that is altered by its owner.
server({ credentials => 'imds' });
$node->safe_psql('postgres', 'ALTER SERVER k OWNER TO plain');
my $fetched = keys_log(qr/^keys /);
like(sql_error($node, 'SELECT * FROM t'), qr/42501: server "k" may not use the host's own identity/, 'a server that was given away');
is(scalar(keys_log(qr/^keys /)), $fetched, 'asks for nothing');

my $log = slurp_file($node->logfile);
$log =~ s/^.*(LOG:  statement:|STATEMENT:).*(\n\t.*)*//mg;
unlike($log, qr/\Q$_\E/, "the log has no $_") for qw(issuedsecret issuedtoken staticsecret webtoken containertoken wrongtokenwrong imdssession Signature= ASIA0);
$node->stop;
done_testing();
