# s3_versions.pl: objects as they were at a time (option as_of), in a bucket with versions on Ceph RGW; written by test/lib/s3.py.
use strict;
use warnings;
use utf8;
use DmS3;
use Encode;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
make_server($node, 'lake', { endpoint => $rgw{http} }, { access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key' });

# The time between two writes, by the database's clock, which is RGW's.
sub moment
{
	return $node->safe_psql('postgres', 'SELECT pg_sleep(1.2); SELECT clock_timestamp(); SELECT pg_sleep(1.2)') =~ s/^\s+|\s+$//gr;
}

# Rows of the bucket at a time, or as it is now.
sub rows
{
	my ($as_of) = @_;
	$node->safe_psql('postgres', 'SET client_min_messages = error; DROP FOREIGN TABLE IF EXISTS t; CREATE FOREIGN TABLE t (id int, v text, _file text) SERVER lake OPTIONS '
		. "(url 's3://kept/d/*.csv', allow_empty 'true'" . ($as_of ? ', as_of ' . quote($as_of) : '') . ')');
	return $node->safe_psql('postgres', "SELECT string_agg(id || v || ' ' || regexp_replace(_file, '.*/', ''), ', ' ORDER BY id) FROM t");
}

s3('mb', 'kept');
s3('versions', 'kept');
my $before = moment();
s3('put', 'kept', 'd/a.csv', "id,v\n1,first\n");
s3('put', 'kept', encode_utf8('d/b+ ü&.csv'), "id,v\n2,stays\n");
my $first = moment();
s3('put', 'kept', 'd/a.csv', "id,v\n1,second\n");
s3('put', 'kept', 'd/c.csv', "id,v\n3,new\n");
my $second = moment();
s3('rm', 'kept', 'd/a.csv');
my $removed = moment();
s3('put', 'kept', 'd/a.csv', "id,v\n1,back\n");
my $last = moment();

is(rows($before), '', 'before there was anything');
is(decode_utf8(rows($first)), '1first a.csv, 2stays b+ ü&.csv', 'the first versions');
is(decode_utf8(rows($second)), '1second a.csv, 2stays b+ ü&.csv, 3new c.csv', 'a version that was replaced since');
is(decode_utf8(rows($removed)), '2stays b+ ü&.csv, 3new c.csv', 'an object that had been removed');
is(decode_utf8(rows($last)), '1back a.csv, 2stays b+ ü&.csv, 3new c.csv', 'and came back');
is(decode_utf8(rows()), '1back a.csv, 2stays b+ ü&.csv, 3new c.csv', 'as it is now');

# As sources; receipt and ledger know the versions. The same etag twice is the same content, whatever its version.
my $options = sub { quote('{"server": "lake", "as_of": "' . $_[0] . '"}') };
is($node->safe_psql('postgres', 'CREATE TABLE loaded (id int, v text); SELECT files, rows FROM datamill.load(' . "'s3://kept/d/*.csv', 'loaded', options => " . $options->($second) . ')'),
	'3|3', 'load() of a time');
is($node->safe_psql('postgres', "SELECT count(*), count(version), count(DISTINCT version) FROM datamill.loaded_objects"), '3|3|3', 'the ledger has the versions');
is($node->safe_psql('postgres', "SELECT count(*) FROM datamill.receipts, jsonb_array_elements(inputs) i WHERE i->>'version' IN (SELECT version FROM datamill.loaded_objects)"),
	'3', 'so has the receipt');
is($node->safe_psql('postgres', "SELECT inserted FROM datamill.cdc_merge('dim', 's3://kept/d/*.csv', '{id}', '2026-01-01', options => " . $options->($first) . ')'), '2', 'cdc_merge of a time');
is($node->safe_psql('postgres', "SELECT inserted, updated, deleted FROM datamill.cdc_merge('dim', 's3://kept/d/*.csv', effective => '2026-01-02', options => " . $options->($removed) . ')'),
	'1|0|1', '... and of a later one');

# More versions than a page holds; the pages may cut a key's versions apart.
s3('mb', 'many');
s3('versions', 'many');
s3('many', 'many', 'x/', 700);
my $half = moment();
s3('many', 'many', 'x/', 900);
my $sum = sub {
	$node->safe_psql('postgres', "SET client_min_messages = error; DROP FOREIGN TABLE IF EXISTS m; CREATE FOREIGN TABLE m (id int, v int) SERVER lake OPTIONS (url 's3://many/x/*.csv'"
		. ($_[0] ? ', as_of ' . quote($_[0]) : '') . '); SELECT count(*), sum(id) FROM m');
};
is($sum->($half), '700|244650', 'over several pages');
is($sum->(), '900|404550', '... and now');

# What it cannot do.
like(sql_error($node, "SELECT datamill.load('s3://kept/d/*.csv', 'loaded', options => '{\"server\": \"lake\", \"as_of\": \"yesterdays\"}')"), qr/22007: invalid input syntax for type timestamp/,
	'no time');
make_server($node, 'folder', { endpoint => 'file://' . PostgreSQL::Test::Utils::tempdir() }, undef);
mkdir PostgreSQL::Test::Utils::tempdir() . '/b';
$node->safe_psql('postgres', "CREATE FOREIGN TABLE l (id int) SERVER folder OPTIONS (url 's3://b/*.csv', as_of '2026-01-01')");
like(sql_error($node, 'SELECT * FROM l'), qr/0A000: server "folder" keeps no versions of objects.*as_of/s, 'a local folder');
$node->stop;
done_testing();
