# source_sniff.pl: how CSV is written, as foreign_table_ddl() finds out, on files of Python's csv module (test/lib/sniff_files.py): found or
# said to be in doubt, but never wrong.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $lib = $ENV{DM_LIB} or die 'DM_LIB is not set: run bash test/run.sh tap';
my $folder = PostgreSQL::Test::Utils::tempdir();
mkdir "$folder/b";
my ($list, $error) = ('', '');
IPC::Run::run([ 'python3', "$lib/sniff_files.py", "$folder/b", $ENV{SEED} // 7, 300 ], '<', \'', '>', \$list, '2>', \$error) or die $error;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;
$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION datamill;
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$folder');
CREATE TABLE files (name text, delimiter text, header bool, columns int);
CREATE FUNCTION found(url text, OUT ddl text, OUT doubt text) LANGUAGE plpgsql AS \$\$
BEGIN
  ddl := datamill.foreign_table_ddl(url, 'x');
EXCEPTION WHEN bad_copy_file_format THEN doubt := SQLERRM;
END \$\$;
SQL
append_to_file("$folder/list", $list);
$node->safe_psql('postgres', "\\copy files FROM '$folder/list'");
$node->safe_psql('postgres', q{
	CREATE TABLE results AS SELECT f.*, x.ddl, x.doubt, CASE WHEN ddl !~ 'delimiter' THEN 'comma' WHEN ddl ~ 'delimiter '';''' THEN 'semicolon'
		WHEN ddl ~ E'delimiter ''\t''' THEN 'tab' WHEN ddl ~ 'delimiter ''[|]''' THEN 'bar' END AS got, ddl ~ 'header ''true''' AS got_header,
		(length(ddl) - length(replace(ddl, E'\n  ', ''))) / 3 AS got_columns FROM files f, found('s3://b/' || name) x});
is($node->safe_psql('postgres', 'SELECT name, delimiter, got FROM results WHERE got <> delimiter'), '', 'no wrong delimiter');
is($node->safe_psql('postgres', 'SELECT name, columns, got_columns FROM results WHERE got_columns <> columns'), '', 'no wrong number of columns');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM results WHERE doubt IS NOT NULL'), '<', 30, 'few in doubt');
is($node->safe_psql('postgres', "SELECT name, doubt FROM results WHERE doubt !~ '^cannot tell the delimiter of'"), '', '... which say so');
# A header is never read as data. Data is taken for a header only where all columns are text, and then a NOTICE says so.
is($node->safe_psql('postgres', 'SELECT name FROM results WHERE header AND NOT got_header'), '', 'no header read as data');
my $wrong = $node->safe_psql('postgres', 'SELECT name FROM results WHERE NOT header AND got_header');
my $unsaid = '';
for my $name (split /\n/, $wrong)
{
	my ($code, $out, $err) = $node->psql('postgres', "SELECT datamill.foreign_table_ddl('s3://b/$name', 'x')");
	$unsaid .= "$name " if $err !~ /NOTICE:  the first record of "s3:\/\/b\/$name" is taken for a header.*all columns are text/s;
}
is($unsaid, '', 'no data taken for a header in silence');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM results WHERE NOT header AND NOT got_header'), '>', 80, 'data without header is found to be that');
$node->stop;
done_testing();
