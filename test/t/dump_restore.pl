# dump_restore.pl: what users define on datamill survives pg_dump and a restart.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE a');
$node->safe_psql('postgres', 'CREATE DATABASE b');
$node->safe_psql('a', <<'SQL');
CREATE EXTENSION datamill;
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'http://127.0.0.1:1', region 'us-east-1', url_style 'path');
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (access_key_id 'an id', secret_access_key 'a secret');
CREATE FOREIGN TABLE day1 (key1 uuid, value1 bigint OPTIONS (name 'Value 1')) SERVER lake OPTIONS (url 's3://retail/day1/*.csv', format 'csv', header 'true');
SQL

# a ledger: of a table that is there, and of one that is dropped
$node->safe_psql('a', <<SQL);
CREATE SERVER files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$ENV{DM_BUCKETS}');
CREATE TABLE kept (id int, name text, amount numeric);
CREATE TABLE dropped (LIKE kept);
SELECT datamill.load('s3://load/day/a.csv', t, options => '{"server": "files"}') FROM unnest('{kept,dropped}'::regclass[]) t;
DROP TABLE dropped;
SQL

my $dump = "$PostgreSQL::Test::Utils::tmp_check/a.sql";
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('a') ], 'pg_dump');
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('b') ], 'restore into another database');
$node->restart;

my $question = <<'SQL';
SELECT o FROM pg_foreign_server, unnest(srvoptions) o ORDER BY o;
SELECT o FROM pg_user_mappings, unnest(umoptions) o ORDER BY o;
SELECT o FROM pg_foreign_table, unnest(ftoptions) o ORDER BY o;
SELECT attname, attfdwoptions FROM pg_attribute WHERE attrelid = 'day1'::regclass AND attnum > 0 ORDER BY attnum;
SELECT extname, extversion FROM pg_extension ORDER BY extname;
SQL
my $before = $node->safe_psql('a', $question);
like($before, qr/Value 1/, 'the original has its options');
is($node->safe_psql('b', $question), $before, 'the copy has the same');
is($node->safe_psql('b', "SELECT target, bucket, key, rows FROM datamill.load_catalog"), 'kept|load|day/a.csv|3', 'the ledger of tables that are there');
is($node->safe_psql('b', q{SELECT files_skipped, rows FROM datamill.load('s3://load/day/a.csv', 'kept', options => '{"server": "files"}')}),
	'1|0', 'what was loaded before the dump is not loaded again');

$node->stop;
done_testing();
