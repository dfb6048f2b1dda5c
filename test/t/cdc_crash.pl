# cdc_crash.pl: a merge that is cancelled, terminated or killed at any moment is done whole or not at all.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use DmCrash;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\n");
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION datamill;
CREATE TABLE day1 AS SELECT i AS id, md5(i::text) AS name, i AS n FROM generate_series(1, 40000) i;
CREATE TABLE day2 AS SELECT id, name, CASE WHEN id % 3 = 0 THEN n + 1 ELSE n END AS n FROM day1 WHERE id % 5 <> 0
  UNION ALL SELECT i, 'new', i FROM generate_series(40001, 48000) i;
SQL

# what a merge changes, all of it or nothing: the rows of both tables, the log and the receipts
my $state = <<'SQL';
SELECT count(*), sum(hashtext((id, name, n, operation, eff_start_date, key_hash, row_hash)::text)::bigint) FROM dim.t;
SELECT count(*), sum(hashtext((id, name, n, operation, eff_start_date, eff_end_date, ended_by)::text)::bigint) FROM dim.t_history h;
SELECT count(*) FROM datamill.merges WHERE dataset = 'dim.t'::regclass;
SELECT count(*) > 1 FROM datamill.receipts WHERE receipt_no > (SELECT last FROM mark);
SQL
my $anew = <<'SQL';
SET client_min_messages = error;
DROP SCHEMA IF EXISTS dim CASCADE;
DROP TABLE IF EXISTS mark;
CREATE TABLE mark AS SELECT coalesce(max(receipt_no), 0) AS last FROM datamill.receipts;
SELECT datamill.cdc_merge('dim.t', 'day1', keys => '{id}', effective => '2020-01-01');
SQL
$node->safe_psql('postgres', $anew);
my $before = $node->safe_psql('postgres', $state);
my $merge = "SET work_mem = '64kB'; SELECT * FROM datamill.cdc_merge('dim.t', 'day2', effective => '2020-01-02')";

# how long a whole merge takes here, so that the moments lie within it
my $started = Time::HiRes::time();
$node->safe_psql('postgres', "BEGIN; $merge; ROLLBACK;");
my $duration = Time::HiRes::time() - $started;
is($node->safe_psql('postgres', $state), $before, 'a rolled back merge leaves nothing');
$node->safe_psql('postgres', $merge);
my $after = $node->safe_psql('postgres', $state);
isnt($after, $before, 'a committed one does not');
$node->safe_psql('postgres', $anew);

my %seen;
sub interrupt_merge
{
	my ($what, $share) = @_;
	interrupt($node, $merge, $what, $duration * $share);
	my $now = $node->safe_psql('postgres', $state);
	$seen{ $now eq $before ? 'before' : $now eq $after ? 'after' : 'between' }++;
	$node->safe_psql('postgres', $anew) if $now ne $before;
	return $now eq $before || $now eq $after;
}

for my $what ('cancel', 'terminate', 'kill')
{
	for my $share (0.1, 0.3, 0.5, 0.7, 0.9)
	{
		ok(interrupt_merge($what, $share), "$what at $share of a merge leaves all of it or nothing");
	}
}
cmp_ok($seen{before} // 0, '>=', 6, 'most merges were interrupted in fact');

my $counts = $node->safe_psql('postgres',
	"SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('dim.t', 'day2', effective => '2020-01-02')");
is($counts, '8000|10667|8000|21333', 'after all that the merge works');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_ls_tmpdir()'), '0', 'no temporary file is left');

# a first merge that dies leaves no table
my ($code, $out, $err) = $node->psql('postgres',
	"SET statement_timeout = '30ms'; SELECT datamill.cdc_merge('other.t', 'SELECT *, pg_sleep(0.001) IS NULL AS s FROM day1', keys => '{id}')");
like($err, qr/canceling statement due to statement timeout/, 'statement_timeout ends a merge');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_namespace WHERE nspname = 'other'"), '0', 'and leaves no schema');

# an error that is caught leaves the rest of the transaction usable
is($node->safe_psql('postgres', <<'SQL'), "caught\n8000|10667", 'a merge that fails in a block with EXCEPTION can be tried again');
DROP SCHEMA dim CASCADE;
SET client_min_messages = error;
BEGIN;
CREATE FUNCTION pg_temp.try() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM datamill.cdc_merge('dim.t', 'SELECT * FROM day1 UNION ALL SELECT 1, NULL, NULL', keys => '{id}');
  RETURN 'not caught';
EXCEPTION WHEN cardinality_violation THEN
  RETURN 'caught';
END
$$;
SELECT pg_temp.try();
DO $$ BEGIN PERFORM datamill.cdc_merge('dim.t', 'day1', keys => '{id}', effective => '2020-01-01'); END $$;
SELECT inserted, updated FROM datamill.cdc_merge('dim.t', 'day2', effective => '2020-01-02');
COMMIT;
SQL

$node->stop;
done_testing();
