# s3_listing.pl: the list of objects that the planner hands to the scan is never older than it may be; and import, inference and their
# rights on a real S3 server.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my %keys = (access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key');
my %tls = (endpoint => "https://s3.localhost:$rgw{tls_port}", url_style => 'virtual', ca_file => $rgw{ca});
sub sql { return $node->safe_psql('postgres', $_[0]) }
sql('CREATE EXTENSION datamill');
make_server($node, 'lake', \%tls, \%keys);
s3('mb', 'lake');
sub put { s3('put', 'lake', "w/$_[0].csv", "id\n$_[0]\n"); return }
put($_) for 1, 2;
sql(q{CREATE FOREIGN TABLE w (id int) SERVER lake OPTIONS (url 's3://lake/w/*.csv', header 'true')});

# What another session writes between plan and execution, and after an EXPLAIN in the same transaction, is seen.
my $session = $node->background_psql('postgres', on_error_stop => 0);
for my $mode (qw(force_generic_plan force_custom_plan))
{
	my $n = sql('SELECT count(*) FROM w');
	$session->query_safe("SET plan_cache_mode = $mode; PREPARE q_$mode AS SELECT count(*) FROM w");
	$session->query_safe("EXPLAIN EXECUTE q_$mode");
	put(10 + $n);
	is($session->query_safe("EXECUTE q_$mode"), $n + 1, "a prepared plan lists anew: $mode");
	put(11 + $n);
	is($session->query_safe("EXECUTE q_$mode"), $n + 2, "and again: $mode");
}
my $n = sql('SELECT count(*) FROM w');
$session->query_safe('BEGIN; EXPLAIN SELECT count(*) FROM w');
put(50);
is($session->query_safe('SELECT count(*) FROM w'), $n + 1, 'EXPLAIN, then the query, in one transaction');
$session->query_safe('SAVEPOINT s; DECLARE gone CURSOR FOR SELECT id FROM w; ROLLBACK TO s; DECLARE c CURSOR FOR SELECT id FROM w');
is(scalar(() = $session->query_safe('FETCH ALL FROM c') =~ /\d+/g), $n + 1, 'a cursor fetched later, a subtransaction rolled back before');
$session->query_safe('COMMIT');

# A cursor lists when it is first fetched from: what was replaced or removed since it was declared is read as it is then.
for my $change ([ 'put', 'lake', 'w/50.csv', "id\n51\n" ], [ 'rm', 'lake', 'w/50.csv' ])
{
	$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT id FROM w');
	s3(@$change);
	my $found = join ',', $session->query_safe('FETCH ALL FROM c') =~ /^5\d$/mg;
	is($found, $change->[0] eq 'put' ? '51' : '', "an object changed before the first fetch: $change->[0]");
	$session->query_safe('COMMIT');
}

# Within one statement the planner's list counts: what is replaced or removed before its first byte is an error. The statement waits for
# a lock after it was planned and before it reads.
for my $change ([ 'put', 'lake', 'w/1.csv', "id\n9\n" ], [ 'rm', 'lake', 'w/1.csv' ])
{
	my $holder = $node->background_psql('postgres');
	$holder->query_safe('SELECT pg_advisory_lock(1)');
	$session->{stderr} = '';
	$session->query_until(qr/planned/, "\\set VERBOSITY verbose\n\\echo planned\nSELECT id FROM (SELECT pg_advisory_lock_shared(1) OFFSET 0) l LEFT JOIN w ON true;\n");
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") or die;
	s3(@$change);
	$holder->quit;
	$session->query("SELECT 'after', pg_advisory_unlock_all()");
	like($session->{stderr}, qr/DM001: object "s3:\/\/lake\/w\/1.csv" was (replaced|removed)/, "an object changed between list and read: $change->[0]");
}
$session->quit;

# A loop that writes and reads in turn sees what it wrote, also through an inlined function and after a rolled back block.
sql(q{CREATE FUNCTION all_w() RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM w';
	CREATE FUNCTION turns() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE before int; seen int; answer text := '';
	BEGIN
		SELECT count(*) INTO before FROM w;
		FOR i IN 1 .. 4 LOOP
			BEGIN
				SELECT count(*) INTO seen FROM w;
				IF i = 2 THEN RAISE EXCEPTION 'back'; END IF;
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
			PERFORM datamill.unload(format('SELECT %s AS id', 100 + i), format('s3://lake/w/turn%s_', i), '{"header": true, "server": "lake"}');
			SELECT count(*) INTO seen FROM all_w();
			answer := answer || seen - before || ' ';
		END LOOP;
		RETURN answer;
	END $$});
is(sql('SELECT turns()'), '1 2 3 4 ', 'a loop that writes and reads in turn');

# Import and inference of compressed objects and JSON lines; what they need.
my $unload = sub { sql("SELECT datamill.unload('SELECT i AS id, i * 1.5 AS amount, ''a'' || i AS name FROM generate_series(1, 50) i', 's3://lake/raw/$_[0]/f_', '{\"server\": \"lake\", $_[1]}')") };
$unload->('gz', '"compression": "gzip", "header": true');
$unload->('zst', '"compression": "zstd", "header": true');
$unload->('lines', '"format": "jsonl", "compression": "gzip"');
sql('CREATE SCHEMA imp; SET client_min_messages = warning; IMPORT FOREIGN SCHEMA "lake/raw" FROM SERVER lake INTO imp');
is(sql("SELECT count(*), sum(id), sum(amount), max(name) FROM imp.$_"), '50|1275|1912.5|a9', "imported: $_") for qw(gz zst lines);
is(sql(q{SELECT string_agg(column_name || ' ' || type, ', ') FROM datamill.infer_schema('s3://lake/raw/zst/*', '{"server": "lake"}')}), 'id bigint, amount numeric, name text', 'infer_schema');
sql('CREATE ROLE reader LOGIN; GRANT ALL ON SCHEMA imp TO reader; GRANT USAGE ON SCHEMA datamill TO reader; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA datamill TO reader');
my $import = 'SET ROLE reader; IMPORT FOREIGN SCHEMA "lake/raw" LIMIT TO (gz) FROM SERVER lake INTO imp';
my $infer = q{SET ROLE reader; SELECT * FROM datamill.infer_schema('s3://lake/raw/gz/*', '{"server": "lake"}')};
like(sql_error($node, $_), qr/42501: permission denied for foreign server lake/, 'no USAGE') for $import, $infer;
sql('GRANT USAGE ON FOREIGN SERVER lake TO reader; DROP USER MAPPING FOR PUBLIC SERVER lake');
like(sql_error($node, $_), qr/42704: no credentials for server "lake".*CREATE USER MAPPING/s, 'no user mapping') for $import, $infer;
$node->stop;
done_testing();
