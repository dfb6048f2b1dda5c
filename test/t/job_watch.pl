# job_watch.pl: jobs that are started by receipts, and by new objects in a store.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

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

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|segfault|signal 11|was terminated by signal/, 'no crash');
$node->stop;
done_testing();
