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

$node->stop;
done_testing();
