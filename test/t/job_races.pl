# job_races.pl: jobs that are dropped or altered while other sessions deal with them, and errors in the middle of what takes things back.
use strict;
use warnings;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
my $buckets = PostgreSQL::Test::Utils::tempdir();
mkdir "$buckets/b";
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 16\nmax_prepared_transactions = 4\ntimezone = UTC\nautovacuum = off\n"
	  . "log_error_verbosity = verbose\nlog_statement = none\ndatamill.default_server = files");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub errors_of { my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]", on_error_stop => 0); return ($out, join ' ', $err =~ /(?:ERROR|FATAL|WARNING):  (\w{5}: [^\n]*)/g); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }
sql("CREATE EXTENSION datamill; CREATE SERVER files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$buckets'); CREATE TABLE kept (a int)");

# An error within set_pipeline is one, and the session goes on.
sql(q{SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "select 1"}}}')});
for my $dry_run ('false', 'true')
{
	my ($out, $errors) = errors_of(qq{SELECT * FROM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "selec 1"}, "n": {"body": "selec 2"}}}', $dry_run);
		SELECT 'goes on'; BEGIN; SELECT pg_current_xact_id_if_assigned() IS NULL; COMMIT});
	like("$out|$errors", qr/^goes on\nt\|42601: syntax error at or near "selec"$/, "an error in set_pipeline, dry_run $dry_run");
}
my ($out, $errors) = errors_of(q{DO $$BEGIN PERFORM datamill.set_pipeline('{"pipeline": "p", "jobs": {"a": {"body": "selec 1"}}}'); EXCEPTION WHEN OTHERS THEN NULL; END$$;
	INSERT INTO kept VALUES (1); BEGIN; COMMIT});
is($errors, '', '... that is caught');
is(sql('SELECT count(*) FROM kept'), '1', '... what comes after it is committed');

# A cancelled verify_receipt ends its statement and no more.
sql("SELECT * FROM datamill.unload('SELECT i, repeat(''x'', 200) AS x FROM generate_series(1, 200000) i', 's3://b/big', options => '{\"header\": true}')");
sql("CREATE TABLE big (i int, x text); COPY big FROM 's3://b/big*' WITH (FORMAT csv, HEADER) WHERE false");
my $receipt = sql("SELECT id FROM datamill.receipts WHERE kind = 'copy' OR inputs::text LIKE '%s3://b/big%' ORDER BY receipt_no DESC LIMIT 1");
my $cancelled = 0;
for my $ms (map { $_ * 8 } 1 .. 12)
{
	($out, $errors) = errors_of("SET statement_timeout = '${ms}ms'; SELECT count(*) > 0 FROM datamill.verify_receipt('$receipt'); RESET statement_timeout; SELECT 'goes on'; BEGIN; COMMIT");
	$cancelled++ if $errors ne '';
	like("$out|$errors", qr/^(t\n)?goes on\|(57014: canceling statement due to statement timeout)?$/, "verify_receipt within $ms ms");
}
cmp_ok($cancelled, '>', 0, 'some were cancelled');

# A watch that is pinned has nothing to queue: the scheduler goes on all the same.
sql(q{SELECT datamill.create_job('pinned', 'SELECT 1', watch => 's3://b/*', schedule => 'every 1 s'); SELECT datamill.pin('pinned', '[{"uri": "s3://b/a.csv", "etag": "x", "size": 1}]')});
$node->restart;
sql("SELECT pg_sleep(2.2); SELECT datamill.create_job('plain', 'SELECT 1'); SELECT datamill.run('plain')");
becomes("SELECT string_agg(state, ',') FROM datamill.runs WHERE name = 'plain'", 'succeeded', 'a pinned watch stops nobody');
sql("SELECT datamill.drop_job('pinned')");

# Jobs that are dropped under run(), replay() and explain_schedule(): a session holds the table between the drop and its end.
sql(q{SELECT datamill.create_job('det', $$SELECT datamill.record_output('x:y')$$); SELECT datamill.run('det')});
becomes("SELECT state FROM datamill.runs WHERE name = 'det'", 'succeeded', 'a run with a receipt');
my $det = sql("SELECT receipts[1] FROM datamill.runs WHERE name = 'det'");
for my $call ("SELECT datamill.run('det')", "SELECT datamill.replay('$det')")
{
	my $dropper = $node->background_psql('postgres');
	$dropper->query_safe("BEGIN; SELECT datamill.drop_job('det'); LOCK TABLE datamill.run_catalog IN SHARE MODE");
	my $caller = $node->background_psql('postgres', on_error_stop => 0);
	$caller->query_safe("\\set VERBOSITY verbose\nSET statement_timeout = '30s'");
	$caller->query_until(qr/asked/, "\\echo asked\n$call;\n\\echo answered\n");
	becomes("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT datamill.r%'", '1', "waits: $call");
	$dropper->query_safe('COMMIT');
	$dropper->quit;
	$caller->query_until(qr/answered/, "\n");
	like($caller->{stderr}, qr/ERROR:  42704: /, '... the job is gone');
	$caller->quit;
	sql(q{SELECT datamill.create_job('det', $$SELECT datamill.record_output('x:y')$$); SELECT datamill.run('det')});
	becomes("SELECT string_agg(state, ',') FROM datamill.runs r WHERE name = 'det' AND job_id = (SELECT job_id FROM datamill.jobs WHERE name = 'det')", 'succeeded', '... another of its name runs');
	$det = sql("SELECT receipts[1] FROM datamill.runs WHERE name = 'det' ORDER BY run_id DESC LIMIT 1");
}

# What is rolled back to a savepoint ends nothing; what ends runs cannot be prepared.
sql("SELECT datamill.create_job('long', 'SELECT pg_sleep(60)'); SELECT datamill.run('long')");
becomes("SELECT state FROM datamill.runs WHERE name = 'long'", 'running', 'a long run');
sql("BEGIN; SAVEPOINT a; SELECT datamill.drop_job('long', true); ROLLBACK TO a; COMMIT");
sql("DO \$\$BEGIN PERFORM datamill.drop_job('long', true); RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN NULL; END\$\$");
usleep(1_000_000);
is(sql("SELECT state FROM datamill.runs WHERE name = 'long'"), 'running', '... goes on when its drop is rolled back');
($out, $errors) = errors_of("BEGIN; SELECT datamill.drop_job('long', true); PREPARE TRANSACTION 'x'");
is($errors, '0A000: cannot PREPARE a transaction that ends runs of jobs', '... and its drop cannot be prepared');
sql("BEGIN; SAVEPOINT a; SELECT datamill.drop_job('long', true); RELEASE a; COMMIT");
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill run'", '0', '... it ends with a drop that is committed');

# All of it at once.
my @statements = (
	"SELECT datamill.create_job('r', 'SELECT 1', '* * * * *');", "SELECT datamill.drop_job('r', true);", "SELECT length(datamill.explain_schedule('r')) > 0;",
	"SELECT datamill.alter_job('r', '{\"schedule\": null}');", "SELECT datamill.alter_job('r', '{\"schedule\": \"* * * * *\"}');", "SELECT datamill.run('r') > 0;", "SELECT datamill.emit('boom') > 0;",
	"SELECT datamill.create_job('w', 'SELECT 1', watch => 'event:boom');", "SELECT datamill.drop_job('w', true);", "SELECT datamill.pause('r'); SELECT datamill.resume('r');",
	"SELECT length(datamill.status_page()) > 0;", "SELECT length(datamill.metrics()) > 0;", "SELECT datamill.cancel(max(run_id)) FROM datamill.runs WHERE name = 'r';");
my @children;
for my $client (1 .. 6)
{
	my $pid = fork() // die $!;
	if (!$pid)
	{
		srand $client;
		my $file = "$buckets/$client.sql";
		open my $script, '>', $file or die $!;
		print $script "SET client_min_messages = error; SET statement_timeout = '30s';\n", join "\n", map { $statements[ rand @statements ] } 1 .. 400;
		close $script or die $!;
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec('psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file) or POSIX::_exit(1);
	}
	push @children, $pid;
}
waitpid $_, 0 for @children;
my $log = slurp_file($node->logfile);
unlike($log, qr/was terminated by signal|PANIC|TRAP/, 'no crash');
my %codes;
$codes{$1}++ while $log =~ /ERROR:  (\w{5}): /g;
diag(join ' ', map { "$_ $codes{$_}" } sort keys %codes);
is(join(' ', grep { /^XX|57014/ } sort keys %codes) =~ s/57014//r, '', 'no internal error');
is(scalar(() = $log =~ /statement timeout/g), $cancelled, 'nothing went on for ever');
sql("SELECT datamill.create_job('last', 'SELECT 1'); SELECT datamill.run('last')");
becomes("SELECT state FROM datamill.runs WHERE name = 'last'", 'succeeded', 'jobs run after it all');
$node->stop;
done_testing();
