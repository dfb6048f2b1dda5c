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

# datasets of several roles, jobs; tables and a role that are gone before the dump or not there at the restore
$node->safe_psql('a', <<'SQL');
SET client_min_messages = warning;
CREATE ROLE "Ann B" LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE cara LOGIN;
GRANT CREATE ON SCHEMA public TO PUBLIC;
SET ROLE "Ann B";
SELECT datamill.cdc_merge('public.anns', 'SELECT 1 AS id, 1 AS v', keys => '{id}', effective => '2026-01-01');
SELECT datamill.cdc_merge('public.anns', 'SELECT 1 AS id, 2 AS v', effective => '2026-01-02');
SELECT datamill.cdc_merge('public.gone', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
SELECT datamill.cdc_merge('public.half', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
SELECT datamill.create_job('nightly', 'SELECT 1', '0 3 * * *');
SET ROLE bob;
SELECT datamill.cdc_merge('public.bobs', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
SELECT datamill.create_job('nightly', 'SELECT 2', '0 3 * * *');

SET ROLE cara;
SELECT datamill.cdc_merge('public.caras', 'SELECT 1 AS id', keys => '{id}', effective => '2026-01-01');
SELECT datamill.create_job('nightly', 'SELECT 3', '0 3 * * *');
RESET ROLE;
ALTER TABLE caras OWNER TO bob;
DROP TABLE gone, gone_history CASCADE;
DROP TABLE half_history CASCADE;
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

# Where roles of the dump are missing, no row is lost, and nobody gets another's.
my $custom = "$PostgreSQL::Test::Utils::tmp_check/a.dump";
my $tables = "$PostgreSQL::Test::Utils::tmp_check/tables.dump";
$node->safe_psql('a', 'REASSIGN OWNED BY cara TO bob');
command_ok([ 'pg_dump', '-Fc', '-f', $custom, $node->connstr('a') ], 'pg_dump -Fc');
command_ok([ 'pg_dump', '-Fc', '-t', 'anns*', '-f', $tables, $node->connstr('a') ], 'pg_dump -t');
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE ROLE bob; CREATE ROLE eve; CREATE DATABASE c; CREATE DATABASE d');
command_ok([ 'pg_restore', '--no-owner', '--no-acl', '-d', $other->connstr('c'), $custom ], 'pg_restore --no-owner in a cluster without some of the roles');
is($other->safe_psql('c', "SELECT string_agg(current_table || ' ' || owner, ', ' ORDER BY current_table::text) FROM datamill.datasets"), 'anns postgres, bobs postgres, caras postgres', 'whole datasets are there, and their tables\' owners\'');
is($other->safe_psql('c', "SELECT string_agg(dataset || ' ' || (merged_by::text), ', ' ORDER BY dataset::text, merge_id) FROM datamill.merges") =~ s/ \d{10}/ ?/gr, 'anns ?, anns ?, bobs bob, caras ?', '... merges, too');
is($other->safe_psql('c', "SELECT count(*), count(DISTINCT owner), bool_and(state = 'active') FROM datamill.job_catalog WHERE name = 'nightly'"), '3|3|t', '... jobs of one name stay apart');
is($other->safe_psql('c', "SELECT count(*) FROM datamill.receipts") , $node->safe_psql('a', 'SELECT count(*) FROM datamill.receipts'), '... and receipts');
is($other->safe_psql('c', "SELECT count(*) FROM datamill.receipts r, LATERAL (SELECT count(*) FROM datamill.verify_receipt(r.id)) v WHERE r.definition LIKE '%anns%'"), '2', '... which a superuser may have verified, whosever they were');
is($other->safe_psql('c', "SET ROLE eve; SELECT count(*) FROM datamill.merges; SELECT count(*) FROM datamill.receipts; SELECT count(*) FROM datamill.jobs") =~ s/\n/ /gr, '0 0 0', 'none of it is a stranger\'s');
is($other->safe_psql('c', "SELECT updated FROM datamill.cdc_merge('anns', 'SELECT 1 AS id, 3 AS v', effective => '2026-01-03'); SELECT count(*) FROM datamill.check_dataset('anns')"), "1\n0", 'a merge goes on');

# Tables alone, without the extension's catalogs, are taken up again.
$other->safe_psql('d', 'CREATE EXTENSION datamill; SELECT datamill.cdc_merge(\'public.first\', \'SELECT 1 AS id\', keys => \'{id}\')');
command_ok([ 'pg_restore', '--no-owner', '--no-acl', '-d', $other->connstr('d'), $tables ], 'pg_restore of the tables of a dataset');
is($other->safe_psql('d', q{SET client_min_messages = warning; SELECT datamill.create_dataset('anns', '{id}'); SELECT updated FROM datamill.cdc_merge('anns', 'SELECT 1 AS id, 3 AS v', effective => '2026-01-03');
	SELECT string_agg(concat_ws(' ', v, operation, valid), ', ' ORDER BY valid) FROM anns_versions; SELECT count(*) FROM datamill.check_dataset('anns'); SELECT restored FROM datamill.cdc_undo('anns')}),
	"anns\n1\n1 I [2026-01-01,2026-01-02), 2 U [2026-01-02,2026-01-03), 3 U [2026-01-03,)\n0\n1", '... with its history');
$other->stop;
$node->stop;
done_testing();
