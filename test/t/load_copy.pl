# load_copy.pl: COPY of s3:// URLs through the hook, compared with COPY of the same files; loads that are killed.
use strict;
use warnings;
use DmCrash;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use IPC::Run qw(start finish);
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'datamill'\nrestart_after_crash = on\nautovacuum = off\n");
$node->start;
my $buckets = $ENV{DM_BUCKETS};
my $day     = "$buckets/load/day";

# Runs SQL that must fail and returns what it says.
sub fails
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);
	return $status ? $err : "succeeded: $out";
}

like(fails("CREATE TABLE early (a int); COPY early FROM 's3://load/day/a.csv' WITH (FORMAT csv)"),
	qr/relative path|could not open file|No such file/, 'without the extension COPY is as it was');
$node->safe_psql('postgres', <<SQL);
CREATE EXTENSION datamill;
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$buckets');
CREATE TABLE ours (id int CHECK (id > 0), name text, amount numeric, no int GENERATED ALWAYS AS IDENTITY, note text DEFAULT 'none',
  twice numeric GENERATED ALWAYS AS (amount * 2) STORED);
CREATE TABLE theirs (LIKE ours INCLUDING ALL);
CREATE TABLE log (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log VALUES (TG_TABLE_NAME || '' '' || NEW.id); RETURN NEW; END';
CREATE TRIGGER note BEFORE INSERT ON ours FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note BEFORE INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION note();
SQL

# Copies one file both ways and compares tables, tags and triggers.
sub same
{
	my ($columns, $file, $options, $name) = @_;
	my ($ours, $theirs, $err);
	$node->psql('postgres', "COPY ours $columns FROM 's3://load/$file' WITH (server 'lake', $options)",
		stderr => \$err, extra_params => [ '-o', '/dev/null' ], on_error_stop => 1);
	my $tag = $node->safe_psql('postgres', "\\set QUIET off\nCOPY theirs $columns FROM '$buckets/load/$file' WITH ($options)");
	is($node->safe_psql('postgres', '(TABLE ours EXCEPT ALL TABLE theirs) UNION ALL (TABLE theirs EXCEPT ALL TABLE ours)'),
		'', "$name: the same rows");
	is($node->safe_psql('postgres', "SELECT count(*) FROM ours"), $node->safe_psql('postgres', "SELECT count(*) FROM theirs"),
		"$name: as many");
	is($node->safe_psql('postgres', "SELECT count(*) FROM log WHERE what LIKE 'ours %'"),
		$node->safe_psql('postgres', "SELECT count(*) FROM log WHERE what LIKE 'theirs %'"), "$name: the same triggers");
	$node->safe_psql('postgres', 'TRUNCATE ours, theirs RESTART IDENTITY; TRUNCATE log');
}

same('(id, name, amount)', 'day/a.csv', 'FORMAT csv, HEADER', 'a column list with a header');
same('(id, name, amount)', 'day/a.csv', 'FORMAT csv, HEADER match', 'header match');
same('(amount, id, name)', 'day/b.csv', 'FORMAT csv, HEADER', 'columns in another order');
same('(id, note)', 'bad/plain.txt', "FORMAT csv, DELIMITER ';'", 'without a header, by position');
same('(id, name, amount)', 'day/a.csv', "FORMAT csv, HEADER, FORCE_NOT_NULL (name)", 'force_not_null');

is($node->safe_psql('postgres', "\\set QUIET off\nCOPY ours (id, name, amount) FROM 's3://load/day/[ab].csv' (FORMAT csv, HEADER)"),
	'COPY 4', 'command tag, glob, the only server');
is($node->safe_psql('postgres', "\\set QUIET off\nCOPY ours (id, name, amount) FROM 's3://load/day/[ab].csv' CSV HEADER"),
	'COPY 4', 'old syntax; no ledger');
is($node->safe_psql('postgres', "\\set QUIET off
COPY ours (id, name, amount) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER, ledger true);
COPY ours (id, name, amount) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER, ledger true)"), "COPY 3\nCOPY 0", 'with ledger');
is($node->safe_psql('postgres', "SELECT kind, count(*) FROM datamill.receipts GROUP BY 1"), 'copy|9', 'receipts');

like(fails("COPY ours FROM 's3://load/day/a.csv'"), qr/needs a format/, 'no format');
like(fails("COPY ours FROM 's3://load/day/a.csv' (FORMAT text)"), qr/format text is not supported yet/, 'text');
like(fails("COPY ours FROM 's3://load/day/a.csv' (FORMAT csv, CONVERT_SELECTIVELY (id))"), qr/option "convert_selectively" is not supported yet/, 'not there yet');
like(fails("COPY ours FROM 's3://load/day/a.csv' (FORMAT csv, HEADR)"), qr/unknown option "headr".*Perhaps you meant "header"/s, 'unknown');
like(fails("COPY ours FROM 's3://load/day/a.csv' (FORMAT csv, FORMAT csv)"), qr/conflicting or redundant/, 'twice');
like(fails("COPY ours (twice) FROM 's3://load/day/a.csv' (FORMAT csv)"), qr/is a generated column/, 'generated');
like(fails("COPY ours (id, name) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER)"), qr/Fields that are no column: "amount"/, 'too few');
like(fails("COPY ours FROM 's3://load/day/a.csv' (FORMAT csv, HEADER)"), qr/Columns that are no field: "no", "note"/, 'too many');
like(fails("COPY ours (id) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER, FORCE_NULL (name))"), qr/not one of those/, 'force_null');
like(fails("COPY nothing FROM 's3://load/day/a.csv' (FORMAT csv)"), qr/relation "nothing" does not exist/, 'no table');
like(fails("BEGIN READ ONLY; COPY ours FROM 's3://load/day/a.csv' (FORMAT csv)"), qr/read-only/, 'read only');
$node->safe_psql('postgres', 'CREATE ROLE someone; GRANT USAGE ON FOREIGN SERVER lake TO someone');
like(fails("SET ROLE someone; COPY ours FROM 's3://load/day/a.csv' (FORMAT csv)"), qr/permission denied for table/, 'rights');
$node->safe_psql('postgres', 'GRANT INSERT (id, name, amount) ON ours TO someone; GRANT INSERT ON log TO someone');
is($node->safe_psql('postgres', "SET ROLE someone; COPY ours (id, name, amount) FROM 's3://load/day/a.csv' (FORMAT csv, HEADER); SELECT 1"),
	'1', 'rights on the columns');
like(fails("SET ROLE someone; COPY ours (id, note) FROM 's3://load/day/a.csv' (FORMAT csv)"), qr/permission denied for table/, 'one lacks');

$node->safe_psql('postgres', 'CREATE TABLE j (id int, name text, tags text[])');
is($node->safe_psql('postgres', "\\set QUIET off\nCOPY j FROM 's3://load/day/*.jsonl' (FORMAT jsonl)"), 'COPY 2', 'JSON lines');

# Loads that are killed at any moment are done whole or not at all, with their ledger.
my $big = "$buckets/load/big.csv";
$node->safe_psql('postgres', "COPY (SELECT i AS id, md5(i::text) AS name FROM generate_series(1, 200000) i) TO '$big' (FORMAT csv, HEADER)");
my ($whole, $none) = (0, 0);
for my $delay_ms (5, 20, 60, 120, 200, 400)
{
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS target; CREATE TABLE target (id int PRIMARY KEY, name text)');
	my ($in, $out, $err) = ("SELECT 'pid ' || pg_backend_pid();\nSELECT rows FROM datamill.load('s3://load/big.csv', 'target');\n", '', '');
	my $psql = start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], \$in, \$out, \$err);
	$psql->pump until $out =~ /pid (\d+)/;
	my ($pid) = $out =~ /pid (\d+)/;
	my $checkpointer = checkpointer_of($node);
	usleep($delay_ms * 1000);
	kill 'KILL', $pid;
	eval { finish($psql) };
	wait_for_restart($node, $checkpointer, 1);
	my $state = $node->safe_psql('postgres',
		"SELECT (SELECT count(*) FROM target), count(*), coalesce(sum(rows), 0) FROM datamill.loaded_objects WHERE target = 'target'::regclass");
	ok($state eq '0|0|0' || $state eq '200000|1|200000', "killed after $delay_ms ms: $state");
	$state eq '0|0|0' ? $none++ : $whole++;
	$node->safe_psql('postgres', "SELECT datamill.load('s3://load/big.csv', 'target')");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM target'), '200000', 'the next load completes it exactly once');
}
ok($none > 0, 'some were killed in the middle');
$node->stop;
done_testing();
