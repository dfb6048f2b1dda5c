# cdc_copies.pl: copies of datasets. A logical subscriber has the publisher's rows after any merge and undo; a dataset that was
# dumped and restored, with whatever settings, goes on where the original was.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->start;

# what each dataset is created with
my %settings = (
	plain => '{}',
	nulls => '{"null_keys": "allow", "stamp_operation": true}',
	rich => '{"sensitive": ["tax"], "history_partition": "month", "history_index": "both", "kinds": {"first": 0, "seen": 3}, "names": {"operation": "Op", "eff_end_date": "until"}}');
my $columns = 'id int, name text, tax text, first int, seen int';

# The batch of a day, from a formula: rows come, go and change.
sub batch
{
	my ($day, $nulls) = @_;
	my $id = $nulls ? 'CASE WHEN i = 7 THEN NULL ELSE i END' : 'i';
	return "SELECT $id AS id, 'n' || (i * $day % 4) AS name, 't' || (i + $day) % 5 AS tax, $day AS first, CASE WHEN i % 9 = 0 THEN $day ELSE 1 END AS seen "
	  . "FROM generate_series(1, 60) i WHERE (i + $day) % 6 <> 0";
}

sub merge
{
	my ($node, $name, $day) = @_;
	my $source = batch($day, $name eq 'nulls');
	return $node->safe_psql('postgres', "SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('d.$name', \$q\$$source\$q\$, effective => date '2020-01-01' + 20 * $day)");
}

# All rows of a dataset's tables, as text.
sub rows
{
	my ($node, $name) = @_;
	my @tables = map { "d.$name$_" } $name eq 'rich' ? ('', '_history', '_sensitive', '_sensitive_history') : ('', '_history');
	return $node->safe_psql('postgres', join(' UNION ALL ', map { "SELECT '$_', (to_jsonb(t))::text FROM $_ t" } @tables) . ' ORDER BY 1, 2');
}

$publisher->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE SCHEMA d');
for my $name (sort keys %settings)
{
	$publisher->safe_psql('postgres', "SELECT datamill.create_dataset('d.$name', '{id}', '$columns', options => '$settings{$name}')");
	merge($publisher, $name, $_) for 1 .. 3;
}

# the subscriber has the tables without the extension
my $schema = "$PostgreSQL::Test::Utils::tmp_check/schema.sql";
command_ok([ 'pg_dump', '-s', '-t', 'd.plain*', '-t', 'd.nulls*', '-f', $schema, $publisher->connstr('postgres') ], 'pg_dump of the tables');
$subscriber->safe_psql('postgres', 'CREATE SCHEMA d');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $schema, $subscriber->connstr('postgres') ], 'the tables at the subscriber');
$publisher->safe_psql('postgres', "CREATE PUBLICATION p FOR TABLE d.plain, d.nulls; CREATE PUBLICATION h FOR TABLE d.plain_history, d.nulls_history WITH (publish = 'insert')");
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION p, h");
$subscriber->wait_for_subscription_sync($publisher, 's');
for my $day (4 .. 6)
{
	merge($publisher, $_, $day) for ('plain', 'nulls');
}
$publisher->wait_for_catchup('s');
is(rows($subscriber, $_), rows($publisher, $_), "$_: the subscriber is equal") for ('plain', 'nulls');
# taking back deletes from history, of which only inserts are published here: current follows
$publisher->safe_psql('postgres', "SELECT datamill.cdc_undo('d.plain')");
$publisher->wait_for_catchup('s');
is($subscriber->safe_psql('postgres', 'SELECT to_jsonb(t) FROM d.plain t ORDER BY id'),
	$publisher->safe_psql('postgres', 'SELECT to_jsonb(t) FROM d.plain t ORDER BY id'), 'plain: current is equal after an undo');
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION s');

# dump and restore
my $dump = "$PostgreSQL::Test::Utils::tmp_check/all.sql";
command_ok([ 'pg_dump', '-f', $dump, $publisher->connstr('postgres') ], 'pg_dump');
$subscriber->safe_psql('postgres', 'DROP SCHEMA d CASCADE');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $subscriber->connstr('postgres') ], 'restore');
for my $name (sort keys %settings)
{
	is(rows($subscriber, $name), rows($publisher, $name), "$name: the same rows");
	is(merge($subscriber, $name, 7), merge($publisher, $name, 7), "$name: the same counts from the next merge");
	is($subscriber->safe_psql('postgres', "SELECT * FROM datamill.check_dataset('d.$name')"), '', "$name: sound");
	is($subscriber->safe_psql('postgres', "SELECT count(*) FROM datamill.datasets WHERE current_table = 'd.$name'::regclass AND versions_view = 'd.${name}_versions'::regclass"), '1', "$name: a dataset");
}
is($subscriber->safe_psql('postgres', "SELECT kinds, sensitive, names->>'operation', history_partition FROM datamill.datasets WHERE current_table = 'd.rich'::regclass"),
	'{"seen": 3, "first": 0}|["tax"]|Op|month', 'the settings are those of the original');
$publisher->stop;
$subscriber->stop;
done_testing();
