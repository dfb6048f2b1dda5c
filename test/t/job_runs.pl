# job_runs.pl: runs of jobs, from the time that they are due to what follows from their end.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\ndatamill.max_runs = 12\n"
	  . "datamill.cancel_grace = '500ms'\ntimezone = UTC\nautovacuum = off");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }

# Queues a run and waits for its end; returns the values asked for of its last attempt.
sub run_of
{
	my ($name, $columns) = @_;
	my $id = sql("SELECT datamill.run('$name')");
	$node->poll_query_until('postgres', "SELECT count(*) FROM datamill.run_catalog r JOIN datamill.run_catalog f USING (job_id, scheduled_time) "
		. "WHERE f.run_id = $id AND NOT r.settled", '0') or die "run $id of $name does not end";
	return sql("SELECT " . ($columns // "concat_ws('|', r.state, r.sqlstate, r.message, r.reason)")
		. " FROM datamill.runs r JOIN datamill.runs f USING (job_id, scheduled_time) WHERE f.run_id = $id ORDER BY r.attempt DESC LIMIT 1");
}

sub scheduler { my $on = shift; $node->safe_psql('postgres', "ALTER SYSTEM SET datamill.scheduler = $on"); $node->reload; usleep(200_000); return; }

# The processes, and who they are.
sql('CREATE EXTENSION datamill');
becomes("SELECT string_agg(backend_type, ',' ORDER BY 1) FROM pg_stat_activity WHERE backend_type LIKE 'datamill%'", 'datamill launcher,datamill scheduler',
	'a scheduler comes with the extension');
sql(q{CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON SCHEMA public TO ann, bob; GRANT USAGE ON SCHEMA datamill TO ann, bob;
	CREATE TABLE log (what text, at timestamptz DEFAULT clock_timestamp()); GRANT ALL ON log TO ann, bob; ALTER ROLE ann SET work_mem = '7MB'});

# What a body sees and leaves.
sql(q{SELECT datamill.create_job('who', 'SELECT session_user, current_user, current_setting(''work_mem'') AS work_mem, datamill.arguments() AS a,
	datamill.run_id() = (SELECT max(run_id) FROM datamill.runs WHERE state = ''running'') AS mine, current_setting(''application_name'') AS app;', owner => 'ann', arguments => '{"x": 1}')});
is(run_of('who', 'r.result'), '[{"a": {"x": 1}, "app": "datamill:who", "mine": true, "work_mem": "7MB", "current_user": "ann", "session_user": "ann"}]', 'as the owner');
sql(q{SELECT datamill.create_job('climb', 'RESET ROLE; RESET SESSION AUTHORIZATION; SELECT current_user, session_user; SET ROLE postgres', owner => 'ann')});
is(run_of('climb', "concat_ws('|', r.state, r.sqlstate)"), 'failed|42501', 'nobody becomes another');
is(run_of('who', "concat_ws('|', r.owner, r.attempt, r.trigger, r.commands, r.cpu_seconds > 0, r.peak_memory > 1000000, r.pid > 0, r.finished_at >= r.started_at)"),
	'ann|1|run|{"SELECT 1"}|t|t|t|t', 'what is known of a run');
sql(q{SELECT datamill.create_job('rows', 'SELECT 1 WHERE false; CREATE TABLE r AS SELECT n FROM generate_series(1, 1000) n; SELECT * FROM r ORDER BY n; UPDATE r SET n = n + 1; DROP TABLE r')});
is(run_of('rows', "concat_ws('|', r.commands, jsonb_array_length(r.result), r.result -> 99)"), '{"SELECT 0","SELECT 1000","SELECT 1000","UPDATE 1000","DROP TABLE"}|100|{"n": 100}', 'tags and rows');

# A call that comes while the scheduler waits for a lock, late in its tick: waiting takes the latch's news away. The timer of that wait wakes
# it once more, 10 s after it began, which must not be what it takes.
{
	sql(q{SELECT datamill.create_job('first', 'SELECT 1'); SELECT datamill.create_job('second', 'SELECT 2')});
	my $waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND l.relation = 'datamill.outbox_catalog'::regclass AND a.backend_type = 'datamill scheduler'";
	my $locker = $node->background_psql('postgres');
	$locker->query_safe('BEGIN; LOCK TABLE datamill.outbox_catalog IN ACCESS EXCLUSIVE MODE');
	sql("SELECT datamill.run('first')");
	becomes($waiting, '1', 'the scheduler waits for a lock');
	my $id = sql("SELECT datamill.run('second')");
	usleep(1_500_000); # longer than deadlock_timeout
	is(sql($waiting), '1', '... still, as another run is queued');
	$locker->query_safe('COMMIT');
	$locker->quit;
	for (1 .. 50) { last if sql("SELECT state FROM datamill.runs WHERE run_id = $id") eq 'succeeded'; usleep(100_000); }
	is(sql("SELECT state FROM datamill.runs WHERE run_id = $id"), 'succeeded', '... which it has not forgotten');
}

# Transactions.
sql(q{SELECT datamill.create_job('atomic', 'INSERT INTO log VALUES (''atomic''); SELECT 1/0')});
is(run_of('atomic'), 'failed|22012|division by zero', 'a failing statement');
is(sql("SELECT count(*) FROM log WHERE what = 'atomic'"), '0', '... takes those before it back');
sql(q{SELECT datamill.create_job('apart', 'INSERT INTO log VALUES (''apart''); COMMIT; INSERT INTO log VALUES (''apart''); SELECT 1/0')});
is(run_of('apart'), 'failed|22012|division by zero', 'after a COMMIT');
is(sql("SELECT count(*) FROM log WHERE what = 'apart'"), '1', '... not those before it');
sql(q{CREATE PROCEDURE p(n int) LANGUAGE plpgsql AS $$BEGIN FOR i IN 1 .. n LOOP INSERT INTO log VALUES ('p'); COMMIT; END LOOP; ROLLBACK; END$$;
	SELECT datamill.create_job('many', 'SELECT 1; CALL p(3); VACUUM log; CREATE INDEX CONCURRENTLY log_what ON log (what); DO $$BEGIN COMMIT; END$$; DROP INDEX CONCURRENTLY log_what; REINDEX TABLE log;
	BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SHOW transaction_isolation; SHOW transaction_read_only; COMMIT; SELECT count(*) FROM log WHERE what = ''p''')});
is(run_of('many', "concat_ws('|', r.state, r.commands, r.result, r.message)"),
	'succeeded|{"SELECT 1",CALL,VACUUM,"CREATE INDEX",DO,"DROP INDEX",REINDEX,SHOW,SHOW,"SELECT 1"}|[{"count": 3}]', 'statements that want a transaction of their own');
sql(q{SELECT datamill.create_job('isolated', 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SHOW transaction_isolation; SHOW transaction_read_only')});
is(run_of('isolated', "concat_ws('|', r.state, r.result)"), 'succeeded|[{"transaction_read_only": "on"}]', 'a read-only transaction, recorded nevertheless');
sql(q{CREATE TABLE late (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); SELECT datamill.create_job('deferred', 'INSERT INTO late VALUES (1), (1)')});
like(run_of('deferred'), qr/^failed\|23505\|duplicate key/, 'an error at commit');
sql(q{SELECT datamill.create_job('undone', 'INSERT INTO log VALUES (''undone''); SELECT pg_sleep(30)', owner => 'ann'); SELECT datamill.run('undone')});
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'undone' AND state = 'running'", '1', 'a run goes on');
my ($code, $out, $err) = $node->psql('postgres', "SELECT datamill.drop_job('undone')");
like($err, qr/cannot drop job "undone" while run \d+ of it goes on/, '... so its job stays');
sql("SELECT datamill.drop_job('undone', force => true)");
becomes("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datamill:undone'", '0', '... but for force');
is(sql("SELECT count(*), max(reason) FROM datamill.runs WHERE name = 'undone' AND state = 'cancelled'"), '1|the job was dropped', '... which says so');
is(sql("SELECT count(*) FROM log WHERE what = 'undone'"), '0', '... and takes back what it did');

# Ends that are forced.
sql(q{SELECT datamill.create_job('long', 'SELECT pg_sleep(30)', timeout => '300 ms')});
is(run_of('long'), 'timed_out|57014|canceling statement due to user request|it went on for longer than its timeout', 'timeout');
sql(q{CREATE FUNCTION stubborn() RETURNS void LANGUAGE plpgsql AS $$BEGIN LOOP BEGIN PERFORM pg_sleep(30); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END$$;
	SELECT datamill.create_job('stubborn', 'SELECT stubborn()', timeout => '300 ms')});
like(run_of('stubborn'), qr/^timed_out\|57P01\|.*it went on for longer than its timeout, and was terminated/, 'timeout of one that does not listen');
sql(q{SELECT datamill.alter_job('stubborn', '{"timeout": "1 h"}')});
my $id = sql("SELECT datamill.run('stubborn')");
becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', 'one more');
is(sql("SELECT datamill.cancel($id)"), 't', 'cancelled');
becomes("SELECT state || reason FROM datamill.runs WHERE run_id = $id", 'cancelledit did not end when cancelled, and was terminated', '... and terminated after the grace');
sql(q{SELECT datamill.create_job('sleep', 'SELECT pg_sleep(30)')});
$id = sql("SELECT datamill.run('sleep')");
becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', 'a sleeping one');
sql("SELECT datamill.cancel($id)");
becomes("SELECT concat_ws('|', state, sqlstate, reason) FROM datamill.runs WHERE run_id = $id", 'cancelled|57014|by cancel() or drop_job()', '... is cancelled');
$id = sql("SELECT datamill.run('sleep')");
becomes("SELECT state FROM datamill.runs WHERE run_id = $id", 'running', 'a sleeping one');
sql("SELECT pg_terminate_backend(pid) FROM datamill.runs WHERE run_id = $id");
becomes("SELECT concat_ws('|', state, sqlstate, message) FROM datamill.runs WHERE run_id = $id", 'failed|57P01|terminating background worker "datamill run" due to administrator command', '... is terminated');
sql(q{ALTER ROLE bob SET statement_timeout = '200ms'; SELECT datamill.create_job('statement', 'SELECT pg_sleep(30)', owner => 'bob')});
is(run_of('statement'), 'failed|57014|canceling statement due to statement timeout', 'statement_timeout of the owner');

# Retries.
sql(q{CREATE SEQUENCE tries; CREATE FUNCTION fail_twice(code text) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF nextval('tries') < 3 THEN RAISE 'no' USING ERRCODE = code; END IF; RETURN 'at last'; END$$;
	SELECT datamill.create_job('retried', 'SELECT fail_twice(''40001'')', retries => 3, backoff => '20 ms')});
is(run_of('retried', "concat_ws('|', r.attempt, r.state, r.result -> 0)"), '3|succeeded|{"fail_twice": "at last"}', 'transient errors are tried again');
is(sql("SELECT string_agg(concat_ws('|', attempt, state, regexp_replace(reason, '\\d+', 'N')), ' ' ORDER BY attempt) FROM datamill.runs WHERE name = 'retried'"),
	'1|failed 2|failed|retry of run N: 40001 3|succeeded|retry of run N: 40001', '... as attempts of one time');
sql(q{SELECT setval('tries', 1, false); SELECT datamill.create_job('hopeless', 'SELECT fail_twice(''22000'')', retries => 3, backoff => '20 ms')});
is(run_of('hopeless', "concat_ws('|', r.attempt, r.state)"), '1|failed', 'others are not');
sql(q{SELECT setval('tries', 1, false); SELECT datamill.create_job('spent', 'SELECT fail_twice(''08006'')', retries => 1, backoff => '20 ms')});
is(run_of('spent', "concat_ws('|', r.attempt, r.state)"), '2|failed', '... nor more often than said');
is(sql("SELECT failures FROM datamill.jobs WHERE name = 'spent'"), '1', '... which is one failure');
is(run_of('spent', "r.state"), 'succeeded', 'it recovers');
is(sql("SELECT string_agg(event, ',' ORDER BY event_no) FROM datamill.events e JOIN datamill.jobs j USING (job_id) WHERE j.name = 'spent'"), 'failure,recovered,success', '... which is an event');
sql(q{SELECT datamill.create_job('hurt', 'SELECT 1/0', 'every 1 s', suspend_after => 2)});
becomes("SELECT state || ': ' || state_reason FROM datamill.jobs WHERE name = 'hurt'", 'suspended: 2 failures in a row (suspend_after)', 'suspended');
like(sql("SELECT datamill.explain_schedule('hurt')"), qr/The job is suspended: 2 failures in a row.*division by zero/s, '... and says why');

# Overlap. Times are a second apart, runs take longer.
my $mark = sql("SELECT datamill.create_job('over_' || o, 'SELECT pg_sleep(2.5)', 'every 1 s', overlap => o) FROM unnest('{skip,queue,cancel,allow}'::text[]) o; SELECT now()");
usleep(5_500_000);
sql("SELECT datamill.pause('over_' || o) FROM unnest('{skip,queue,cancel,allow}'::text[]) o");
cmp_ok(sql("SELECT count(*) FROM datamill.runs WHERE name = 'over_skip' AND state = 'skipped' AND reason LIKE 'run % was not over (overlap => skip)'"), '>=', 3, 'skip leaves a row for each time');
cmp_ok(sql("SELECT count(*) FROM datamill.runs WHERE name = 'over_queue' AND state = 'queued'"), '>=', 2, 'queue keeps them');
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'over_queue' AND state IN ('starting', 'running')"), '1', '... one at a time');
cmp_ok(sql("SELECT count(*) FROM datamill.runs WHERE name = 'over_cancel' AND state = 'cancelled' AND reason = 'a later time came due'"), '>=', 3, 'cancel ends the older one');
cmp_ok(sql("SELECT count(*) FROM datamill.runs WHERE name = 'over_allow' AND state = 'running'"), '>=', 2, 'allow lets both go on');
sql("SELECT datamill.drop_job('over_' || o, force => true) FROM unnest('{skip,queue,cancel,allow}'::text[]) o");

# Times missed while nothing could run.
scheduler('off');
sql(q{SELECT datamill.create_job('missed_' || m, 'SELECT 1', 'every 1 minute', missed => m, catchup => '150 s') FROM unnest('{skip,once,all}'::text[]) m;
	UPDATE datamill.job_catalog SET anchor = now() - interval '590 s', next_due = now() - interval '590 s' WHERE name LIKE 'missed%'});
scheduler('on');
becomes("SELECT count(*) FROM datamill.runs WHERE name LIKE 'missed%' AND finished_at IS NULL", '0', 'caught up');
is(sql(q{SELECT string_agg(concat_ws(' ', name, state, n), ', ' ORDER BY name, state DESC) FROM (SELECT name, state, count(*) n FROM datamill.runs WHERE name LIKE 'missed%' GROUP BY 1, 2) x}),
	'missed_all succeeded 2, missed_all skipped 1, missed_once succeeded 1, missed_once skipped 1, missed_skip succeeded 1, missed_skip skipped 1', 'by their policies');
like(sql("SELECT max(reason) FROM datamill.runs WHERE name = 'missed_once' AND state = 'skipped'"), qr/^missed: nothing ran from then to 20.*missed => once/, '... with the reason');
sql("SELECT datamill.drop_job('missed_' || m) FROM unnest('{skip,once,all}'::text[]) m");

# What follows what.
sql(q{CREATE TABLE switch (fails bool); INSERT INTO switch VALUES (false); SELECT datamill.create_job('a', 'SELECT 1'); SELECT datamill.create_job('b', 'SELECT 1/(NOT fails)::int FROM switch', after => '{a}');
	SELECT datamill.create_job('c', 'SELECT 1', after => '{a}'); SELECT datamill.create_job('d', 'SELECT datamill.scheduled_time()', after => '{b,c}'); SELECT datamill.create_job('e', 'SELECT 1', after => '{d}')});
sql("SELECT datamill.run('a')");
becomes("SELECT string_agg(name || ' ' || state || ' ' || trigger, ',' ORDER BY name) FROM datamill.runs WHERE name ~ '^[a-e]\$'", 'a succeeded run,b succeeded after,c succeeded after,d succeeded after,e succeeded after', 'fan-out, fan-in');
is(sql("SELECT count(DISTINCT scheduled_time) FROM datamill.runs WHERE name ~ '^[a-e]\$'"), '1', '... for one time');
is(sql("SELECT (SELECT min(started_at) FROM datamill.runs WHERE name = 'd') > (SELECT max(finished_at) FROM datamill.runs WHERE name IN ('b', 'c'))"), 't', '... in order');
sql("UPDATE switch SET fails = true; SELECT datamill.run('a')");
becomes("SELECT string_agg(name || ' ' || state, ',' ORDER BY name) FROM datamill.runs WHERE scheduled_time = (SELECT max(scheduled_time) FROM datamill.runs WHERE name = 'a')",
	'a succeeded,b failed,c succeeded,d skipped,e skipped', 'what follows a failure is skipped');
is(sql("SELECT reason FROM datamill.runs WHERE name = 'd' AND state = 'skipped'"), 'job "b", which it follows, did not succeed (failed)', '... with the reason');
sql("UPDATE switch SET fails = false; SELECT datamill.retry(run_id) FROM datamill.runs WHERE name = 'b' AND state = 'failed'");
becomes("SELECT string_agg(name || ' ' || state || attempt, ',' ORDER BY name, attempt) FROM datamill.runs WHERE scheduled_time = (SELECT max(scheduled_time) FROM datamill.runs WHERE name = 'a')",
	'a succeeded1,b failed1,b succeeded2,c succeeded1,d skipped1,d succeeded2,e skipped1,e succeeded2', 'a retry makes up for it');
sql("SELECT datamill.pause('e'); SELECT datamill.run('a')");
becomes("SELECT state || ' ' || reason FROM datamill.runs WHERE name = 'e' ORDER BY run_id DESC LIMIT 1", 'skipped the job is paused', 'one that is paused says so');

# Conditions, pools, roles.
sql(q{SELECT datamill.create_job('if', 'SELECT 1', when_sql => 'SELECT fails FROM switch'); SELECT datamill.create_job('ifs', 'SELECT 1', when_sql => 'SELECT 1')});
is(run_of('if'), 'skipped|when_sql was not true', 'when_sql');
sql('UPDATE switch SET fails = true');
is(run_of('if'), 'succeeded', '... which is true');
is(run_of('ifs'), 'failed|42804|when_sql of job "ifs" must return one boolean', '... or no boolean');
sql(q{SELECT datamill.set_pool('narrow', 2); CREATE TABLE seen (n int); SELECT datamill.create_job('narrow' || n, 'SELECT pg_sleep(0.3); INSERT INTO seen SELECT used FROM datamill.pools WHERE name = ''narrow''', pool => 'narrow') FROM generate_series(1, 6) n;
	SELECT datamill.run('narrow' || n) FROM generate_series(1, 6) n});
becomes("SELECT count(*) FROM datamill.runs WHERE name LIKE 'narrow%' AND state = 'succeeded'", '6', 'all of a pool run');
is(sql('SELECT max(n) FROM seen'), '2', '... two at a time');
sql(q{SELECT datamill.set_pool('narrow', 0); SELECT datamill.run('narrow1')});
usleep(500_000);
is(sql("SELECT state FROM datamill.runs WHERE name = 'narrow1' ORDER BY run_id DESC LIMIT 1"), 'queued', 'none of a closed one');
sql("SELECT datamill.set_pool('narrow', 1)");
becomes("SELECT state FROM datamill.runs WHERE name = 'narrow1' ORDER BY run_id DESC LIMIT 1", 'succeeded', '... until it opens');

# Owners who cannot run.
sql(q{CREATE ROLE gone LOGIN; CREATE ROLE shut LOGIN; CREATE ROLE out LOGIN; GRANT USAGE ON SCHEMA datamill TO PUBLIC; SELECT datamill.create_job('of_' || r, 'SELECT 1', owner => r::regrole) FROM unnest('{gone,shut,out}'::text[]) r;
	DROP ROLE gone; ALTER ROLE shut NOLOGIN; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO ann, bob, shut});
is(run_of('of_gone'), 'failed|28000|its owner was dropped', 'a dropped owner');
is(run_of('of_shut'), 'failed|28000|its owner cannot log in', 'one without LOGIN');
is(run_of('of_out'), 'failed|28000|its owner has no right to CONNECT to this database', 'one without CONNECT');
is(sql("SELECT count(*) FROM datamill.jobs WHERE name LIKE 'of_%' AND state = 'broken' AND state_reason LIKE 'its owner %'"), '3', 'their jobs are broken, and say why');
is(run_of('who', 'r.state'), 'succeeded', 'others go on');
sql("ALTER ROLE shut LOGIN; SELECT datamill.resume('of_shut'); GRANT CONNECT ON DATABASE postgres TO PUBLIC");
is(run_of('of_shut'), 'succeeded', 'a mended one is resumed');
sql("ALTER SYSTEM SET datamill.superuser_jobs = off; SELECT pg_reload_conf()");
usleep(200_000);
is(run_of('if'), 'failed|28000|its owner is a superuser, and datamill.superuser_jobs is off', 'no jobs of superusers');
sql("ALTER SYSTEM RESET datamill.superuser_jobs; SELECT pg_reload_conf()");

# A session that has a job locked keeps nobody else waiting.
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT datamill.alter_job('who', '{"retries": 1}')});
$mark = time;
is(run_of('rows', 'r.state'), 'succeeded', 'others run while a session alters a job');
cmp_ok(time - $mark, '<', 5, '... at once');
$session->query_safe('COMMIT');
$session->quit;

# Databases and the extension.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION datamill; SELECT datamill.create_job('there', 'SELECT pg_sleep(60)'); SELECT datamill.create_job('tick', 'SELECT 1', 'every 1 s'); SELECT datamill.run('there')});
ok($node->poll_query_until('other', "SELECT count(*) FROM datamill.runs WHERE name = 'tick' AND state = 'succeeded' HAVING count(*) > 0 AND (SELECT state FROM datamill.runs WHERE name = 'there') = 'running'", '1')
	  || $node->poll_query_until('other', "SELECT count(*) > 0 FROM datamill.runs WHERE name = 'tick' AND state = 'succeeded'", 't'), 'jobs in another database');
$node->safe_psql('other', q{SELECT datamill.cancel(run_id) FROM datamill.runs WHERE name = 'there'});
ok($node->poll_query_until('other', "SELECT state FROM datamill.runs WHERE name = 'there'", 'cancelled'), 'its run is cancelled');
$node->safe_psql('other', q{SELECT datamill.pause('tick')});
ok($node->poll_query_until('other', "SELECT count(*) FROM datamill.runs WHERE state IN ('starting', 'running')", '0'), 'nothing goes on there');
($code, $out, $err) = $node->psql('postgres', 'CREATE DATABASE copy TEMPLATE other');
is("$code$err", '0', 'CREATE DATABASE ... TEMPLATE of a database with a scheduler');
$node->safe_psql('other', q{SELECT datamill.resume('tick')});
ok($node->poll_query_until('copy', "SELECT string_agg(name || ' ' || state, ',' ORDER BY name) FROM datamill.jobs", 'there paused,tick paused'), 'the jobs of the copy are paused');
$node->safe_psql('copy', "UPDATE datamill.job_catalog SET state = 'active'; SELECT datamill.run('tick')");
ok($node->poll_query_until('copy', "SELECT string_agg(DISTINCT state_reason, '') FROM datamill.jobs", 'this database was restored or copied: datamill.accept_jobs() makes its jobs active here'), '... paused, with the reason');
is($node->safe_psql('copy', "SELECT count(*) FROM datamill.runs WHERE finished_at IS NULL OR (state = 'succeeded' AND started_at > (SELECT max(created_at) FROM datamill.jobs) + interval '1 hour')"), '0', '... and runs nothing');
is($node->safe_psql('copy', 'SELECT datamill.accept_jobs()'), '2', 'accepted');
is($node->safe_psql('copy', "SELECT count(*) FROM datamill.jobs WHERE state = 'active'"), '2', '... they are active');
($code, $out, $err) = $node->psql('postgres', 'ALTER DATABASE copy RENAME TO copied');
is("$code$err", '0', 'RENAME');
$node->safe_psql('copied', "SELECT datamill.run('there')");
ok($node->poll_query_until('copied', "SELECT state FROM datamill.runs WHERE name = 'there' ORDER BY run_id DESC LIMIT 1", 'running'), 'its scheduler comes back');
($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE copied');
is("$code$err", '0', 'DROP DATABASE while a run goes on');
becomes("SELECT count(*) FROM pg_stat_activity WHERE datname = 'copied'", '0', '... nothing is left');
$node->safe_psql('other', q{SELECT datamill.run('there')});
ok($node->poll_query_until('other', "SELECT state FROM datamill.runs WHERE name = 'there' ORDER BY run_id DESC LIMIT 1", 'running'), 'a run goes on');
$node->safe_psql('other', 'DROP EXTENSION datamill CASCADE');
becomes("SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND backend_type = 'datamill scheduler'", '0', 'DROP EXTENSION ends the scheduler');
$node->safe_psql('other', q{CREATE EXTENSION datamill; SELECT datamill.create_job('again', 'SELECT 1'); SELECT datamill.run('again')});
ok($node->poll_query_until('other', "SELECT state FROM datamill.runs WHERE name = 'again'", 'succeeded'), 'CREATE EXTENSION calls it back');
($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE other WITH (FORCE)');
is("$code$err", '0', 'DROP DATABASE WITH (FORCE)');

# Nothing was noticed that should not be: no process failed other than as told.
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|TRAP|segfault|signal 11|was terminated by signal/, 'no crash');
unlike($log, qr/datamill scheduler.*(ERROR|FATAL)(?!.*administrator command)/, 'no scheduler failed');
is(sql("SELECT count(*) FROM pg_locks WHERE pid IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'datamill scheduler')"), '0', 'a scheduler that sleeps holds nothing');
$node->stop;
done_testing();
