# job_receipts.pl: what runs read and wrote: seen by datamill itself, told by their bodies.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $buckets = PostgreSQL::Test::Utils::tempdir();
mkdir "$buckets/in";
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\ntimezone = UTC\nautovacuum = off");
$node->start;
my $db = 'postgres';
sub sql { return $node->safe_psql($db, $_[0]); }

sub put { my ($name, $text) = @_; open my $file, '>', "$buckets/in/$name" or die $!; print $file $text; close $file or die $!; return; }

# Runs a job to its end; returns its number.
sub run_of
{
	my ($call) = @_;
	my $id = sql("SELECT datamill.$call");
	$node->poll_query_until($db, "SELECT finished_at IS NOT NULL FROM datamill.runs WHERE run_id = $id") or die "run $id does not end";
	return $id;
}

# What became of a run, and what its own receipt says of inputs and outputs, without what differs from time to time.
sub state { return sql("SELECT concat_ws('|', state, sqlstate, message) FROM datamill.runs WHERE run_id = $_[0]"); }
sub receipt { my ($run, $columns) = @_; return sql("SELECT $columns FROM datamill.receipts WHERE run_id = $run AND kind = 'job'"); }
my $brief = "concat_ws(' > ', (SELECT string_agg(concat_ws('=', i ->> 'uri', i ->> 'rows'), ' ' ORDER BY n) FROM jsonb_array_elements(inputs) WITH ORDINALITY x(i, n)), "
	. "(SELECT string_agg((o ->> 'uri') || (o -> 'counts')::text, ' ' ORDER BY n) FROM jsonb_array_elements(outputs) WITH ORDINALITY x(o, n)))";
sub job { my ($name, $body, $more) = @_; sql("SELECT datamill.create_job('$name', \$body\$$body\$body\$" . ($more ? ", $more" : '') . ')'); return; }

put('one.csv', "id,v\n1,a\n2,b\n");
put('two.csv', "id,v\n3,c\n");
my $prepare = qq{CREATE EXTENSION datamill; CREATE SERVER files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$buckets');
	CREATE TABLE src (id int PRIMARY KEY, v text); INSERT INTO src SELECT n, 'v' || n FROM generate_series(1, 10) n;
	CREATE TABLE dst (id int PRIMARY KEY, v text); CREATE TABLE child (id int REFERENCES src);
	CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (5); CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (5) TO (100);
	CREATE VIEW seen AS SELECT * FROM src WHERE id <= 4; CREATE MATERIALIZED VIEW kept AS SELECT * FROM src;
	CREATE FOREIGN TABLE objects (id int, v text) SERVER files OPTIONS (url 's3://in/*.csv', format 'csv', header 'true');};
sql($prepare . ' CREATE TABLE "Odd""" (id int); CREATE TABLE wide AS SELECT n FROM generate_series(1, 20000) n');

# What plain SQL reads and writes.
job('copy', 'INSERT INTO dst SELECT * FROM src WHERE id > 3');
is(receipt(run_of("run('copy')"), $brief), 'public.src=7 > public.dst{"deleted": 0, "updated": 0, "inserted": 7}', 'a table into another');
job('change', q{UPDATE dst SET v = v || 'x' WHERE id > 8; DELETE FROM dst WHERE id = 4; INSERT INTO dst VALUES (4, 'y'), (5, 'z') ON CONFLICT DO NOTHING});
is(receipt(run_of("run('change')"), $brief), ' > public.dst{"deleted": 1, "updated": 2, "inserted": 1}' =~ s/^ > //r, 'a table that is changed in place is no input');
job('merge', q{MERGE INTO dst USING seen s ON s.id = dst.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v)});
is(receipt(run_of("run('merge')"), $brief), 'public.src=4 > public.dst{"deleted": 0, "updated": 1, "inserted": 3}', 'MERGE from a view');
job('parts', q{INSERT INTO parted SELECT * FROM src; CREATE TABLE made AS SELECT id FROM parted WHERE id < 9; REFRESH MATERIALIZED VIEW kept; CREATE TEMP TABLE t AS SELECT count(*) FROM kept});
is(receipt(run_of("run('parts')"), $brief), 'public.kept=10 public.parted=8 public.src=20 > public.kept{} public.made{"deleted": 0, "updated": 0, "inserted": 8} public.parted{"deleted": 0, "updated": 0, "inserted": 10}',
	'partitions, tables that are made, materialized views, no temporary tables');
job('with', q{WITH moved AS (DELETE FROM made WHERE id > 6 RETURNING id) INSERT INTO child SELECT id FROM moved});
is(receipt(run_of("run('with')"), $brief), 'public.child{"deleted": 0, "updated": 0, "inserted": 2} public.made{}', 'WITH that writes; foreign keys read nothing');
sql(q{CREATE FUNCTION work() RETURNS void LANGUAGE plpgsql AS $$BEGIN FOR i IN 1 .. 3 LOOP INSERT INTO made SELECT 100 + i;
	BEGIN INSERT INTO dst VALUES (1000 + i, 'gone'); PERFORM datamill.record_output('x://gone'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
	BEGIN UPDATE parted SET v = 'p' WHERE id = i; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END$$});
job('function', 'SELECT work()');
is(receipt(run_of("run('function')"), $brief), 'public.made{"deleted": 0, "updated": 0, "inserted": 3} public.parted{"deleted": 0, "updated": 3, "inserted": 0}', 'in functions, but not what is taken back');
job('join', q{SET enable_hashjoin = off; SELECT count(*) FROM src a JOIN dst b USING (id); EXPLAIN SELECT * FROM parted; SELECT 1 FROM src WHERE false; COPY made FROM PROGRAM 'echo 7'});
is(receipt(run_of("run('join')"), "split_part($brief, '=', 1) || outputs::text"), 'public.dst[{"uri": "public.made", "counts": {"deleted": 0, "updated": 0, "inserted": 1}}]', 'what is planned only is not read');
job('parallel', q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off; EXPLAIN SELECT count(*) FROM wide WHERE n > 10; CREATE TABLE counted AS SELECT count(*) FROM wide WHERE n > 10;
	SELECT count(*) FROM wide WHERE n <= 10});
my $parallel = run_of("run('parallel')");
is(receipt($parallel, $brief), 'public.wide=20000 > public.counted{"deleted": 0, "updated": 0, "inserted": 1}', 'rows that parallel workers read');
job('shown', q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; EXPLAIN SELECT count(*) FROM wide WHERE n > 10});
like(sql('SELECT result FROM datamill.runs WHERE run_id = ' . run_of("run('shown')")), qr/Workers Planned/, '... which there were');
job('objects', 'INSERT INTO made SELECT id FROM objects');
my $objects = run_of("run('objects')");
is(receipt($objects, $brief), 's3://in/one.csv=2 s3://in/two.csv=1 > public.made{"deleted": 0, "updated": 0, "inserted": 3}', 'objects, not their foreign table');
is(receipt($objects, "count(*) FILTER (WHERE i ->> 'server' = 'files' AND length(i ->> 'sha256') = 64)::text || ' ' || (array_agg(code = (SELECT definition FROM datamill.jobs WHERE name = 'objects')))[1]"
	=~ s/\z/ FROM (SELECT code, jsonb_array_elements(inputs) i FROM datamill.receipts WHERE run_id = $objects) x --/r), '2 true', 'with server and digest, and the digest of the code');
job('load', q{SELECT * FROM datamill.load('SELECT * FROM src', 'parted')});
my $load = run_of("run('load')");
is(sql("SELECT string_agg(kind, ',' ORDER BY receipt_no) FROM datamill.receipts WHERE run_id = $load"), 'load', 'what load() does is in a receipt of its own alone');
is(sql("SELECT jsonb_path_query_array(inputs, '\$[*].metadata') FROM datamill.receipts WHERE run_id = $load"), '[{"relations": ["public.src"]}]', '... with the tables that its query names');
sql(q{SELECT * FROM datamill.load('SELECT s.id FROM seen s JOIN "Odd""" o USING (id) JOIN objects USING (id) CROSS JOIN (SELECT count(*) FROM pg_class) c', 'made')});
is(sql("SELECT i -> 'metadata' FROM datamill.receipts, jsonb_array_elements(inputs) i WHERE kind = 'load' AND i ->> 'uri' = 'query' ORDER BY receipt_no DESC LIMIT 1"), '{"relations": ["public.\"Odd\"\"\"", "public.src"]}', '... by way of views, and quoted');

# What bodies tell.
job('told', q{SELECT datamill.record_input('https://user:hunter2@api.example.com/x?page=1&X-Amz-Signature=abcdef&sig=12#t', 'v7', repeat('AB', 32), 12, 3, '{"cursor": "https://h/?token=tiger", "n": [1]}');
	SELECT datamill.record_output('smtp://relay', '{"sent": 2}', metadata => '{"to": "ann"}'); SELECT datamill.record_metadata('why', '"first"'); SELECT datamill.record_metadata('why', '{"url": "s3://a/b?AWSAccessKeyId=lion&x=1"}'); SELECT datamill.record_metadata('nothing', NULL)});
my $told = run_of("run('told')");
is(receipt($told, 'inputs'), '[{"uri": "https://user:*******@api.example.com/x?page=1&X-Amz-Signature=******&sig=**#t", "rows": 3, "size": 12, "sha256": "' . 'ab' x 32
	. '", "version": "v7", "metadata": {"n": [1], "cursor": "https://h/?token=*****"}}]', 'an input, without secrets');
is(receipt($told, 'outputs'), '[{"uri": "smtp://relay", "counts": {"sent": 2}, "metadata": {"to": "ann"}}]', 'an output');
is(receipt($told, 'metadata'), '{"why": {"url": "s3://a/b?AWSAccessKeyId=****&x=1"}, "nothing": null}', 'metadata');
is(sql("SELECT count(*) FROM datamill.receipt_log WHERE run_id = $told AND (inputs || outputs || metadata)::text ~ 'hunter2|abcdef|tiger|lion'"), '0', '... nowhere a secret');
for ([ "record_input('')", 'the URI of an input must have 1 to 8192 bytes' ], [ 'record_input(NULL)', 'the URI of an input must have 1 to 8192 bytes' ], [ "record_output(repeat('x', 8193))", 'the URI of an output must have 1 to 8192 bytes' ],
	[ "record_input('x', sha256 => 'abc')", 'sha256 must be 64 hexadecimal digits' ], [ "record_input('x', size => -1)", 'size must not be below zero' ], [ "record_input('x', rows => -1)", 'rows must not be below zero' ],
	[ "record_input('x', metadata => '[1]')", 'metadata of an input must be a JSON object' ], [ "record_output('x', '[1]')", 'counts of an output must be a JSON object' ], [ "record_output('x', '{\"a\": \"b\"}')", 'counts of an output must be numbers, as in {"inserted": 3}' ],
	[ "record_metadata('', '1')", 'metadata needs a key that is not empty' ])
{
	sql("SELECT datamill.create_job('bad', \$b\$SELECT datamill.$$_[0]\$b\$)");
	is(state(run_of("run('bad')")), "failed|22023|$$_[1]", $$_[0]);
	sql("SELECT datamill.drop_job('bad')");
}
job('much', q{SELECT datamill.record_metadata('x' || n, to_jsonb(repeat('x', 1000000))) FROM generate_series(1, 20) n});
is(state(run_of("run('much')")), 'failed|54000|a run can record 16777216 bytes at most', 'no more than there is room for');
for my $call ("record_input('x')", "record_output('x')", "record_metadata('x', '1')")
{
	my ($name) = $call =~ /(\w+)/;
	my ($code, $out, $err) = $node->psql('postgres', "SELECT datamill.$call");
	like($err, qr/$name\(\) can be called in the run of a job only/, "$name outside of a run");
}

# The same work in another database has the same ids.
sub ids
{
	return sql("SELECT string_agg(DISTINCT name || r.id, ' ' ORDER BY name || r.id) FROM datamill.runs JOIN datamill.receipts r USING (run_id) WHERE name IN ('objects', 'told')");
}
my $here = ids();
run_of("run('told')");
is(ids(), $here, 'the same run again has the same id');
sql('CREATE DATABASE other');
my @bodies = map { sql("SELECT body FROM datamill.jobs WHERE name = '$_'") } qw(objects told);
$db = 'other';
sql($prepare . ' CREATE TABLE made (id int)');
job('objects', $bodies[0]);
job('told', $bodies[1]);
run_of("run('objects')");
run_of("run('told')");
is(ids(), $here, '... and in another database');
$db = 'postgres';
sql(q{SELECT datamill.alter_job('told', jsonb_build_object('body', body || ' ')) FROM datamill.jobs WHERE name = 'told'});
my $changed = run_of("run('told')");
isnt(receipt($changed, 'id'), receipt($told, 'id'), 'another body, another id');

# Who is told what: outputs that a user makes up start nobody's jobs.
job('watcher', 'SELECT 1', "watch => 'relation:public.dst'");
job('liar', q{SELECT datamill.record_output('public.dst', '{"inserted": 1}'); SELECT datamill.record_output('s3://x/"y', '{}')});
is(state(run_of("run('liar')")), 'succeeded', 'an output that is made up');
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'watcher'"), '0', '... starts no job that watches');
job('writer', q{INSERT INTO dst VALUES (77, 'w')});
run_of("run('writer')");
is(sql("SELECT count(*), min(arguments ->> 'relation') FROM datamill.runs WHERE name = 'watcher'"), '1|public.dst', 'plain SQL of a run does');
sql(q{CREATE ROLE ann LOGIN; GRANT USAGE ON SCHEMA datamill TO ann});
is(sql("SET ROLE ann; SELECT count(*) FROM datamill.receipts"), '0', 'others see nothing');
unlike(slurp_file($node->logfile), qr/PANIC|server process .* was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
