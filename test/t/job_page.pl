# job_page.pl: the status page and the metrics, with 1 job, with a pipeline that fails, with names that are code, and with 200 jobs. The page is
# read by html5lib (strict) and an XML parser, the metrics by Prometheus' client library.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $lib = $ENV{DM_LIB} or die 'DM_LIB is not set: run bash test/run.sh tap';
my $folder = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\ndatamill.max_runs = 12\ntimezone = UTC\nautovacuum = off");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub as { my ($role, $query) = @_; return $node->safe_psql('postgres', $query, extra_params => [ '-U', $role ]); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }

# Gives a text to a program of test/lib; returns what it prints.
sub checked
{
	my ($program, $text) = @_;
	my ($out, $err) = ('', '');
	unlink "$folder/text";
	append_to_file("$folder/text", $text);
	IPC::Run::run([ 'python3', "$lib/$program", "$folder/text" ], '<', \'', '>', \$out, '2>', \$err) or die "$program: $err";
	return $out;
}

# A page's row of a job, by its name as HTML has it.
sub row { my ($page, $name) = @_; return $page =~ m{(<article(?:(?!</article>).)*<div class="name">\Q$name\E</div>.*?</article>)}s ? $1 : "no row of $name"; }

sql('CREATE EXTENSION datamill; CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; GRANT USAGE ON SCHEMA datamill TO ann, bob');
becomes("SELECT datamill.scheduler_state()", 'running', 'the scheduler is there');
my $page = sql('SELECT datamill.status_page()');
is(checked('page_check.py', $page), "jobs 0\nnodes 0\nedges 0\nticks 0\n", 'no jobs');
like($page, qr/There are no jobs that you may see/, '... which the page says');
unlike($page, qr/Nothing starts jobs here/, '... and that is all');
is((() = checked('metrics_check.py', sql('SELECT datamill.metrics()')) =~ /datamill_scheduler_up \[\] 1\.0/g), 1, 'metrics without jobs');

# One job that never ran, then ran.
as('ann', q{SELECT datamill.create_job('only', 'SELECT 1', '0 3 * * *', 'Australia/Sydney')});
$page = as('ann', q{SELECT datamill.status_page('Ann''s <jobs> & "more"')});
is(checked('page_check.py', $page), "jobs 1\nnodes 0\nedges 0\nticks 0\n", 'one job');
like($page, qr{<h1>Ann&#39;s &lt;jobs&gt; &amp; &quot;more&quot;</h1>}, 'the title');
like(row($page, 'only'), qr{<article class="job grey".*never ran.* 03:00<small>in .*Australia/Sydney}s, 'grey, with its next time in its zone');
as('ann', q{SELECT datamill.run('only')});
becomes("SELECT state FROM datamill.runs WHERE name = 'only'", 'succeeded', 'it ran');
$page = as('ann', 'SELECT datamill.status_page()');
like(row($page, 'only'), qr{<article class="job green".*class="ok"}s, 'green');
is(checked('page_check.py', $page), "jobs 1\nnodes 0\nedges 0\nticks 1\n", 'a tick');

# A pipeline in which one fails; names and errors that are code.
as('ann', q{SELECT datamill.create_job('<script>alert(1)</script>', 'SELECT 1'); SELECT datamill.create_job('fails', $y$DO $x$BEGIN RAISE EXCEPTION '"><img src=x onerror=alert(2)>' USING DETAIL = E'</div>\x01&amp;'; END$x$$y$, after => '{<script>alert(1)</script>}');
	SELECT datamill.create_job('then', 'SELECT 1', after => '{fails}'); SELECT datamill.create_job('last', 'SELECT 1', after => '{then,<script>alert(1)</script>}'); SELECT datamill.create_job(E'q"\\\\\n', 'SELECT 1'); SELECT datamill.run('<script>alert(1)</script>')});
becomes("SELECT string_agg(name || ' ' || state, ',' ORDER BY run_id) FROM datamill.runs WHERE name IN ('fails', 'then', 'last')", 'fails failed,then skipped,last skipped', 'a pipeline fails');
$page = as('ann', 'SELECT datamill.status_page()');
is(checked('page_check.py', $page), "jobs 6\nnodes 4\nedges 4\nticks 5\n", 'a pipeline, and nothing that is code');
like(row($page, 'fails'), qr{<article class="job red".*Run \d+, for .*, failed after .*: &quot;&gt;&lt;img src=x onerror=alert\(2\)&gt; <code>P0001</code>\n<code>DETAIL: &lt;/div&gt;&#xFFFD;&amp;amp;\n}s, 'red, with the reason, escaped');
like(row($page, 'then'), qr{<article class="job amber".*was skipped: .*fails}s, 'amber, with the culprit');
like($page, qr{<a href="#j\d+" class="red"><title>fails: failed</title>}, 'red in the graph');
my $metrics = checked('metrics_check.py', as('ann', 'SELECT datamill.metrics()'));
like($metrics, qr/^gauge datamill_job_failures_in_row \[\('job', 'fails'\), \('owner', 'ann'\)\] 1\.0$/m, 'metrics: failures');
like($metrics, qr/^gauge datamill_job_state \[\('job', 'q"\\\\\\n'\), \('owner', 'ann'\), \('state', 'active'\)\] 1\.0$/m, '... labels are escaped');
like($metrics, qr/^gauge datamill_runs_last_day \[\('job', 'fails'\), \('owner', 'ann'\), \('state', 'failed'\)\] 1\.0$/m, '... runs');
like($metrics, qr/^gauge datamill_process_slots \[\] 12\.0$/m, '... slots');
like($metrics, qr/^gauge datamill_job_last_success_timestamp_seconds \[\('job', 'only'\), \('owner', 'ann'\)\] 1\d{9}/m, '... last success');
unlike($metrics, qr/no HELP or TYPE/, '... each with HELP and TYPE');

# What is another's is not shown.
is(checked('page_check.py', as('bob', 'SELECT datamill.status_page()')), "jobs 0\nnodes 0\nedges 0\nticks 0\n", 'another role sees nothing');
unlike(as('bob', 'SELECT datamill.metrics()'), qr/job="/, '... nor in metrics');

# A job that is late, and suspended, broken and paused ones; a time zone that is gone fails neither page nor view.
as('ann', q{SELECT datamill.create_job(n, 'SELECT 1', '* * * * *', timeout => '1 min') FROM unnest('{late,nowhere,held,paused}'::text[]) n; SELECT datamill.pause('paused')});
$node->safe_psql('postgres', "ALTER SYSTEM SET datamill.scheduler = off");
$node->reload;
becomes('SELECT datamill.scheduler_state()', 'off', 'the scheduler is off');
sql(q{UPDATE datamill.job_catalog SET anchor = now() - interval '1 day' WHERE name IN ('late', 'nowhere', 'held'); DELETE FROM datamill.run_catalog WHERE name IN ('late', 'nowhere', 'held');
	UPDATE datamill.job_catalog SET timezone = 'No/Where' WHERE name = 'nowhere'; UPDATE datamill.job_catalog SET state = 'suspended', state_reason = '9 failures in a row' WHERE name = 'held'});
$page = as('ann', 'SELECT datamill.status_page()');
like(checked('page_check.py', $page), qr/^jobs 10\n/, 'ten jobs');
like($page, qr{<b>Nothing starts jobs here\.</b> The setting datamill\.scheduler is off}, 'what holds all back');
like($page, qr{<em>\d+ (?:min \d+ )?s late</em><b>late</b>.*nothing starts jobs: datamill.scheduler is off}, 'the late job on top');
like(row($page, 'held'), qr{<article class="job red".*The job is suspended: 9 failures in a row\. resume\(\) starts it again}s, 'a suspended one is red');
like(row($page, 'paused'), qr{<article class="job grey".*not while paused}s, 'a paused one grey');
like(row($page, 'nowhere'), qr{UTC<small>}, 'a time zone that is gone');
like(checked('metrics_check.py', as('ann', 'SELECT datamill.metrics()')), qr/^gauge datamill_late_jobs \[\] 1\.0$/m, 'metrics: late jobs');
like(as('ann', 'SELECT datamill.metrics()'), qr/^datamill_scheduler_up 0$/m, 'metrics: no scheduler');

# The last success of a job outlives datamill.run_retention.
sql(q{INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, arguments, started_at, finished_at, settled)
	SELECT job_id, name, owner, t, 'schedule', s, '{}', t, t, true FROM datamill.job_catalog, (VALUES (now() - interval '300 days', 'succeeded'), (now() - interval '250 days', 'succeeded'), (now() - interval '200 days', 'failed')) v (t, s)
	WHERE name = 'paused'; ALTER SYSTEM RESET datamill.scheduler});
$node->restart;
becomes("SELECT string_agg(state || (scheduled_time > now() - interval '260 days'), ',') FROM datamill.runs WHERE name = 'paused' AND scheduled_time < now() - interval '100 days'", 'succeededtrue', 'only the last success stays');

# 200 jobs in layers, with 20,000 runs.
$node->safe_psql('postgres', 'CREATE DATABASE many');
$node->safe_psql('postgres', "ALTER SYSTEM SET datamill.scheduler = off");
$node->reload;
$node->safe_psql('many', q{CREATE EXTENSION datamill; DO $$BEGIN FOR i IN 1 .. 200 LOOP PERFORM datamill.create_job('job ' || i, 'SELECT 1',
	after => CASE WHEN i > 20 THEN ARRAY['job ' || i / 2, 'job ' || i - 17] END); END LOOP; END$$;
	INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, arguments, started_at, finished_at, settled)
	SELECT job_id, name, owner, now() - n * interval '1 h', 'schedule', CASE WHEN (job_id + n) % 9 = 0 THEN 'failed' ELSE 'succeeded' END, '{}', now() - n * interval '1 h', now() - n * interval '1 h' + interval '3 s', true
	FROM datamill.job_catalog, generate_series(1, 100) n; ANALYZE});
my $start = time;
$page = $node->safe_psql('many', 'SELECT datamill.status_page()');
cmp_ok(time - $start, '<', 3, '200 jobs in a moment');
is(checked('page_check.py', $page), "jobs 200\nnodes 197\nedges 358\nticks 4000\n", '... all of them (1 to 3 are on their own; 33 and 34 follow one)');
is(scalar(() = $page =~ m{<article class="job red"}g), $node->safe_psql('many', "SELECT count(*) FROM datamill.jobs WHERE (job_id + 1) % 9 = 0"), '... each in its colour');
$node->stop;
done_testing();
