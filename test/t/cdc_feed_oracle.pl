# cdc_feed_oracle.pl: random events in random batches, some of them taken back and merged again, as rows and as Debezium's
# events, give the versions that test/lib/feed_oracle.py computes from the sorted list. DM_FEED_SEEDS says how many runs.
use strict;
use warnings;
use DmS3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seeds = $ENV{DM_FEED_SEEDS} // 12;
my $first = $ENV{DM_FEED_FIRST} // 1;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\nclient_min_messages = error\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
my $root = PostgreSQL::Test::Utils::tempdir() . '/buckets';
mkdir $root;
mkdir "$root/feed";
make_server($node, 'l', { endpoint => "file://$root" });

my %options = (
	rows => '"format": "jsonl", "sequence_column": "seq", "operation_column": "op", "truncate_values": ["t"], '
	  . '"columns": {"id": "int", "region": "text", "a": "numeric", "b": "text"}',
	debezium => '"format": "debezium", "columns": {"id": "int", "region": "text", "a": "numeric", "b": "text"}');
my %totals = (merges => 0, events => 0, versions => 0);

# Merges the batches of one kind of a seed in turn; some merges are taken back and done again. Returns the versions found.
sub merge_all
{
	my ($seed, $kind) = @_;
	my $sql = "CREATE SCHEMA f$seed;\n";
	my $untracked = $seed % 3 == 0 ? ', "untracked": ["b"]' : '';
	my @files = map { s{.*/}{}r } sort glob("$root/feed/$seed/$kind/*.jsonl");

	for my $i (0 .. $#files)
	{
		my $merge = "SELECT datamill.cdc_merge('f$seed.t', 's3://feed/$seed/$kind/$files[$i]', keys => '{id,region}', mode => 'feed', "
		  . "options => '{$options{$kind}$untracked}');\n";
		$sql .= $merge;
		$sql .= "SELECT datamill.cdc_undo('f$seed.t');\n" . $merge if ($seed + $i) % 4 == 0;
	}
	$sql .= "\\o\n";
	$totals{merges} += @files;
	return $node->safe_psql('postgres', "\\o /dev/null\n$sql"
		  . "COPY (SELECT concat_ws('|', id, region, coalesce(a::text, ''), coalesce(b, ''), operation, eff_start_date, coalesce(eff_end_date::text, '')) "
		  . "FROM f$seed.t_versions ORDER BY 1) TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02');\n"
		  . "SELECT 'problem ' || problem || key FROM datamill.check_dataset('f$seed.t');\n"
		  . "SELECT 'current differs' FROM (SELECT count(*) FROM f$seed.t) c, (SELECT count(*) FROM f$seed.t_versions WHERE upper_inf(valid)) v "
		  . "WHERE c.count <> v.count;\nDROP SCHEMA f$seed CASCADE;\n");
}

for my $seed ($first .. $first + $seeds - 1)
{
	system('python3', "$ENV{DM_LIB}/feed_oracle.py", $seed, "$root/feed/$seed") == 0 or die 'the oracle failed';
	for my $kind ('rows', 'debezium')
	{
		my @expected = split /\n/, slurp_file("$root/feed/$seed/$kind.txt");
		my @found = split /\n/, merge_all($seed, $kind);

		is(join("\n", sort @found), join("\n", sort @expected), "seed $seed, $kind: the versions are those of the sorted events");
		$totals{versions} += @expected;
	}
	$totals{events} += () = join('', map { slurp_file($_) } glob("$root/feed/$seed/*/*.jsonl")) =~ /\n/g;
}
diag("$seeds seeds, $totals{events} events, $totals{merges} merges, $totals{versions} versions");
cmp_ok($totals{versions}, '>', $seeds, 'there was something to compare');

$node->stop;
done_testing();
