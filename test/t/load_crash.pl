# load_crash.pl: a load that is cancelled, terminated or killed at any moment has loaded all of its objects or none, and the ledger agrees.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use DmCrash;

my $node = PostgreSQL::Test::Cluster->new('main');
my $folder = PostgreSQL::Test::Utils::tempdir();
mkdir "$folder/b";
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION datamill;
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$folder');
CREATE TABLE t (id int PRIMARY KEY, name text);
CREATE TABLE staged (id int PRIMARY KEY, name text);
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER pass BEFORE INSERT ON staged FOR EACH ROW EXECUTE FUNCTION pass();
SQL
for my $file (1 .. 4)
{
	append_to_file("$folder/b/$file.csv", "id,name\n" . join('', map { "$_,name of $_\n" } 60000 * ($file - 1) + 1 .. 60000 * $file));
}

# What a load changes; ledger and receipts must tell of the same rows.
sub state_of
{
	my ($table) = @_;
	return $node->safe_psql('postgres', "SELECT count(*), sum(hashtext(t::text)::bigint) FROM $table t; SELECT count(*), coalesce(sum(rows), 0) FROM datamill.loaded_objects "
		. "WHERE target = '$table'::regclass; SELECT count(DISTINCT id) FROM datamill.receipts WHERE definition = 'public.$table' AND id IN (SELECT receipt FROM datamill.loaded_objects)");
}

my $interrupted = 0;

# A table written in bulk, one that is staged (a BEFORE ROW trigger), and a load that replaces.
for my $case ([ 't', 'append' ], [ 'staged', 'append' ], [ 't', 'replace' ])
{
	my ($table, $mode) = @$case;
	my $load = "SET client_min_messages = warning; SELECT * FROM datamill.load('s3://b/*.csv', '$table', '$mode')";
	my $anew = "TRUNCATE $table; SELECT datamill.forget_loads('$table');" . ($mode eq 'replace' ? "INSERT INTO $table VALUES (0, 'old')" : '');
	$node->safe_psql('postgres', $anew);
	my $before = state_of($table);
	my $started = Time::HiRes::time();
	$node->safe_psql('postgres', "BEGIN; $load; ROLLBACK");
	my $duration = Time::HiRes::time() - $started;
	is(state_of($table), $before, "$mode into $table: rolled back, it leaves nothing");
	$node->safe_psql('postgres', $load);
	my $after = state_of($table);
	like($after, qr/^240000\|.*\n4\|240000\n1$/, '... committed, rows, ledger and receipt are there');
	my %seen;
	for my $what ('cancel', 'terminate', 'kill')
	{
		for my $share ($what eq 'kill' ? (0.2, 0.5, 0.8) : (0.1, 0.3, 0.5, 0.7, 0.9))
		{
			$node->safe_psql('postgres', $anew);
			interrupt($node, $load, $what, $duration * $share);
			my $now = state_of($table);
			$seen{ $now eq $before ? 'before' : $now eq $after ? 'after' : "between, $what at $share: $now" }++;
			# what is there once is not there twice after another load
			$node->safe_psql('postgres', $load);
			$seen{"twice, $what at $share"}++ if state_of($table) ne $after;
		}
	}
	is(join(', ', sort grep { !/^(before|after)$/ } keys %seen), '', '... interrupted, all or nothing');
	$interrupted += $seen{before} // 0;
}
cmp_ok($interrupted, '>', 0, 'some were interrupted');
$node->stop;
done_testing();
