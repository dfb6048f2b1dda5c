# job_tenants.pl: two teams in one database, and those who try to get at each other's jobs or at the superuser's.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\ndatamill.max_runs = 12\ndatamill.max_runs_per_role = 3\n"
	  . "timezone = UTC\nautovacuum = off\nlog_statement = none");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub as { my ($role, $query) = @_; return $node->safe_psql('postgres', $query, extra_params => [ '-U', $role ]); }
sub refused { my ($role, $query, $pattern, $name) = @_; my ($code, $out, $err) = $node->psql('postgres', $query, extra_params => [ '-U', $role ]); like($err, $pattern, "$name: refused to $role"); return; }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }

sql(q{CREATE EXTENSION datamill; CREATE ROLE sales LOGIN; CREATE ROLE legal LOGIN; CREATE ROLE boss LOGIN; GRANT sales, legal TO boss; CREATE ROLE peek LOGIN; GRANT pg_signal_backend TO legal;
	GRANT USAGE ON SCHEMA datamill TO PUBLIC; CREATE SCHEMA sales AUTHORIZATION sales; CREATE SCHEMA legal AUTHORIZATION legal; CREATE TABLE audit (who text, what text); GRANT CREATE ON SCHEMA public TO PUBLIC});
for my $team ('sales', 'legal')
{
	as($team, qq{CREATE TABLE $team.t (secret text); SELECT datamill.create_job('load', 'INSERT INTO $team.t VALUES (''$team''); SELECT secret FROM $team.t', arguments => '{"of": "$team"}');
		SELECT datamill.create_job('wrong', 'SELECT ''secret of $team''::int'); SELECT datamill.run('load'); SELECT datamill.run('wrong'); SELECT datamill.emit('mine', '{"secret": "$team"}')});
}
becomes("SELECT count(*) FROM datamill.runs WHERE finished_at IS NOT NULL", '4', 'both teams have jobs of one name');

# What each sees is its own; who is a member of both sees both.
for my $view ('jobs', 'runs', 'events', 'receipts', 'next_runs')
{
	is(as('sales', "SELECT count(*) FROM datamill.$view v WHERE v::text LIKE '%legal%'"), '0', "$view: sales sees nothing of legal");
	is(as('peek', "SELECT count(*) FROM datamill.$view"), '0', "$view: an outsider sees nothing");
}
is(as('sales', 'SELECT count(*) FROM datamill.runs'), '2', 'sales sees its runs');
is(as('boss', 'SELECT count(*) FROM datamill.runs'), '4', 'a member of both sees all');
like(as('sales', "SELECT message FROM datamill.runs WHERE name = 'wrong'"), qr/secret of sales/, 'the owner reads the error');
as('peek', q{CREATE FUNCTION peek(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END$$});
my ($code, $out, $err) = $node->psql('postgres', 'SELECT * FROM datamill.runs WHERE peek(message); SELECT * FROM datamill.jobs WHERE peek(body); SELECT * FROM datamill.events WHERE peek(payload::text)', extra_params => [ '-U', 'peek' ]);
unlike($err, qr/seen:/, 'a function in a condition sees no row that its caller may not');
for my $table ('job_catalog', 'run_catalog', 'event_log', 'dependency_catalog', 'pool_catalog', 'receipt_log')
{
	refused('legal', "SELECT * FROM datamill.$table", qr/permission denied/, "reading $table");
	refused('legal', "DELETE FROM datamill.$table", qr/permission denied/, "deleting from $table");
	refused('legal', "CREATE TRIGGER t AFTER INSERT ON datamill.$table EXECUTE FUNCTION peek()", qr/permission denied|must be owner|does not exist/, "a trigger on $table");
	refused('legal', "CREATE RULE r AS ON INSERT TO datamill.$table DO INSTEAD NOTHING", qr/must be owner/, "a rule on $table");
}
refused('legal', "CREATE FUNCTION datamill.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'", qr/permission denied for schema/, 'an object in the schema');
refused('legal', 'CREATE VIEW datamill.x AS SELECT 1', qr/permission denied for schema/, 'a view in the schema');

# Nobody touches what is another's, by name or by number.
my $run = sql("SELECT max(run_id) FROM datamill.runs WHERE owner = 'sales'::regrole");
as('sales', "SELECT datamill.create_job('own', 'SELECT pg_sleep(60)'); SELECT datamill.run('own')");
becomes("SELECT state FROM datamill.runs WHERE name = 'own'", 'running', 'a run of sales goes on');
my $going = sql("SELECT run_id FROM datamill.runs WHERE name = 'own'");
for my $call ("pause('own')", "resume('own')", "run('own')", "rehearse('own')", "drop_job('own', true)", "alter_job('own', '{\"body\": \"SELECT 1\"}')", "backfill('own', '[2026-01-01,2026-01-02)', '1 h')", "explain_schedule('own')",
	"create_job('follow', 'SELECT 1', after => '{own}')")
{
	refused('legal', "SELECT datamill.$call", qr/job "own".* does not exist/, $call);
}
refused('legal', "SELECT datamill.$_($run)", qr/run $run does not exist/, "$_ by number") for ('retry', 'cancel');
refused('legal', "SELECT datamill.cancel($going)", qr/does not exist/, 'cancel of a run that goes on');
for my $kind ('scheduler', 'launcher')
{
	my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'datamill $kind'");
	refused('legal', "SELECT pg_terminate_backend($pid)", qr/must be a superuser|permission denied/, "signalling the $kind");
}
refused('legal', "SELECT datamill.create_job('as', 'SELECT 1', owner => '$_')", qr/can be made or changed only by its members/, "a job of $_") for ('sales', 'postgres');
refused('legal', "SELECT datamill.alter_job('load', '{\"owner\": \"postgres\"}')", qr/can be made or changed only by its members/, 'giving a job to the superuser');
refused('legal', "SELECT datamill.set_pool('default', 0)", qr/permission denied/, 'closing the pool');
as('boss', "SET ROLE sales; SELECT datamill.cancel($going)");
becomes("SELECT state FROM datamill.runs WHERE run_id = $going", 'cancelled', 'a member may');

# Events of one do not start the jobs of another.
as('sales', "SELECT datamill.create_job('react', 'SELECT 1', watch => 'event:arrived')");
as('legal', "SELECT datamill.emit('arrived', '{\"evil\": 1}')");
usleep(300_000);
is(sql("SELECT count(*) FROM datamill.runs WHERE name = 'react'"), '0', 'an event of legal starts no job of sales');
as('sales', "SELECT datamill.emit('arrived')");
becomes("SELECT state FROM datamill.runs WHERE name = 'react'", 'succeeded', 'its own does');

# The superuser's jobs, among objects that others put in the way.
as('legal', q{CREATE FUNCTION legal.grab() RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE 'ALTER ROLE legal SUPERUSER'; RETURN 'x'; END$$;
	CREATE FUNCTION public.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM legal.grab(); RETURN true; END$$; CREATE OPERATOR public.= (FUNCTION = public.eq, LEFTARG = text, RIGHTARG = text);
	CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN PERFORM legal.grab(); RETURN now(); END$$;
	CREATE FUNCTION public.unnest(bigint[], text[]) RETURNS SETOF record LANGUAGE plpgsql AS $$BEGIN PERFORM legal.grab(); END$$; CREATE TABLE public.run_catalog (run_id bigint); CREATE TABLE public.job_catalog (job_id bigint)});
sql(q{ALTER DATABASE postgres SET search_path = public, pg_catalog; ALTER ROLE postgres SET search_path = public, pg_catalog;
	SELECT pg_catalog.count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type OPERATOR(pg_catalog.=) 'datamill scheduler'});
usleep(500_000);
sql(q{SET search_path = pg_catalog; SELECT datamill.create_job('admin', 'INSERT INTO public.audit SELECT current_user, session_user', 'every 1 s', retries => 1, expect => ARRAY['SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 FROM public.audit'])});
$node->poll_query_until('postgres', "SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 FROM datamill.runs WHERE name OPERATOR(pg_catalog.=) 'admin' AND state OPERATOR(pg_catalog.=) 'succeeded'", 't') or die 'the job of the superuser does not run';
is(sql("SET search_path = pg_catalog; SELECT rolsuper FROM pg_roles WHERE rolname = 'legal'"), 'f', 'search_path and operators of others are not used by what runs the jobs');
is(sql("SET search_path = pg_catalog; SELECT string_agg(DISTINCT who || what, ',') FROM public.audit"), 'postgrespostgres', 'it ran as the superuser');
sql(q{SET search_path = pg_catalog; SELECT datamill.pause('admin'); ALTER DATABASE postgres RESET search_path; ALTER ROLE postgres RESET search_path; DROP OPERATOR public.= (text, text); DROP FUNCTION public.eq, public.clock_timestamp, public.unnest(bigint[], text[]); DROP TABLE public.run_catalog, public.job_catalog});

# A body cannot put off its owner.
as('legal', q{SELECT datamill.create_job('escape', 'RESET ROLE; RESET SESSION AUTHORIZATION; CREATE TABLE legal.who AS SELECT current_user::text AS c, session_user::text AS s, current_setting(''is_superuser'') AS i')});
as('legal', "SELECT datamill.run('escape')");
becomes("SELECT state FROM datamill.runs WHERE name = 'escape'", 'succeeded', 'a body resets its role');
is(sql('SELECT * FROM legal.who'), 'legal|legal|off', '... to itself');
for my $body ("SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "ALTER ROLE legal SUPERUSER", "UPDATE datamill.run_catalog SET owner = 'postgres'", "SELECT pg_advisory_unlock_all(); SET datamill.max_runs = 100")
{
	as('legal', "SELECT datamill.alter_job('escape', jsonb_build_object('body', \$\$$body\$\$)); SELECT datamill.run('escape')");
	becomes("SELECT count(*) FROM datamill.runs WHERE name = 'escape' AND finished_at IS NULL", '0', 'tried');
	like(sql("SELECT concat_ws(' ', state, sqlstate) FROM datamill.runs WHERE name = 'escape' ORDER BY run_id DESC LIMIT 1"), qr/^failed (42501|55P02)/, "$body: refused");
}

# One team cannot take all processes.
as('legal', "SELECT datamill.create_job('hog' || n, 'SELECT pg_sleep(1)') FROM generate_series(1, 8) n; SELECT datamill.run('hog' || n) FROM generate_series(1, 8) n");
becomes("SELECT count(*) FROM datamill.runs WHERE name LIKE 'hog%' AND state = 'running'", '3', 'three of legal at once');
as('sales', "SELECT datamill.run('load')");
becomes("SELECT count(*) FROM datamill.runs WHERE name = 'load' AND owner = 'sales'::regrole AND state = 'succeeded'", '2', 'sales runs meanwhile');
cmp_ok(sql("SELECT count(*) FROM datamill.runs WHERE name LIKE 'hog%' AND state IN ('queued', 'running')"), '>', 0, '... while others of legal wait');

# Names and values are never SQL.
as('sales', q{SELECT datamill.create_job($x$a'; DROP TABLE public.audit; --"$x$, 'SELECT 1', arguments => '{"x": "''; DROP TABLE public.audit; --"}'); SELECT datamill.run($x$a'; DROP TABLE public.audit; --"$x$)});
becomes("SELECT state FROM datamill.runs WHERE name LIKE 'a''%'", 'succeeded', 'a job with an odd name runs');
is(sql("SELECT to_regclass('public.audit') IS NOT NULL"), 't', '... and nothing else');
is(sql("SELECT count(*) FROM pg_roles WHERE rolsuper"), '1', 'one superuser, as before');
$node->stop;
done_testing();
