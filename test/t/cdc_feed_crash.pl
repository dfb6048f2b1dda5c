# cdc_feed_crash.pl: a merge of a feed, and the undo of one, that is cancelled, terminated or killed at any moment is done whole
# or not at all.
use strict;
use warnings;
use DmCrash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nautovacuum = off\n");
$node->start;
# early events, then late ones that split versions, end all of them with a truncate, and come back
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION datamill;
CREATE TABLE early AS SELECT i % 8000 AS id, md5(i::text) AS name, CASE WHEN i % 7 = 0 THEN 'd' ELSE 'u' END AS op, i * 10 AS seq
  FROM generate_series(1, 40000) i;
CREATE TABLE late AS SELECT i % 9000 AS id, md5((i / 2)::text) AS name, CASE WHEN i % 11 = 0 THEN 'd' ELSE 'u' END AS op, i * 22 + 5 AS seq
  FROM generate_series(1, 18000) i UNION ALL SELECT NULL, NULL, 't', 200003;
SQL

# what a merge changes: the rows of the three tables, the truncates and the log (without ids, which a retry takes anew)
my $state = <<'SQL';
SELECT count(*), sum(hashtext((id, name, operation, eff_start_date, key_hash, row_hash)::text)::bigint) FROM dim.t;
SELECT count(*), sum(hashtext((id, name, operation, eff_start_date, eff_end_date, ended_by)::text)::bigint) FROM dim.t_history;
SELECT count(*), sum(hashtext((id, name, operation, eff_start_date)::text)::bigint) FROM dim.t_feed;
SELECT count(*) FROM datamill.merges WHERE dataset = 'dim.t'::regclass;
SELECT count(*) FROM datamill.feed_truncate_catalog;
SQL
my $problems = "SELECT * FROM datamill.check_dataset('dim.t')";
my $anew = <<'SQL';
SET client_min_messages = error;
DROP SCHEMA IF EXISTS dim CASCADE;
DELETE FROM datamill.dataset_catalog;
SELECT datamill.cdc_merge('dim.t', 'early', keys => '{id}', mode => 'feed',
  options => '{"sequence_column": "seq", "operation_column": "op", "truncate_values": ["t"]}');
SQL
my $merge = "SET work_mem = '64kB'; SELECT * FROM datamill.cdc_merge('dim.t', 'late', mode => 'feed')";
my $undo = "SELECT * FROM datamill.cdc_undo('dim.t')";
$node->safe_psql('postgres', $anew);
my $before = $node->safe_psql('postgres', $state);
my $started = Time::HiRes::time();
$node->safe_psql('postgres', $merge);
my $duration = Time::HiRes::time() - $started;
my $after = $node->safe_psql('postgres', $state);
isnt($after, $before, 'the merge changes something');
$started = Time::HiRes::time();
$node->safe_psql('postgres', $undo);
my $undo_duration = Time::HiRes::time() - $started;
is($node->safe_psql('postgres', $state), $before, 'and its undo takes all of it back');

my %seen;

# Interrupts sql, which leads from one state to the other, and brings the first one back.
sub check_interrupted
{
	my ($sql, $what, $seconds, $from, $to, $back) = @_;
	interrupt($node, $sql, $what, $seconds);
	my $now = $node->safe_psql('postgres', $state);
	my $sound = $node->safe_psql('postgres', $problems) eq '';
	$seen{ $now eq $from ? 'before' : $now eq $to ? 'after' : 'between' }++;
	$node->safe_psql('postgres', $back) if $now ne $from;
	return $sound && ($now eq $from || $now eq $to);
}

for my $what ('cancel', 'terminate', 'kill')
{
	for my $share (0.1, 0.3, 0.5, 0.7, 0.9)
	{
		ok(check_interrupted($merge, $what, $duration * $share, $before, $after, $undo),
			"$what at $share of a merge leaves all of it or nothing");
	}
}
$node->safe_psql('postgres', $merge);
for my $what ('cancel', 'terminate', 'kill')
{
	for my $share (0.2, 0.5, 0.8)
	{
		ok(check_interrupted($undo, $what, $undo_duration * $share, $after, $before, $merge),
			"$what at $share of an undo leaves all of it or nothing");
	}
}
cmp_ok($seen{before} // 0, '>=', 8, 'most were interrupted in fact');
is($seen{between}, undef, 'no state between was seen');
$node->safe_psql('postgres', $undo);
is($node->safe_psql('postgres', $state), $before, 'after all that the undo works');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_ls_tmpdir()'), '0', 'no temporary file is left');

$node->stop;
done_testing();
