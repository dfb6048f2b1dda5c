# job_replay.pl: runs that read again exactly what an earlier run read, and receipts that are verified; on Ceph RGW and a local folder.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use DmS3;
use IO::Uncompress::Gunzip qw(gunzip);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %rgw = start_rgw();
plan skip_all => 'Ceph RGW is not installed' unless %rgw;
my $node = PostgreSQL::Test::Cluster->new('main');
my $buckets = PostgreSQL::Test::Utils::tempdir();
mkdir "$buckets/in";
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 16\ntimezone = UTC\nautovacuum = off\ndatamill.default_server = files");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub error_of { my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]"); return $err =~ /ERROR:  (.*)/ ? $1 : "no error: $out"; }
sub put { my ($name, $text) = @_; open my $file, '>', "$buckets/in/$name" or die $!; print $file $text; close $file or die $!; return; }

# Queues by a function and waits for the end; returns the run's number.
sub end_of
{
	my ($call) = @_;
	my $id = sql("SELECT datamill.$call");
	$node->poll_query_until('postgres', "SELECT finished_at IS NOT NULL FROM datamill.runs WHERE run_id = $id") or die "run $id does not end";
	return $id;
}
sub state { return sql("SELECT concat_ws('|', state, sqlstate, message) FROM datamill.runs WHERE run_id = $_[0]"); }
sub replay { my ($receipt, $more) = @_; return end_of("replay('$receipt'" . ($more ? ", $more" : '') . ')'); }
sub id_of { return sql("SELECT id FROM datamill.receipts WHERE run_id = $_[0] AND kind = '" . ($_[1] // 'job') . "'"); }
sub receipt_of { return sql("SELECT $_[1] FROM datamill.receipts WHERE run_id = $_[0] AND kind = 'job'"); }
sub rows { my ($table) = @_; return sql("SELECT string_agg(id || v, ',' ORDER BY id, v) FROM $table"); }
sub verify { return sql("SELECT string_agg(concat_ws(' ', regexp_replace(uri, '.*/', ''), role, status), ', ' ORDER BY role, uri) FROM datamill.verify_receipt('$_[0]')"); }
sub job { my ($name, $body, $more) = @_; sql("SELECT datamill.create_job('$name', \$body\$$body\$body\$" . ($more ? ", $more" : '') . ')'); return; }

sql('CREATE EXTENSION datamill; CREATE TABLE t (id int, v text); CREATE TABLE l (id int, v text)');
make_server($node, 'lake', { endpoint => $rgw{http} }, { access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key' });
make_server($node, 'files', { endpoint => "file://$buckets" });
sql(qq{CREATE FOREIGN TABLE lake_in (id int, v text) SERVER lake OPTIONS (url 's3://kept/d/*.csv', format 'csv', header 'true');
	CREATE FOREIGN TABLE files_in (id int, v text) SERVER files OPTIONS (url 's3://in/*.csv', format 'csv', header 'true')});

# A local folder keeps no versions: what was read must still be there.
put('a.csv', "id,v\n1,a\n");
put('b.csv', "id,v\n2,b\n");
job('copy', 'TRUNCATE t; INSERT INTO t SELECT * FROM files_in; INSERT INTO t SELECT n, datamill.arguments() ->> $$x$$ FROM generate_series(9, 9) n', q{arguments => '{"x": "q"}'});
my $copy = end_of(q{run('copy', '{"x": "r"}')});
my $receipt = id_of($copy);
is(rows('t'), '1a,2b,9r', 'a run');
is(verify($receipt), 'a.csv input same, b.csv input same', 'its inputs are what they were');
put('c.csv', "id,v\n3,c\n");
my $again = replay($receipt);
is(state($again), 'succeeded', 'a replay');
is(rows('t'), '1a,2b,9r', '... does not see what came since, and has the arguments');
is(sql("SELECT r.trigger || r.attempt || r.reason || (r.scheduled_time = o.scheduled_time) FROM datamill.runs r, datamill.runs o WHERE r.run_id = $again AND o.run_id = $copy"), "replay2replay of run ${copy}true", '... is for the same time');
is(id_of($again), $receipt, '... and has the same receipt');
my $plain = end_of("run('copy')");
is(rows('t'), '1a,2b,3c,9q', 'a run of its own sees all');
put('b.csv', "id,v\n2,B\n");
is(verify($receipt), 'a.csv input same, b.csv input changed', 'an object that was replaced');
is(state(replay($receipt)), 'failed|DM001|object "s3://in/b.csv" is not there any more as it was read', '... keeps a replay from being one');
is(rows('t'), '1a,2b,3c,9q', '... which takes back what it did');
unlink "$buckets/in/b.csv";
is(verify($receipt), 'a.csv input same, b.csv input gone', 'an object that was removed');
is(state(replay($receipt)), 'failed|DM001|object "s3://in/b.csv" is not there any more as it was read', '... as well');
put('b.csv', "id,v\n2,b\n");
is(state(replay($receipt)), 'succeeded', 'with the same bytes it is there again') or diag(verify($receipt));
chmod 0, "$buckets/in/a.csv";
SKIP:
{
	skip 'root reads all', 1 if $> == 0;
	is(verify($receipt), 'a.csv input not readable, b.csv input same', 'an object that cannot be read');
}
chmod 0644, "$buckets/in/a.csv";

# What has changed besides.
sql(q{SELECT datamill.alter_job('copy', '{"body": "TRUNCATE t; INSERT INTO t SELECT * FROM files_in WHERE id < 100"}')});
is(error_of("SELECT datamill.replay('$receipt')"), qq{55000: job "copy" has changed since run $again}
	=~ s/run \d+/'run ' . sql("SELECT max(run_id) FROM datamill.receipts WHERE id = '$receipt'")/er, 'a job that has changed');
is(state(replay($receipt, 'force => true')), 'succeeded', '... with force');
is(rows('t'), '1a,2b', '... on the same objects');
sql(q{SELECT datamill.alter_job('copy', '{"body": "INSERT INTO t SELECT * FROM files_in WHERE false AND id = 1"}')});
like(state(replay($receipt, 'force => true')), qr{^failed\|DM001\|the replay of run \d+ did not read "s3://in/a.csv"$}, 'a replay that reads less is none');
job('load', q{SELECT * FROM datamill.load('s3://in/*.csv', 'l', options => '{"header": true}')});
my $load = end_of("run('load')");
like(state(replay(id_of($load, 'load'))), qr{^failed\|DM001\|the replay of run \d+ did not read "s3://in/a.csv"$}, 'the ledger keeps a load from being done twice');
sql("SELECT datamill.forget_loads('l'); TRUNCATE l");
put('d.csv', "id,v\n4,d\n");
is(state(replay(id_of($load, 'load'))), 'succeeded', '... until it is forgotten');
is(rows('l'), '1a,2b,3c', '... and reads what it read');
is(error_of("SELECT datamill.replay('x')"), '42704: receipt "x" does not exist', 'no receipt');
is(error_of("SELECT * FROM datamill.verify_receipt('x')"), '42704: receipt "x" does not exist', '... to verify');
my $session = sql(q{SELECT receipt FROM datamill.unload('SELECT * FROM l', 's3://in/out/x')});
is(error_of("SELECT datamill.replay('$session')"), qq{55000: receipt "$session" was not written by the run of a job}, 'what no run wrote');
is(verify($session), 'x00000.csv output same', '... can be verified');
is(sql("SELECT found = expected FROM datamill.verify_receipt('$session')"), 't', '... etag, digest and size');
sql('CREATE ROLE ann LOGIN; GRANT USAGE ON SCHEMA datamill TO ann');
is(error_of("SET ROLE ann; SELECT datamill.replay('$receipt')"), qq{42704: receipt "$receipt" does not exist}, "others' receipts");
is(error_of("SET ROLE ann; SELECT * FROM datamill.verify_receipt('$receipt')"), qq{42704: receipt "$receipt" does not exist}, '... neither');
job('gone', 'SELECT count(*) FROM files_in');
my $gone = id_of(end_of("run('gone')"));
sql("SELECT datamill.drop_job('gone')");
like(error_of("SELECT datamill.replay('$gone')"), qr/^42704: the job of run \d+ does not exist any more/, 'a job that is gone');
# A run whose row was cleared away is known by its receipt.
job('old', 'TRUNCATE t; INSERT INTO t SELECT * FROM files_in');
my $old = end_of("run('old')");
my $old_id = id_of($old);
sql("DELETE FROM datamill.run_catalog WHERE run_id = $old");
put('e.csv', "id,v\n5,e\n");
is(state(replay($old_id)), 'succeeded', 'after the retention of runs');
is(rows('t'), '1a,2b,3c,4d', '... too');

# A bucket with versions has what was replaced and removed.
s3('mb', 'kept');
s3('versions', 'kept');
s3('put', 'kept', 'd/a.csv', "id,v\n1,first\n");
s3('put', 'kept', 'd/b.csv', "id,v\n2,stays\n");
s3('put', 'kept', 'd/c.csv', "id,v\n3,goes\n");
select undef, undef, undef, 1.2;
job('lake', 'TRUNCATE t; INSERT INTO t SELECT * FROM lake_in');
my $lake = end_of("run('lake')");
my $lake_id = id_of($lake);
select undef, undef, undef, 1.2;
s3('put', 'kept', 'd/a.csv', "id,v\n1,second\n");
s3('rm', 'kept', 'd/c.csv');
s3('put', 'kept', 'd/d.csv', "id,v\n4,new\n");
end_of("run('lake')");
is(rows('t'), '1second,2stays,4new', 'a bucket that changed');
is(verify($lake_id), 'a.csv input older version, b.csv input same, c.csv input older version', '... has the versions');
my $back = replay($lake_id);
is(state($back), 'succeeded', '... and can be replayed') or diag(sql("SELECT detail FROM datamill.runs WHERE run_id = $back"));
is(rows('t'), '1first,2stays,3goes', '... as it was');
is(id_of($back), $lake_id, '... with the same receipt');
is(sql("SELECT count(DISTINCT i ->> 'version') FROM datamill.receipts, jsonb_array_elements(inputs) i WHERE run_id = $back AND i ? 'version'"), '2', '... that names the versions');

# What is archived can be read again when its source is gone, whichever server it was on.
mkdir "$buckets/keep";
s3('mb', 'source');
s3('put', 'source', 'x/a.csv', "id,v\n1,one\n");
sql(q{SELECT datamill.unload('SELECT 2 AS id, ''two'' AS v', 's3://source/x/b', options => '{"server": "lake", "compression": "gzip"}')});
sql("CREATE FOREIGN TABLE source_in (id int, v text, _file text) SERVER lake OPTIONS (url 's3://source/x/*', format 'csv', header 'true')");
my $body = 'TRUNCATE t; INSERT INTO t SELECT id, v FROM source_in; INSERT INTO t SELECT id + 10, _file FROM source_in';
job('kept', "SET datamill.archive = 's3://keep/blobs'; $body");
my $kept = end_of("run('kept')");
is(state($kept), 'succeeded', 'a run that archives');
my @blobs = sort glob("$buckets/keep/blobs/*");
is(scalar(@blobs), 2, '... keeps each object') or diag("@blobs");
is_deeply([ map { my $plain; gunzip($_, \$plain); sha256_hex($plain) . '.gz' } @blobs ], [ map { s/.*\///r } @blobs ], '... by its digest, in gzip');
is(receipt_of($kept, "metadata -> 'archive'"), '{"url": "s3://keep/blobs", "server": "files"}', '... and notes where');
my $before = join ' ', map { (stat)[1] . ':' . (stat)[9] } @blobs;
end_of("run('kept')");
is(join(' ', map { (stat)[1] . ':' . (stat)[9] } sort glob("$buckets/keep/blobs/*")), $before, 'what is there is not written again');
s3('rm', 'source', $_) for 'x/a.csv', 'x/b00000.csv.gz';
sql("ALTER SERVER lake OPTIONS (SET endpoint 'http://127.0.0.1:9')");
like(state(end_of("run('kept')")), qr/^failed\|08/, 'the source is gone');
my $kept_id = receipt_of($kept, 'id');
is(state(replay($kept_id)), 'succeeded', '... and a replay reads the archive') or diag(sql('SELECT detail FROM datamill.runs ORDER BY run_id DESC LIMIT 1'));
is(rows('t'), '1one,2two,11s3://source/x/a.csv,12s3://source/x/b00000.csv.gz', '... under the names that the objects had');
is(sql("SELECT count(*) FROM datamill.receipts WHERE id = '$kept_id' AND kind = 'job'"), '3', '... with the same receipt');
unlink $blobs[0];
like(state(replay($kept_id)), qr/^failed\|/, 'a blob that is lacking');
make_server($node, 'lake', { endpoint => $rgw{http} }, { access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key' });
s3('mb', 'blobs');
sql("SELECT datamill.forget_loads('l')");
job('to_lake', q{SET datamill.default_server = 'lake'; SET datamill.archive = 's3://blobs/'; SELECT * FROM datamill.load('s3://in/b.csv', 'l', options => '{"server": "files", "header": true}')});
my $to_lake = end_of("run('to_lake')");
is(state($to_lake), 'succeeded', 'from a folder into a bucket') or diag(sql('SELECT detail FROM datamill.runs ORDER BY run_id DESC LIMIT 1'));
like(s3('ls', 'blobs'), qr/^[0-9a-f]{64}\.gz\n\z/, '... by its digest alone');
unlink "$buckets/in/b.csv";
sql("SELECT datamill.forget_loads('l'); TRUNCATE l");
is(state(replay(receipt_of($to_lake, 'id'))), 'succeeded', '... and back') or diag(sql('SELECT detail FROM datamill.runs ORDER BY run_id DESC LIMIT 1'));
is(rows('l'), '2b', '... by load(), too');
job('meddler', qq{SET datamill.archive = 's3://keep/blobs'; SELECT count(*) FROM files_in; COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; printf "id,v\\n8,z\\n" > $buckets/in/c.csv'});
like(state(end_of("run('meddler')")), qr{^failed\|DM001\|object "s3://in/c.csv" was replaced}, 'what is replaced between reading and archiving fails the run');
job('nowhere', q{SET datamill.archive = 'nowhere'; SELECT count(*) FROM files_in});
is(state(end_of("run('nowhere')")), 'failed|22023|invalid object URL "nowhere"', 'an archive that is no place');
job('not_there', q{SET datamill.archive = 's3://nobucket/x'; SELECT count(*) FROM files_in});
like(state(end_of("run('not_there')")), qr/^failed\|/, 'one that is not there fails the run');
unlike(slurp_file($node->logfile), qr/PANIC|server process .* was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
