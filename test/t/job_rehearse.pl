# job_rehearse.pl: rehearsals leave nothing behind and tell what a run would do; what a job expects holds, or its run is taken back.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $buckets = PostgreSQL::Test::Utils::tempdir();
mkdir "$buckets/out";
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 16\ntimezone = UTC\nautovacuum = off");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }

# Queues by the function, waits for the end and returns the columns.
sub end_of
{
	my ($call, $columns) = @_;
	my $id = sql("SELECT datamill.$call");
	$node->poll_query_until('postgres', "SELECT finished_at IS NOT NULL FROM datamill.runs WHERE run_id = $id") or die "run $id does not end";
	return sql("SELECT $columns FROM datamill.runs WHERE run_id = $id");
}
my $report = "concat_ws('|', state, message, result -> 'idempotent', result -> 'ok', result #> '{first,tables}', result #> '{second,tables}', result #> '{second,changed}', result -> 'expect')";

sql(qq{CREATE EXTENSION datamill; CREATE ROLE ann LOGIN; GRANT USAGE ON SCHEMA datamill TO ann; GRANT CREATE ON SCHEMA public TO ann;
	CREATE SERVER files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$buckets'); SET ROLE ann;
	CREATE TABLE src (id int PRIMARY KEY, v text); CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO src SELECT n, 'v' || n FROM generate_series(1, 10) n; INSERT INTO t VALUES (1, 'old')});

# A body that can be run again, one that does the same work again with an equal result, and one that cannot.
sql(q{SELECT datamill.create_job('upsert', 'INSERT INTO t SELECT * FROM src ON CONFLICT (id) DO UPDATE SET v = excluded.v WHERE t.v IS DISTINCT FROM excluded.v', owner => 'ann', expect => ARRAY['SELECT count(*) = 10 FROM t'])});
is(end_of("rehearse('upsert')", $report), 'succeeded|true|true|[{"table": "public.t", "deleted": 0, "updated": 1, "inserted": 9}]|[]|[]|[{"ok": true, "query": "SELECT count(*) = 10 FROM t"}]', 'a body that changes nothing the second time');
is(sql('SELECT count(*), max(v) FROM t'), '1|old', '... leaves nothing');
sql(q{SELECT datamill.create_job('refresh', 'TRUNCATE t; INSERT INTO t SELECT * FROM src; DELETE FROM src WHERE id > 100', owner => 'ann')});
is(end_of("rehearse('refresh')", "concat_ws('|', state, result -> 'idempotent', result #> '{second,changed}', result #> '{second,tables,0,inserted}')"), 'succeeded|true|[]|10', 'one that does it all again');
sql(q{SELECT datamill.create_job('append', 'INSERT INTO t SELECT max(id) + 1, ''x'' FROM t', owner => 'ann')});
is(end_of("rehearse('append')", "concat_ws('|', state, sqlstate, message, result -> 'idempotent', result #> '{second,changed}')"), 'failed|23514|a second run changes public.t again|false|["public.t"]', 'one that adds');
sql(q{SELECT datamill.create_job('plain', 'INSERT INTO t VALUES (7, ''x'')', owner => 'ann')});
like(end_of("rehearse('plain')", "concat_ws('|', state, message, result #> '{second,error}')"), qr/^failed\|a second run fails: duplicate key value.*\|"duplicate key value/, 'one that fails the second time');
sql(q{SELECT datamill.create_job('vacuum', 'VACUUM t', owner => 'ann'); SELECT datamill.create_job('wrong', 'SELECT 1/0', owner => 'ann')});
is(end_of("rehearse('vacuum')", "concat_ws('|', state, sqlstate, message)"), 'failed|0A000|VACUUM cannot be taken back, and is not rehearsed', 'what cannot be taken back');
is(end_of("rehearse('wrong')", "concat_ws('|', state, sqlstate, message)"), 'failed|22012|division by zero', 'an error of the first time');
sql(q{SELECT datamill.create_job('slow', 'SELECT pg_sleep(30)', timeout => '300 ms', owner => 'ann')});
is(end_of("rehearse('slow')", "concat_ws('|', state, sqlstate)"), 'timed_out|57014', 'timeout');
is(sql("SELECT string_agg(DISTINCT event, ',') FROM datamill.events"), '', 'no event is told');
is(sql('SELECT sum(failures) FROM datamill.jobs'), '0', 'no failure is counted');

# Nothing leaves: objects, files, receipts, notifications.
sql(q{SELECT datamill.create_job('out', 'SELECT * FROM datamill.unload(''SELECT n FROM generate_series(1, 1000) n'', ''s3://out/x/''); NOTIFY done')});
my $kept = end_of("rehearse('out')", "concat_ws('|', state, message)");
is($kept, 'succeeded', 'an unload is rehearsed') or diag(sql("SELECT * FROM datamill.runs ORDER BY run_id DESC LIMIT 1"));
is_deeply([ glob("$buckets/out/*") ], [], '... and writes no object');
is(sql('SELECT count(*) FROM datamill.receipts'), '0', '... nor a receipt');
is(end_of("run('out')", 'state'), 'succeeded', 'run for good');
isnt(scalar(my @written = glob("$buckets/out/x/*")), 0, '... it does');
sql(qq{SELECT datamill.create_job('file', 'COPY t TO ''$buckets/file''')});
is(end_of("rehearse('file')", "concat_ws('|', state, message)"), 'failed|COPY to a file or program cannot be taken back, and is not rehearsed', 'no file');
ok(!-e "$buckets/file", '... is there');

# What a job expects holds when its run succeeds.
sql(q{SELECT datamill.create_job('strict', 'UPDATE t SET v = ''new''; SELECT 1', expect => ARRAY['SELECT true', 'SELECT count(*) > 5 FROM t'], owner => 'ann')});
is(end_of("run('strict')", "concat_ws('|', state, sqlstate, message, split_part(detail, E'\\n', 1))"), 'failed|23514|job "strict" did not bring about what it expects|DETAIL: This is not true: SELECT count(*) > 5 FROM t', 'a run that does not');
is(sql('SELECT v FROM t'), 'old', '... is taken back');
is(end_of("rehearse('strict')", "concat_ws('|', state, message, result -> 'ok')"), 'failed|this is not true: SELECT count(*) > 5 FROM t|false', 'a rehearsal says so, too');
is(end_of("run('upsert')", 'state'), 'succeeded', 'one that does');
sql(q{SELECT datamill.alter_job('strict', '{"expect": ["SELECT NULL::boolean"]}')});
is(end_of("run('strict')", 'sqlstate'), '23514', 'NULL is not true');
sql(q{SELECT datamill.alter_job('strict', '{"expect": null}')});
is(end_of("run('strict')", 'state'), 'succeeded', 'nothing expected');
my ($code, $out, $err) = $node->psql('postgres', q{SELECT datamill.create_job('x', 'SELECT 1', expect => ARRAY['DELETE FROM t'])});
like($err, qr/expect of a job must be one query/, 'a statement is no expectation');
is(sql(q{SELECT expect FROM datamill.jobs WHERE name = 'upsert'}), '{"SELECT count(*) = 10 FROM t"}', 'what is expected is seen');
$node->stop;
done_testing();
