# s3_credentials_renew.pl: keys that expire or are refused in the middle of a scan, keys that a backend remembers, and what must not
# be seen of any; against a stand-in that takes only the keys it hands out, while they last (test/lib/keys_server.py).
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %keys = start_keys();
my $dir = PostgreSQL::Test::Utils::tempdir_short();
delete @ENV{ grep { /^AWS_/ } keys %ENV };
%ENV = (%ENV, AWS_EC2_METADATA_SERVICE_ENDPOINT => $keys{http}, AWS_SHARED_CREDENTIALS_FILE => "$dir/credentials", AWS_WEB_IDENTITY_TOKEN_FILE => "$dir/web",
	AWS_ROLE_ARN => 'arn:aws:iam::1:role/refused');
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE ROLE first; CREATE ROLE second');
my %big = (endpoint => $keys{http}, part_size => '64kB', max_concurrency => 8);
my %static = (access_key_id => 'STATICKEY', secret_access_key => 'staticsecret');
my $sums = 'SELECT count(*), sum(id), sum(v) FROM big';
my $right = '200000|20000100000|140000700000';

# Makes server k with its tables, and sets the stand-in's settings to these.
sub fresh
{
	my ($options, $mapping, %settings) = @_;
	make_server($node, 'k', { %big, %$options }, $mapping);
	for my $name (qw(small big))
	{
		$node->safe_psql('postgres', "CREATE FOREIGN TABLE $name (id bigint, v bigint) SERVER k OPTIONS (url 's3://plain/$name.csv', format 'csv', header 'true'); GRANT SELECT ON $name TO PUBLIC");
	}
	$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER k TO PUBLIC');
	keys_set(life => 3600, claim => '', revoke_after => 0, refuse => 'ExpiredToken', pause => 0, keys_pause => 0, broken => '', forget => '', %settings);
	return;
}

# How many lines of the stand-in's log match that were not there when it was called last with this pattern.
my %counted;
sub count_new
{
	my ($pattern) = @_;
	my $count = keys_log($pattern);
	my $new = $count - ($counted{$pattern} // 0);
	$counted{$pattern} = $count;
	return $new;
}

# A store that takes a set of keys ten times, and then refuses it: one renewal does for all requests at once. While keys are
# waited for, all other requests under way come to their end.
for my $refuse (qw(ExpiredToken InvalidToken InvalidAccessKeyId))
{
	fresh({ credentials => 'imds', max_retries => 0 }, undef, revoke_after => 10, refuse => $refuse, keys_pause => $refuse eq 'ExpiredToken' ? 0.3 : 0);
	count_new($_) for qr/^keys /, qr/^store /;
	is($node->safe_psql('postgres', $sums), $right, "keys that are refused in mid-scan: $refuse");
	my $taken = count_new(qr/^store /);
	cmp_ok($taken, '>', 30, 'many requests');
	is(count_new(qr/^keys /), int(($taken + 9) / 10), 'as many sets of keys as were needed');
}
fresh({ role_arn => 'arn:aws:iam::1:role/r' }, \%static, revoke_after => 10);
is($node->safe_psql('postgres', 'SELECT count(*) FROM big a JOIN big b USING (id)'), '200000', 'two scans at once, with keys of a role');

# Uploads in parts, whose keys are refused on the way.
fresh({ credentials => 'imds', part_size => '5MB', max_concurrency => 1 }, undef, revoke_after => 2);
count_new(qr/^keys /);
$node->safe_psql('postgres', "SELECT * FROM datamill.generate_cdc(150000, 150000, 2, 1, 0.2, 0.4, 0.4, 's3://plain/w/1/', 's3://plain/w/2/', server => 'k');"
	  . "CREATE FOREIGN TABLE written (key1 uuid, key2 uuid, value1 int) SERVER k OPTIONS (url 's3://plain/w/1/*', format 'csv', header 'true')");
cmp_ok(count_new(qr/^keys /), '>', 2, 'keys that are refused while parts are written');
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT key1) FROM written'), '150000|150000', 'an upload in parts');

# The answer to a HEAD says no code: the first request of an unload, with keys that a statement before has left.
fresh({ credentials => 'imds', part_size => '5MB', max_concurrency => 1 }, undef, revoke_after => 2);
is($node->safe_psql('postgres', "SELECT count(*) FROM small; SELECT rows FROM datamill.unload('SELECT 1 AS a', 's3://plain/unloaded/a_', options => '{\"server\": \"k\"}')"),
	"10\n1", 'keys that are refused without a word');

# New keys that are refused as well are not renewed again.
fresh({ credentials => 'imds' }, undef, life => -1, claim => 3600);
count_new(qr/^keys /);
like(sql_error($node, $sums), qr/42501: could not list bucket "plain": ExpiredToken.*HINT: .*role of the database server's machine/s, 'keys that are never taken');
is(count_new(qr/^keys /), 2, 'are asked for twice');
fresh({ role_arn => 'arn:aws:iam::1:role/r' }, \%static, life => -1, claim => 3600);
like(sql_error($node, $sums), qr/42501: .*ExpiredToken.*HINT: .*role "arn:aws:iam::1:role\/r" \(option role_arn\)/s, 'those of a role, too');
fresh({}, { %static, session_token => 'tokentoken' });
like(sql_error($node, $sums), qr/42501: .*InvalidToken.*HINT: .*session_token of the user mapping/s, 'those of a mapping are not renewed');

# Keys that last three seconds, for a scan that takes longer: renewed before they expire.
fresh({ credentials => 'imds', max_concurrency => 4 }, undef, life => 3, pause => 0.5);
count_new(qr/^keys /);
is($node->safe_psql('postgres', $sums), $right, 'keys that expire in mid-scan');
cmp_ok(count_new(qr/^keys /), '>=', 2, 'are renewed');

# Where that fails, keys are used as long as they last. They are due after 12 of 16 seconds.
fresh({ credentials => 'imds', max_concurrency => 1 }, undef, life => 3600, claim => 16);
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM big; FETCH 10 FROM c');
sleep 13;
keys_set(broken => '500');
count_new(qr/^(session|store)/);
$session->query("\\o /dev/null\nFETCH ALL FROM c");
$session->query('\o');
is($session->{stderr}, '', 'keys that cannot be renewed');
cmp_ok(scalar(keys_log(qr/^session/)), '>', 1, 'though it was tried');
$session->quit;

# A profile whose keys are replaced: in mid-scan, and between statements.
fresh({ credentials => 'profile', max_concurrency => 1 }, undef, refuse => 'InvalidAccessKeyId');
append_to_file("$dir/credentials", "[default]\naws_access_key_id = STATICKEY\naws_secret_access_key = staticsecret\n");
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT * FROM big; FETCH 10 FROM c');
append_to_file("$dir/credentials", "aws_access_key_id = OTHERKEY\naws_secret_access_key = othersecret\n");
keys_set(forget => 'STATICKEY');
is($session->query('MOVE ALL FROM c; SELECT 5'), '5', 'a profile that changes in mid-scan');
is($session->{stderr}, '', 'without an error');
count_new(qr/^refused/);
is($session->query('COMMIT; SELECT count(*) FROM big'), '200000', 'a profile that has changed');
is(count_new(qr/^refused/), 0, 'is read at once');
$session->quit;

# What a backend remembers: keys of its user for its server, until either changes.
fresh({ role_arn => 'arn:aws:iam::1:role/r' });
$node->safe_psql('postgres', "CREATE USER MAPPING FOR first SERVER k OPTIONS (access_key_id 'STATICKEY', secret_access_key 'staticsecret');"
	  . "CREATE USER MAPPING FOR second SERVER k OPTIONS (access_key_id 'OTHERKEY', secret_access_key 'othersecret')");
my $read = 'SELECT count(*) FROM small;';
count_new($_) for qr/^keys /, qr/^keys .*<static/, qr/^keys .*<other/, qr/^store .*<static/, qr/^store .*<other/;
is($node->safe_psql('postgres', "SET ROLE first; $read $read $read"), "10\n10\n10", 'three statements');
is(count_new(qr/^keys /), 1, 'with one set of keys');
$node->safe_psql('postgres', "SET ROLE first; $read SET ROLE second; $read SET ROLE first; $read");
is(count_new(qr/^keys .*<static/) . count_new(qr/^keys .*<other/), '21', 'another user has other keys');
is(count_new(qr/^store .*<other/) * 5, count_new(qr/^store .*<static/), 'and signs with them');
$node->safe_psql('postgres', "SET ROLE first; $read RESET ROLE; ALTER SERVER k OPTIONS (ADD connect_timeout '5s'); SET ROLE first; $read");
is(count_new(qr/^keys /), 4, 'a server that is altered'); # two of them of the step before
$node->safe_psql('postgres', "SET ROLE first; $read RESET ROLE; ALTER USER MAPPING FOR first SERVER k OPTIONS (SET access_key_id 'OTHERKEY', SET secret_access_key 'othersecret'); SET ROLE first; $read");
is(count_new(qr/^keys /) . count_new(qr/^keys .*<other/), '21', 'a mapping that is altered');

# Cancel and timeouts while keys are waited for, and errors that leak no connection.
fresh({ role_arn => 'arn:aws:iam::1:role/r' }, \%static, broken => 'stall');
my $begin = time;
like(sql_error($node, "SET statement_timeout = 300; $sums"), qr/57014: canceling statement due to statement timeout/, 'statement_timeout while keys are waited for');
$session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_until(qr/start/, "\\echo start\n$sums;\n");
$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid") or die 'not waiting';
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid AND state = 'active'");
cmp_ok(time - $begin, '<', 10, 'cancel, long before the peer does anything'); # it is silent for 10 s, and asked again
$session->query('SELECT 1');
like($session->{stderr}, qr/canceling statement due to user request/, 'and the session lives on');
$session->{stderr} = '';
keys_set(broken => '');
is($session->query($sums), $right, 'with new keys');
fresh({ role_arn => 'arn:aws:iam::1:role/refused' }, \%static);
my $loop = 'DO $$ BEGIN FOR i IN 1..50 LOOP BEGIN PERFORM * FROM small; RAISE division_by_zero; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END $$;';
$session->query_safe($loop);
my $before = () = glob "/proc/$pid/fd/*";
$session->query_safe($loop);
my $after = () = glob "/proc/$pid/fd/*";
is($after, $before, 'errors leak no connection');
$session->quit;

# No key and no token is seen: in errors that quote what was sent, in plans, views, receipts and the log.
append_to_file("$dir/web", 'webtoken1');
my $seen = '';
fresh({ role_arn => 'arn:aws:iam::1:role/refused' }, \%static, broken => 'echo');
$seen .= sql_error($node, $sums);
like($seen, qr/AccessDenied.*\*{8}/s, 'an error that quotes the request');
fresh({ credentials => 'imds', role_arn => 'arn:aws:iam::1:role/refused' }, undef, broken => 'echo');
$seen .= sql_error($node, $sums);
fresh({ credentials => 'web_identity', role_session_name => ' ' }, undef, broken => 'echo');
$seen .= sql_error($node, $sums);
fresh({ credentials => 'imds' }, undef, life => -1, claim => 3600, broken => 'echo');
$seen .= sql_error($node, $sums);
fresh({ credentials => 'imds' });
$node->safe_psql('postgres', "CREATE TABLE loaded (id bigint, v bigint); SELECT datamill.load('s3://plain/small.csv', 'loaded', options => '{\"server\": \"k\"}')");
$seen .= $node->safe_psql('postgres', "EXPLAIN (ANALYZE, VERBOSE, SETTINGS) $sums; SELECT to_jsonb(r) FROM datamill.receipts r; SELECT to_jsonb(a) FROM pg_stat_activity a; SELECT * FROM pg_options_to_table((SELECT srvoptions FROM pg_foreign_server))");
my $log = slurp_file($node->logfile);
$log =~ s/^.*(LOG:  statement:|STATEMENT:).*(\n\t.*)*//mg;
unlike("$seen$log", qr/$_/, "nothing shows $_") for qw(issuedsecret issuedtoken staticsecret webtoken imdssession ASIA0);
$node->stop;
done_testing();
