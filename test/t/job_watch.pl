# job_watch.pl: jobs that are started by receipts, and by new objects in a store.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use lib $ENV{DM_LIB};
use DmS3;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\ntimezone = UTC\nautovacuum = off");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }

# Receipts of what runs do. A circle of two jobs ends where it began, and what failed starts nothing.
sql(q{CREATE EXTENSION datamill; CREATE TABLE one (n int); CREATE TABLE two (n int); CREATE TABLE three (n int);
	SELECT datamill.create_job('there', 'SELECT * FROM datamill.load(''SELECT 2 AS n'', ''two'')', watch => 'relation:public.one');
	SELECT datamill.create_job('back', 'SELECT * FROM datamill.load(''SELECT 1 AS n'', ''one'')', watch => 'relation:public.two');
	SELECT datamill.create_job('self', 'SELECT * FROM datamill.load(''SELECT 3 AS n'', ''three'')', watch => 'relation:public.three');
	SELECT datamill.create_job('fails', 'SELECT * FROM datamill.load(''SELECT 3 AS n'', ''three''); SELECT 1/0', after => '{back}');
	SELECT * FROM datamill.load('SELECT 0 AS n', 'one')});
becomes("SELECT state FROM datamill.runs WHERE name = 'fails'", 'failed', 'a circle of receipts ends');
is(sql("SELECT string_agg(name || ' ' || trigger || ' ' || state, ', ' ORDER BY run_id) FROM datamill.runs"), 'there watch succeeded, back watch succeeded, fails after failed', '... after one turn');
is(sql("SELECT concat_ws(' ', (SELECT count(*) FROM one), (SELECT count(*) FROM two), (SELECT count(*) FROM three))"), '2 1 0', '... with its rows');
is(sql("SELECT r.arguments - 'receipt' = jsonb_build_object('relation', 'public.two', 'counts', '{\"inserted\": 1}'::jsonb, 'chain', jsonb_build_array(u.job_id)) FROM datamill.runs r, datamill.jobs u WHERE r.name = 'back' AND u.name = 'there'"), 't', '... and what led to it');
sql("SELECT datamill.run('self')");
becomes("SELECT string_agg(state, ',') FROM datamill.runs WHERE name = 'self' AND finished_at IS NOT NULL", 'succeeded', 'a job that writes what it watches');
usleep(300_000);
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'self'"), '1', '... does not start itself');
sql("SELECT * FROM datamill.load('SELECT 0 AS n', 'three')");
becomes("SELECT string_agg(trigger || ' ' || state, ',' ORDER BY run_id) FROM datamill.runs WHERE name = 'self'", 'run succeeded,watch succeeded', '... others do');


# Objects of a local store. A look is a second away.
my $store = "$ENV{DM_TMP}/store";
mkdir $_ for $store, "$store/b", "$store/b/in", "$store/b/other", "$store/each", "$store/latest";
my $mtime = 1767225600;

# Writes an object, modified at a given second of 2026 (or a second after the one before).
sub put
{
	my ($path, $text, $at) = @_;
	open my $file, '>', "$store/$path.tmp~" or die $!;
	print $file $text;
	close $file;
	utime +($at // ++$mtime) x 2, "$store/$path.tmp~";
	rename "$store/$path.tmp~", "$store/$path" or die $!;
	return;
}

# Waits until a job has looked once more from now on, and what it found is done.
sub looked
{
	my ($job) = @_;
	my $due = sql("SELECT next_due FROM datamill.jobs WHERE name = '$job'");
	return $node->poll_query_until('postgres', "SELECT next_due > '$due'::timestamptz + interval '1 s' AND NOT EXISTS (SELECT FROM datamill.runs r WHERE r.name = '$job' AND finished_at IS NULL) FROM datamill.jobs WHERE name = '$job'");
}
sub runs { my ($job) = @_; return sql("SELECT coalesce(string_agg(concat_ws(' ', trigger, state, (SELECT string_agg(regexp_replace(o ->> 'uri', '.*/', ''), '+' ORDER BY i) FROM jsonb_array_elements(arguments -> 'objects') WITH ORDINALITY u(o, i))), ', ' ORDER BY run_id), '') FROM datamill.runs WHERE name = '$job'"); }

sql(qq{CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; GRANT USAGE ON SCHEMA datamill TO ann, bob; GRANT CREATE ON SCHEMA public TO ann;
	CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$store'); GRANT USAGE ON FOREIGN SERVER lake TO ann});
my $merge = q{SELECT * FROM datamill.cdc_merge('public.merged', 's3://b/in/*.csv', keys => '{id}', mode => 'delta', options => jsonb_build_object('objects', datamill.arguments() -> 'objects'))};
put('b/in/1.csv', "id,v\n1,a\n");
put('b/in/2.csv', "id,v\n2,b\n");
put('b/other/3.csv', "id,v\n3,c\n");
put('b/in/note.txt', 'no');
sql('SELECT datamill.create_job(' . join(', ', q{'all'}, quote($merge), q{'every 1 s'}) . ", watch => 'file://$store/b/in/*.csv', owner => 'ann')");
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'all' AND state = 'succeeded'", '1', 'objects that are there at first');
is(runs('all'), 'watch succeeded 1.csv+2.csv', '... are given to one run, oldest first');
is(sql("SELECT string_agg(v, ',' ORDER BY id) FROM merged"), 'a,b', '... which reads just these');
is(sql("SELECT concat_ws('|', e.event, e.owner, jsonb_array_length(e.payload -> 'objects'), e.run_id = r.run_id) FROM datamill.events e JOIN datamill.runs r USING (job_id) WHERE e.event = 'new_objects'"), 'new_objects|ann|2|t', '... and an event tells it');
looked('all');
is(runs('all'), 'watch succeeded 1.csv+2.csv', 'nothing new leaves no row');
put('b/in/4.csv', "id,v\n4,d\n");
looked('all');
is(runs('all'), 'watch succeeded 1.csv+2.csv, watch succeeded 4.csv', 'a new object');
put('b/in/1.csv', "id,v\n1,A\n");
looked('all');
is(runs('all'), 'watch succeeded 1.csv+2.csv, watch succeeded 4.csv, watch succeeded 1.csv', 'an object that was overwritten');
is(sql("SELECT string_agg(v, ',' ORDER BY id) FROM merged"), 'A,b,d', '... is read');
put('b/in/2.csv', "id,v\n2,b\n");
looked('all');
is(runs('all'), 'watch succeeded 1.csv+2.csv, watch succeeded 4.csv, watch succeeded 1.csv, watch succeeded 2.csv', 'the same bytes put again are a new version');
rename "$store/b/in/4.csv", "$store/b/4.csv";
looked('all');
rename "$store/b/4.csv", "$store/b/in/4.csv";
looked('all');
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'all'"), '4', 'one that vanishes and comes back as it was is none');
is(sql("SELECT string_agg(regexp_replace(uri, '.*/', '') || ' ' || (run_id IS NOT NULL), ',' ORDER BY uri, seen_at) FROM datamill.watched_objects WHERE name = 'all'"), '1.csv true,1.csv true,2.csv true,2.csv true,4.csv true', 'what was seen');

# A store that cannot be listed, and a body that fails.
rename "$store/b", "$store/gone";
becomes("SELECT count(*) > 1 FROM datamill.runs WHERE name = 'all' AND trigger = 'look' AND state = 'failed'", 't', 'a bucket that is gone is a failure');
like(sql("SELECT max(message) FROM datamill.runs WHERE name = 'all' AND state = 'failed'"), qr/bucket "b"/, '... that says so');
is(sql("SELECT failures > 1 FROM datamill.jobs WHERE name = 'all'"), 't', '... and counts');
rename "$store/gone", "$store/b";
becomes("SELECT failures FROM datamill.jobs WHERE name = 'all'", '0', 'it recovers');
is(sql("SELECT concat_ws(' ', trigger, state, reason) FROM datamill.runs WHERE name = 'all' ORDER BY run_id DESC LIMIT 1"), 'look succeeded new objects: 0', '... with a row');
is(sql("SELECT count(*) FROM datamill.events WHERE event = 'recovered'"), '1', '... and an event');
put('b/in/5.csv', "id,v\nfive,e\n");
becomes("SELECT state FROM datamill.runs WHERE name = 'all' AND trigger = 'watch' ORDER BY run_id DESC LIMIT 1", 'failed', 'an object that cannot be read');
looked('all');
is(sql("SELECT failures FROM datamill.jobs WHERE name = 'all'"), '1', '... is a failure that a look does not make up for');
sql("SELECT datamill.drop_job('all')");

# Each, in order; and the latest.
put("each/$_.csv", "id\n$_\n", 1767230000 + 1000 - $_ * 10) for 1 .. 5;
sql(qq{SELECT datamill.create_job('each', 'SELECT pg_sleep(0)', 'every 1 s', watch => 'each s3://each/*.csv', owner => 'ann')});
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'each' AND state = 'succeeded'", '5', 'a run for each');
is(runs('each'), join(', ', map { "watch succeeded $_.csv" } reverse 1 .. 5), '... in the order of their times');
is(sql("SELECT bool_and(started_at >= before) FROM (SELECT started_at, lag(finished_at) OVER (ORDER BY run_id) AS before FROM datamill.runs WHERE name = 'each') r"), 't', '... one after another');
put("latest/$_.csv", "id\n$_\n", 1767230000 + $_) for 1 .. 3;
sql(qq{SELECT datamill.create_job('latest', 'SELECT 1', 'every 1 s', watch => 'latest s3://latest/*', owner => 'ann')});
becomes("SELECT concat_ws('|', arguments -> 'objects' -> 0 ->> 'uri', arguments -> 'passed_over', state) FROM datamill.runs WHERE name = 'latest'", 's3://latest/3.csv|2|succeeded', 'the latest alone');
is(sql("SELECT string_agg(uri, ',' ORDER BY uri) FROM datamill.watched_objects WHERE name = 'latest' AND run_id IS NULL"), 's3://latest/1.csv,s3://latest/2.csv', '... others are passed over');

# Pinned.
my $old = sql("SELECT arguments -> 'objects' -> 0 FROM datamill.runs WHERE name = 'latest'");
sql("SELECT datamill.pin('latest', " . quote($old) . ")");
put('latest/4.csv', "id\n4\n");
usleep(2_200_000);
is(runs('latest'), 'watch succeeded 3.csv', 'a job that is pinned does not look');
my $id = sql("SELECT datamill.run('latest')");
becomes("SELECT state || ' ' || (arguments -> 'objects' = jsonb_build_array(" . quote($old) . "::jsonb)) FROM datamill.runs WHERE run_id = $id", 'succeeded true', '... and runs with that');
sql("SELECT datamill.unpin('latest')");
becomes("SELECT arguments -> 'objects' -> 0 ->> 'uri' FROM datamill.runs WHERE name = 'latest' AND trigger = 'watch' ORDER BY run_id DESC LIMIT 1", 's3://latest/4.csv', 'unpinned, it does');

# A dump carries what was seen, and pipelines. What was seen is not seen again there.
sql(q{SELECT * FROM datamill.set_pipeline('{"pipeline": "kept", "jobs": {"first": {"body": "SELECT 1", "retries": 2}, "second": {"body": "SELECT 2", "after": ["first"]}}}'); SELECT datamill.pause('each')});
my $dump = "$ENV{DM_TMP}/dump.sql";
my ($seen, $config) = map { sql($_) } "SELECT count(*) FROM datamill.watched_objects WHERE name = 'each'", "SELECT datamill.pipeline_config('kept')";
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $node->connstr('restored'), '-f', $dump ], '... restored');
is($node->safe_psql('restored', "SELECT count(*) FROM datamill.watched_objects WHERE name = 'each'"), $seen, '... with the objects that were seen');
is($node->safe_psql('restored', "SELECT datamill.pipeline_config('kept')"), $config, '... and a pipeline');
is($node->safe_psql('restored', q{SELECT string_agg(DISTINCT action, ',') FROM datamill.set_pipeline(datamill.pipeline_config('kept'))}), 'unchanged', '... as it was');
$node->safe_psql('restored', "SELECT datamill.accept_jobs(); SELECT datamill.resume('each'); UPDATE datamill.job_catalog SET next_due = now() WHERE name = 'each'");
ok($node->poll_query_until('restored', "SELECT next_due > now() - interval '1 s' FROM datamill.jobs WHERE name = 'each'"), '... where the job looks');
usleep(2_200_000);
is($node->safe_psql('restored', "SELECT count(*) FROM datamill.runs WHERE name = 'each' AND (trigger = 'watch' OR state = 'failed')"), '5', '... and finds nothing new');
put('each/9.csv', "id\n9\n");
ok($node->poll_query_until('restored', "SELECT count(*) FROM datamill.runs WHERE name = 'each' AND trigger = 'watch' AND state = 'succeeded'", '6'), '... until there is something');
$node->safe_psql('postgres', 'DROP DATABASE restored WITH (FORCE)');
sql("SELECT * FROM datamill.set_pipeline('{\"pipeline\": \"kept\", \"jobs\": {}}')");
sql("SELECT datamill.drop_job(name, true) FROM datamill.jobs WHERE name IN ('each', 'latest')");

# Rights are the owner's.
sql("SELECT datamill.create_job('bobs', 'SELECT 1', 'every 1 s', watch => 's3://each/*', owner => 'bob', suspend_after => 2, arguments => '{\"server\": \"lake\"}')");
becomes("SELECT state FROM datamill.jobs WHERE name = 'bobs'", 'suspended', 'an owner without USAGE on the server');
is(sql("SELECT DISTINCT concat_ws('|', trigger, state, sqlstate, message) FROM datamill.runs WHERE name = 'bobs'"), 'look|failed|42501|permission denied for foreign server lake', '... is told so');

# S3.
SKIP:
{
	my %rgw = start_rgw();
	skip 'no RGW', 5 unless %rgw;
	make_server($node, 's3', { endpoint => $rgw{http}, region => 'us-east-1' }, { access_key_id => 'RGWTESTKEY', secret_access_key => 'rgw/test+secret=key' });
	sql(qq{GRANT USAGE ON FOREIGN SERVER s3 TO ann; ALTER SYSTEM SET datamill.max_runs = 8; CREATE TABLE read (id int, v text); GRANT ALL ON read TO ann;
		SELECT datamill.create_job('s3', 'SELECT * FROM datamill.load(''s3://arrivals/in/*.csv'', ''read'', options => jsonb_build_object(''server'', ''s3'', ''objects'', datamill.arguments() -> ''objects''))', 'every 1 s',
			watch => 's3://arrivals/in/*.csv', owner => 'ann', arguments => '{"server": "s3"}', suspend_after => 0)});
	becomes("SELECT count(*) > 0 FROM datamill.runs WHERE name = 's3' AND state = 'failed' AND trigger = 'look'", 't', 'a bucket that is not there');
	s3('mb', 'arrivals');
	becomes("SELECT failures FROM datamill.jobs WHERE name = 's3'", '0', '... until it is');
	s3('many', 'arrivals', 'in/', 300);
	becomes('SELECT count(*) FROM read', '300', '300 objects at once');
	is(sql("SELECT count(*) || ' ' || count(DISTINCT uri) || ' ' || count(run_id) FROM datamill.watched_objects WHERE name = 's3'"), '300 300 300', '... are seen once each');
	sql("SELECT datamill.create_job('s3_each', 'SELECT 1', 'every 1 s', watch => 'each s3://arrivals/in/0000*.csv', owner => 'ann', overlap => 'allow', arguments => '{\"server\": \"s3\"}')");
	becomes("SELECT count(*) FROM datamill.runs WHERE name = 's3_each' AND state = 'succeeded'", '10', 'a run for each of ten');
	s3('put', 'arrivals', 'in/00003.csv', "id,v\n3,new\n");
	becomes("SELECT count(*) FROM datamill.runs WHERE name = 's3_each' AND state = 'succeeded'", '11', 'an overwritten object');
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|segfault|signal 11|was terminated by signal/, 'no crash');
$node->stop;
done_testing();
