# load_unload.pl: unload() and COPY TO on a real S3 server (Ceph RGW): what is written is read by gzip, zstd and Python, and
# by load(); what fails, is cancelled or meets another writer leaves no object and no open multipart upload.
use strict;
use warnings;
use DmS3;
use IPC::Run qw(start finish run);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "session_preload_libraries = 'datamill'\ndatamill.default_server = 'lake'\nclient_min_messages = warning");
$node->start;
my $tmp = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', 'CREATE EXTENSION datamill');
make_server($node, 'lake', { endpoint => $rgw{http}, part_size => '5MB' }, { access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key' });
s3('mb', 'out');
$node->safe_psql('postgres', q{CREATE TABLE t AS SELECT i AS id, md5(i::text) || md5((-i)::text) AS noise, CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE E'a "b",\n' || i END AS note,
  i % 300 AS part, i / 7.0 AS n FROM generate_series(1, 200000) i});

# SQL's only result.
sub sql { return $node->safe_psql('postgres', $_[0]) }
# Keys under a prefix; their sizes.
sub keys_of { return map { (split / /, $_, 2)[1] } split /\n/, s3('list', 'out', $_[0]) }
sub sizes_of { return map { (split / /, $_, 2)[0] } split /\n/, s3('list', 'out', $_[0]) }
# Runs a program with input; returns its output.
sub filter { my ($in, @command) = @_; my $out; run(\@command, '<', \$in, '>', \$out) or return "@command failed"; return $out }
# A name under a prefix is nowhere: neither as an object nor as an open upload.
sub nothing_left
{
	my ($prefix, $name) = @_;
	is(join(',', keys_of($prefix)), '', "$name: no object");
	is(s3('uploads', 'out'), '', "$name: no open upload");
	return;
}

# One big file is a multipart upload with the bytes of COPY TO a file.
sql("COPY t TO '$tmp/core.csv' (FORMAT csv, HEADER)");
my $core = slurp_file("$tmp/core.csv");
is(sql("SELECT files, rows, bytes FROM datamill.unload('t', 's3://out/whole/t')"), '1|200000|' . length $core, 'one file');
ok(s3('get', 'out', 'whole/t00000.csv') eq $core, 'has the bytes of COPY TO');
like(s3('head', 'out', 'whole/t00000.csv'), qr{content-type: text/csv.*etag: "\w{32}-\d+"}s, 'sent in parts, and says what it is');
is(sql("\\set QUIET off\nCOPY t TO 's3://out/copied/t.csv' (FORMAT csv, HEADER)"), 'COPY 200000', 'COPY TO, its tag');
ok(s3('get', 'out', 'copied/t.csv') eq $core, 'and bytes');
sql("COPY t TO 's3://out/copied/t.csv.gz' (FORMAT csv, HEADER)");
ok(filter(s3('get', 'out', 'copied/t.csv.gz'), 'gzip', '-dc') eq $core, 'compressed by its name');
is(sql("\\set QUIET off\nCOPY (UPDATE t SET n = n WHERE id <= 2 RETURNING id) TO 's3://out/copied/u.csv' (FORMAT csv)"), 'COPY 2', 'UPDATE RETURNING');
is(s3('get', 'out', 'copied/u.csv'), "1\n2\n", 'its rows');
like(sql_error($node, "COPY t TO 's3://out/copied/t.csv' (FORMAT csv)"), qr{42710: object "s3://out/copied/t.csv" exists already.*overwrite}s, 'not twice');

# Compressed and split: the programs' own checks, every file within the size, nearly all of it used, and read back by Python and load().
my $python = "import csv, sys, io\nr = csv.reader(io.TextIOWrapper(sys.stdin.buffer, 'utf-8', newline=''))\nnext(r)\nrows = list(r)\nprint(len(rows), sum(int(x[0]) for x in rows), sum(len(x[2]) for x in rows))";
for (['gzip', '.csv.gz', 'gzip', '-dc'], [ 'zstd', '.csv.zst', 'zstd', '-dc' ], [ 'none', '.csv', 'cat' ])
{
	my ($compression, $suffix, @program) = @$_;
	my ($files) = sql("SELECT files FROM datamill.unload('t', 's3://out/$compression/t', '{\"compression\": \"$compression\", \"max_file_size\": \"1MB\", \"manifest\": true}')");
	my @sizes = sizes_of("$compression/t0");
	is(scalar @sizes, $files, "$compression: $files files");
	is(scalar(grep { $_ > 1024 * 1024 } @sizes), 0, 'none too large');
	pop @sizes;
	cmp_ok((sort { $a <=> $b } @sizes)[0], '>', 1024 * 1024 * 0.95, 'and nearly all of the size is used');
	my ($rows, $ids, $notes) = (0, 0, 0);
	for my $i (0 .. $files - 1)
	{
		my $plain = filter(s3('get', 'out', sprintf("%s/t%05d%s", $compression, $i, $suffix)), @program);
		my @counts = split / /, filter($plain, 'python3', '-c', $python);
		$rows += $counts[0];
		$ids += $counts[1];
		$notes += $counts[2];
	}
	is("$rows|$ids|$notes", sql("SELECT count(*), sum(id), sum(coalesce(length(note), 0)) FROM t"), 'Python reads the same');
	is(sql("CREATE TABLE back (LIKE t); SELECT datamill.load('s3://out/$compression/t*$suffix', 'back') IS NULL; "
		  . '(TABLE t EXCEPT ALL TABLE back) UNION ALL (TABLE back EXCEPT ALL TABLE t); DROP TABLE back'), 'f', 'and load() too');
	my $check = "import json, sys\nm = json.load(sys.stdin)\nprint(len(m['entries']), sum(e['meta']['content_length'] for e in m['entries']), "
	  . "sum(e['meta']['record_count'] for e in m['entries']), all(e['mandatory'] for e in m['entries']), m['entries'][0]['url'])";
	my $bytes = 0;
	$bytes += $_ for sizes_of("$compression/t0");
	is(filter(s3('get', 'out', "$compression/tmanifest"), 'python3', '-c', $check), "$files $bytes 200000 True s3://out/$compression/t00000$suffix\n", 'the manifest');
}

# Hundreds of folders, each a file of its own, all of them published together.
is(sql("SELECT files, rows FROM datamill.unload('t', 's3://out/parts/t', '{\"partition_by\": \"part\", \"format\": \"jsonl\", \"compression\": \"gzip\"}')"), '300|200000', '300 folders');
is(scalar(keys_of('parts/')), 300, 'are there');
is(filter(s3('get', 'out', 'parts/part=17/t00000.jsonl.gz'), 'sh', '-c', 'gzip -dc | wc -l') + 0, sql('SELECT count(*) FROM t WHERE part = 17'), 'one has its rows');
is(sql("SELECT count(*), sum((o ->> 'size')::bigint) > 0, count(DISTINCT o ->> 'sha256') FROM datamill.receipts, jsonb_array_elements(outputs) o WHERE definition = 's3://out/parts/t'"),
	'300|t|300', 'and all stand in the receipt');
sql("SELECT datamill.unload('SELECT * FROM t WHERE part < 10', 's3://out/parts/t', '{\"partition_by\": \"part\", \"format\": \"jsonl\", \"overwrite\": \"clean\"}')");
is(join(',', keys_of('parts/')), join(',', map { "parts/part=$_/t00000.jsonl" } 0 .. 9), 'clean leaves the new ones alone');

# A row that fails in the middle.
like(sql_error($node, "SELECT datamill.unload('SELECT *, 1 / (id - 150000) FROM t', 's3://out/fails/t', '{\"max_file_size\": \"2MB\", \"manifest\": true}')"), qr/22012: division by zero/, 'a bad row');
nothing_left('fails/', 'a bad row');
like(sql_error($node, "COPY (SELECT *, 1 / (id - 190000) FROM t) TO 's3://out/fails/t.csv' (FORMAT csv)"), qr/22012: division by zero/, 'a bad row in COPY');
nothing_left('fails/', 'a bad row in COPY');

# Cancelled and terminated in the middle, at several moments.
for my $how (qw(cancel terminate))
{
	for my $delay_ms (100, 400, 900, 1500)
	{
		my $query = "SELECT t.*, CASE WHEN id % 2000 = 0 THEN pg_sleep(0.02) END AS s FROM t";
		my ($in, $out, $err) = ("SELECT 'pid ' || pg_backend_pid();\nSELECT datamill.unload('$query', 's3://out/stopped/t', '{\"max_file_size\": \"6MB\"}');\n", '', '');
		my $psql = start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], \$in, \$out, \$err);
		$psql->pump until $out =~ /pid (\d+)/;
		my ($pid) = $out =~ /pid (\d+)/;
		usleep($delay_ms * 1000);
		is(sql("SELECT pg_${how}_backend($pid)"), 't', "$how after $delay_ms ms");
		eval { finish($psql) };
		like($err, qr/canceling statement|terminating connection/, 'is the error');
		nothing_left('stopped/', "$how after $delay_ms ms");
	}
}

# Another writer takes the name in the meantime: its object stays.
{
	my ($out, $err) = ('', '');
	my $psql = start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c',
			"SELECT datamill.unload('SELECT id, pg_sleep(0.3) AS s FROM t LIMIT 5', 's3://out/taken/t')" ], '<', \undef, '>', \$out, '2>', \$err);
	usleep(700_000);
	s3('put', 'out', 'taken/t00000.csv', 'mine');
	eval { finish($psql) };
	like($err, qr{42710.*"s3://out/taken/t00000.csv"}s, 'a name taken by another writer');
	is(s3('get', 'out', 'taken/t00000.csv'), 'mine', 'is left to it');
	is(s3('uploads', 'out'), '', 'no open upload');
}

# Rolled back or not, what the statement has published stays; a failed statement of a transaction leaves nothing.
sql("BEGIN; SELECT datamill.unload('SELECT 1 AS a', 's3://out/rolled/t'); ROLLBACK");
is(join(',', keys_of('rolled/')), 'rolled/t00000.csv', 'a rolled back unload is there');
$node->stop;
done_testing();
