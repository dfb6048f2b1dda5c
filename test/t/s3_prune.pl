# s3_prune.pl: partitioned objects on a real S3 server: conditions leave out folders and objects, the answers are those of the same
# rows in a plain table, and the requests are counted in the server's own log.
use strict;
use warnings;
use utf8;
use DmS3;
use Encode;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_parallel_workers_per_gather = 0');
$node->start;
my %keys = (access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key');
sub sql { return $node->safe_psql('postgres', encode('UTF-8', $_[0])) }
sql('CREATE EXTENSION datamill');
make_server($node, 'lake', { endpoint => $rgw{http}, url_style => 'path' }, \%keys);
s3('mb', 'lake');

# Writes objects: key => text.
sub fill
{
	my ($bucket, %objects) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/objects';
	open my $out, '>', $file or die;
	print $out JSON::PP->new->ascii->encode([ $_, $objects{$_} ]), "\n" for sort keys %objects;
	close $out;
	s3('fill', $bucket, $file);
	return;
}

# Runs SQL; returns its answer, the number of listings and of objects fetched.
sub counted
{
	my ($sql) = @_;
	my $answer;
	my @requests = rgw_requests(sub { $answer = sql($sql) });
	return ($answer, scalar(grep { /list-type=2/ } @requests), scalar(grep { m{^GET /lake/[^?]} } @requests), \@requests);
}

# 2,200 folders of one object, and much beside them that does not match or is none: files among folders, folder marks, deeper objects.
my %objects = map { ("k/k=$_/part.csv" => "id,v\n$_," . $_ * $_ . "\n") } 1 .. 2200;
fill('lake', %objects, map { ($_ => "id,v\n-1,-1\n") } 'k/k=5.csv', 'k/k=5', 'k/readme.csv', 'k/k=9/sub/deeper.csv', 'k/other=1/part.csv', 'k/k=10x');
fill('lake', map { ("k/k=$_/" => '') } 3 .. 8, 3000);
sql(q{CREATE FOREIGN TABLE k (id int, v int, k int) SERVER lake OPTIONS (url 's3://lake/k/k=*/*.csv', header 'true');
	CREATE TABLE k_rows AS SELECT i AS id, i * i AS v, i AS k FROM generate_series(1, 2200) i});
my ($answer, $lists, $gets) = counted('SELECT count(*), sum(id), sum(v), sum(k) FROM k');
is($answer, sql('SELECT count(*), sum(id), sum(v::bigint), sum(k) FROM k_rows'), 'all of 2,200 folders');
is("$lists $gets", '3 2200', 'three pages of keys, once');
($answer, $lists, $gets) = counted('SELECT * FROM k WHERE k = 1234');
is($answer, '1234|1522756|1234', 'one folder of 2,200');
# one page to see whether it is all, three of folders, one in the folder
is("$lists $gets", '5 1', 'five listings, one object');
($answer, $lists, $gets) = counted('SELECT id FROM k WHERE k IN (5, 9, 2200) ORDER BY 1');
is("$answer $lists $gets", "5\n9\n2200 7 3", 'three folders');
($answer, $lists, $gets) = counted('SELECT count(*) FROM k WHERE k < 0');
is("$answer $gets", '0 0', 'no folder: nothing is read');
my $explained = decode_json(sql('EXPLAIN (ANALYZE, FORMAT json) SELECT * FROM k WHERE k = 1234'))->[0]{Plan};
is(join(' ', map { $explained->{$_} } 'List Requests', 'Requests', 'Objects Read', 'Folders Pruned'), '5 6 1 2200', 'EXPLAIN says the same (k=3000 is a folder, too)');

# Prepared statements, correlated subqueries, joins, parallel scans.
for my $mode (qw(force_custom_plan force_generic_plan))
{
	($answer, $lists, $gets) = counted("SET plan_cache_mode = $mode; PREPARE q(int) AS SELECT id FROM k WHERE k = \$1; EXECUTE q(77); EXECUTE q(78)");
	is("$answer $gets", "77\n78 2", "parameters: $mode");
}
is(sql('SELECT count(*), sum((SELECT v FROM k WHERE k.k = r.k)) FROM k_rows r WHERE r.k IN (3, 8, 2199)'), '3|' . (9 + 64 + 2199**2), 'a correlated subquery');
($answer, $lists, $gets) = counted('SELECT id FROM k WHERE k = (SELECT max(k) - 1 FROM k_rows)');
is("$answer $gets", '2199 1', 'a subquery whose value is known when the scan begins');
my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';
is(sql("$parallel SELECT count(*), sum(v) FROM k WHERE k BETWEEN 100 AND 399 OR k = 2200"), sql('SELECT count(*), sum(v) FROM k_rows WHERE k BETWEEN 100 AND 399 OR k = 2200'), 'in parallel');

# Odd values, from unload and from the other client (which percent-encodes as Hive does, and as little as it can).
sql(q{CREATE TABLE facts AS SELECT i AS id, (ARRAY['sp ace', 'pl+us', 'per%cent%20', 'ünï☃𝄞', 'quo''te"', '<&>amp;', 'a/b=c', 'back\slash|^', 'br{a}[c]*?', E'new\nline', NULL, '.', '..', '~$;,:@'])[1 + i % 14] AS region,
	'2026-01-01'::date + i % 4 AS day, i % 3 AS n, i * 1.5 AS amount FROM generate_series(1, 1500) i});
sql(q{SELECT datamill.unload('public.facts', 's3://lake/un/f_', '{"partition_by": ["region", "day"], "header": true, "server": "lake"}')});
my %by;
for (split /\n/, sql(q{SELECT encode(convert_to(coalesce(region, '__HIVE_DEFAULT_PARTITION__'), 'UTF8'), 'hex'), day, id, n, amount FROM facts ORDER BY id}))
{
	my ($region, $day, @rest) = split /\|/;
	$region = decode('UTF-8', pack 'H*', $region);
	$region =~ s/([%\/\n])/sprintf '%%%02X', ord $1/ge;
	$by{"py/region=$region/x$day/day=$day/a.csv"} .= join(',', @rest) . "\n";
}
$by{$_} = "id,n,amount\n$by{$_}" for keys %by;
fill('lake', %by);
fill('lake', map { ("py/region=pad$_/x0/nothing" => '') } 1 .. 1100);
my $columns = 'id int, n int, amount numeric, region text, day date';
sql("CREATE FOREIGN TABLE un ($columns) SERVER lake OPTIONS (url 's3://lake/un/region=*/day=*/*.csv', header 'true');
	CREATE FOREIGN TABLE py ($columns) SERVER lake OPTIONS (url 's3://lake/py/region=*/x*/day=*/*.csv', header 'true')");
srand 20261121;
my @atoms = (
	q{region = 'sp ace'}, q{region = 'per%cent%20'}, q{region IS NULL}, q{region IS NOT NULL}, q{region LIKE 'b%'}, q{region IN ('pl+us', 'ünï☃𝄞', '.', 'none')}, q{region > 'b'},
	q{region = 'quo''te"'}, q{region = '<&>amp;'}, q{region = 'a/b=c'}, q{region = 'back\slash|^'}, q{region = 'br{a}[c]*?'}, q{region = E'new\nline'}, q{region = '~$;,:@'}, q{region = '..'}, q{length(region) = 5},
	q{day = '2026-01-02'}, q{day BETWEEN '2026-01-02' AND '2026-01-03'}, q{day <> '2026-01-01'}, q{extract(day FROM day) = 4}, q{n = 1}, q{id % 7 = 2}, q{amount > 500}, q{region || day = 'pl+us2026-01-03'},
	q{coalesce(region, 'x') = 'x'}, q{day = '2027-01-01'}, q{(region = '.') IS NOT TRUE}, q{(day, region) < ('2026-01-03', 'b')});
my @conditions = @atoms;
for (1 .. 40)
{
	my @some = map { (rand() < 0.3 ? 'NOT ' : '') . "($_)" } map { $atoms[ rand @atoms ] } 1 .. 2 + int rand 2;
	push @conditions, join rand() < 0.5 ? ' OR ' : ' AND ', @some;
}
my $same = sub { my $t = shift; join ' UNION ALL ', map { 'SELECT ' . quote($_) . " WHERE (SELECT ROW(count(*), sum(id), sum(amount), sum(hashtext(region)), max(day)) FROM $t WHERE $_)"
	  . " IS DISTINCT FROM (SELECT ROW(count(*), sum(id), sum(amount), sum(hashtext(region)), max(day)) FROM facts WHERE $_)" } @_ };
for my $table (qw(un py))
{
	is(sql(join ';', map { $same->($table, $_) } @conditions), '', scalar(@conditions) . " conditions: $table");
	is(sql("(SELECT id, region, day, n, amount FROM $table EXCEPT ALL TABLE facts) UNION ALL (TABLE facts EXCEPT ALL SELECT id, region, day, n, amount FROM $table)"), '', "all rows: $table");
}
($answer, $lists, $gets) = counted(q{SELECT count(*) FROM py WHERE region = 'per%cent%20' AND day = '2026-01-02'});
is($answer, sql(q{SELECT count(*) FROM facts WHERE region = 'per%cent%20' AND day = '2026-01-02'}), 'two steps and a wildcard between');
cmp_ok($gets, '<=', 1, 'one object at most');

# Foreign tables as partitions of a Postgres table; two users' servers, joined; a bucket that a server does not allow.
sql(q{CREATE TABLE parts (id int, v int, k int) PARTITION BY RANGE (k);
	CREATE FOREIGN TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (1000) SERVER lake OPTIONS (url 's3://lake/k/k={[0-9],[0-9][0-9],[0-9][0-9][0-9]}/*.csv', header 'true');
	CREATE FOREIGN TABLE parts_b PARTITION OF parts FOR VALUES FROM (1000) TO (9999) SERVER lake OPTIONS (url 's3://lake/k/k=[0-9][0-9][0-9][0-9]/*.csv', header 'true')});
is(sql('SELECT count(*), sum(v::bigint) FROM parts'), sql('SELECT count(*), sum(v::bigint) FROM k_rows'), 'partitions of a Postgres table');
($answer, $lists, $gets) = counted('SELECT v FROM parts WHERE k = 2000');
is("$answer $gets", '4000000 1', 'one partition of one partition');
my %other = (access_key_id => 'RGWOTHERKEY', secret_access_key => 'othersecret');
make_server($node, 'lake2', { endpoint => $rgw{http}, url_style => 'path', buckets => 'theirs' }, \%other);
s3({ S3_KEY => 'RGWOTHERKEY', S3_SECRET => 'othersecret' }, 'mb', 'theirs');
s3({ S3_KEY => 'RGWOTHERKEY', S3_SECRET => 'othersecret' }, 'put', 'theirs', "k/k=$_/a.csv", "id,v\n$_,0\n") for 7, 70, 7000;
sql(q{CREATE FOREIGN TABLE k2 (id int, v int, k int) SERVER lake2 OPTIONS (url 's3://theirs/k/k=*/*.csv', header 'true')});
is(sql('SELECT k.v, k2.k FROM k JOIN k2 USING (id) ORDER BY 2'), "49|7\n4900|70", 'a join of two servers');
is(sql('SELECT sum(id) FROM (SELECT * FROM k WHERE k = 70 UNION ALL SELECT * FROM k2 WHERE k > 7) u'), 70 + 70 + 7000, 'UNION ALL of two servers');
sql(q{CREATE FOREIGN TABLE k3 (id int) SERVER lake2 OPTIONS (url 's3://lake/k/k=*/*.csv', header 'true')});
like(sql_error($node, 'TABLE k3'), qr/42501: server "lake2" does not allow bucket "lake"/, 'a bucket that is not allowed');

# 10,000 small objects: ten listings (and one more where a page of 1,000 ends the list), once each.
fill('lake', map { (sprintf('tiny/%05d.csv', $_) => "id,v\n$_,1\n") } 1 .. 10000);
sql(q{CREATE FOREIGN TABLE tiny (id int, v int) SERVER lake OPTIONS (url 's3://lake/tiny/*.csv', header 'true'); CREATE TABLE target (id int, v int)});
my $memory = q{SELECT sum(total_bytes) < 64 * 1024 * 1024 FROM pg_backend_memory_contexts};
for my $do ('SELECT count(*) FROM tiny', q{SELECT rows FROM datamill.load('s3://lake/tiny/*.csv', 'target', options => '{"server": "lake"}')},
	q{SELECT inserted FROM datamill.cdc_merge('public.merged', 's3://lake/tiny/*.csv', '{id}', '2026-02-01', options => '{"server": "lake"}')})
{
	my $began = time;
	($answer, $lists, $gets) = counted("$do; $memory");
	my $took = time - $began;
	is("$answer $lists", "10000\nt 10", "10,000 objects, ten listings: $do");
	cmp_ok($gets, '<=', 10008, 'each fetched once, some for a sample');
	diag("$do: $took s, $gets objects fetched");
}
$node->stop;
done_testing();
