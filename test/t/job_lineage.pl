# job_lineage.pl: receipts as documents, events of OpenLineage, and where data comes from and goes to.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
my $buckets = PostgreSQL::Test::Utils::tempdir();
mkdir "$buckets/$_" for qw(in out);
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 16\ntimezone = 'Asia/Tokyo'\nautovacuum = off");
$node->start;
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub error_of { my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]"); return $err =~ /ERROR:  (.*)/ ? $1 : "no error: $out"; }

sub run_of
{
	my ($name) = @_;
	my $id = sql("SELECT datamill.run('$name')");
	$node->poll_query_until('postgres', "SELECT finished_at IS NOT NULL FROM datamill.runs WHERE run_id = $id") or die "run $id does not end";
	return $id;
}
sub job { my ($name, $body, $more) = @_; sql("SELECT datamill.create_job('$name', \$body\$$body\$body\$" . ($more ? ", $more" : '') . ')'); return; }

# What the checker says of a run's events.
sub check
{
	my ($run, $without) = @_;
	my ($out, $err) = ('', '');
	# a checker that dies tells it on standard error
	IPC::Run::run([ 'python3', "$ENV{DM_LIB}/openlineage.py" ], '<', \sql("SELECT datamill.openlineage($run)" . ($without ? " #- '$without'" : '')), '>', \$out, '2>', \$err);
	return $out . $err;
}
sub events { my ($run, $path) = @_; return sql("SELECT jsonb_path_query_array(datamill.openlineage($run), '$path')"); }

open my $file, '>', "$buckets/in/one.csv" or die $!;
print $file "id,v\n1,a\n2,b\n";
close $file or die $!;
sql(qq{CREATE EXTENSION datamill; CREATE SERVER files FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$buckets'); CREATE SCHEMA raw; CREATE SCHEMA mart;
	CREATE TABLE raw.orders (id int, v text); CREATE TABLE mart."Daily Orders" (id int, v text); CREATE TABLE mart.total (n bigint); CREATE TABLE raw.other (id int)});
job('load', q{SELECT * FROM datamill.load('s3://in/*.csv', 'raw.orders', options => '{"header": true}'); SELECT datamill.record_metadata('note', '1')}, q{arguments => '{"a": 1}'});
job('mart', q{INSERT INTO mart."Daily Orders" SELECT * FROM raw.orders; INSERT INTO mart.total SELECT count(*) FROM mart."Daily Orders"; DELETE FROM mart.total WHERE n < 0});
job('out', q{SELECT * FROM datamill.unload('SELECT * FROM mart.total', 's3://out/total')});
job('back', q{SELECT * FROM datamill.load('s3://out/total*', 'mart.total', options => '{"header": true}')});
job('fails', q{SELECT 1/0});
my %run = map { $_ => run_of($_) } qw(load mart out back fails);
is(sql("SELECT string_agg(state, ',' ORDER BY run_id) FROM datamill.runs"), 'succeeded,succeeded,succeeded,succeeded,failed', 'five runs')
	or diag(sql('SELECT name, message, detail FROM datamill.runs'));

# Lineage.
my $edges = "string_agg(concat_ws(' ', side, depth, source, '>', target, job), E'\\n' ORDER BY side DESC, depth, source, target)";
my $unload = sql("SELECT outputs #>> '{0,uri}' FROM datamill.receipts WHERE kind = 'unload'");
is(sql("SELECT $edges FROM datamill.lineage('mart.total')"), qq{up 1 mart."Daily Orders" > mart.total mart
up 1 raw.orders > mart.total mart
up 1 $unload > mart.total back
up 2 mart.total > $unload out
up 2 raw.orders > mart."Daily Orders" mart
up 2 s3://in/one.csv > raw.orders load
down 1 mart.total > $unload out
down 2 $unload > mart.total back}, 'up and down, through a circle');
is(sql("SELECT $edges FROM datamill.lineage('s3://in/one.csv', 'down', 2)"), qq{down 1 s3://in/one.csv > raw.orders load
down 2 raw.orders > mart."Daily Orders" mart
down 2 raw.orders > mart.total mart}, 'from an object, two steps');
is(sql("SELECT count(*) FROM datamill.lineage('s3://in/one.csv', 'up')"), '0', 'nothing is made into it');
is(sql("SELECT count(*) FROM datamill.lineage('nothing')"), '0', 'what no receipt knows');
is(sql("SELECT kind || ' ' || (receipt = (SELECT id FROM datamill.receipts r WHERE r.run_id = $run{load} AND kind = 'load')) || ' ' || (run_id = $run{load}) FROM datamill.lineage('raw.orders', 'up')"), 'load true true', 'the receipt of an edge');
is(sql("SELECT count(*) FROM datamill.lineage WHERE source = 'query' OR target = 'query'"), '0', 'queries are no places');
is(error_of("SELECT * FROM datamill.lineage('x', 'sideways')"), '22023: direction of a lineage cannot be "sideways"', 'direction');
is(error_of("SELECT * FROM datamill.lineage('x', 'up', $_)"), '22023: depth of a lineage must be between 1 and 100', "depth $_") for 0, 101;

# OpenLineage.
is(check($run{$_}), '', "events of $_ are what the schema asks for") for sort keys %run;
is(events($run{load}, '$[*].eventType'), '["START", "COMPLETE"]', 'a run that succeeded');
is(events($run{fails}, '$[1].eventType') . events($run{fails}, '$[1].run.facets.errorMessage.message'), '["FAIL"]["division by zero"]', 'one that failed');
isnt(check($run{load}, $_), '', "the checker misses $_") for '{0,producer}', '{1,run,runId}', '{1,inputs,0,namespace}', '{1,outputs,0,facets,schema,_producer}', '{1,outputs,0,outputFacets,outputStatistics,rowCount}';
my $port = $node->port;
is(events($run{load}, '$[1].inputs[*] ? (@.name == "one.csv").namespace'), '["s3://in"]', 'an object as input');
is(events($run{load}, '$[1].inputs[*].inputFacets.inputStatistics.rowCount') . events($run{load}, '$[1].inputs[*].inputFacets.inputStatistics.size'), '[2][13]', '... with its rows and size');
is(events($run{load}, '$[1].outputs[*].namespace') . events($run{load}, '$[1].outputs[*].name') . events($run{load}, '$[1].outputs[*].outputFacets.outputStatistics.rowCount'),
	qq{["postgres://main:$port"]["postgres.raw.orders"][2]}, 'a table as output');
is(events($run{load}, '$[1].outputs[*].facets.schema.fields[*].name') . events($run{load}, '$[1].outputs[*].facets.schema.fields[*].type'), '["id", "v"]["integer", "text"]', '... with its columns');
is(events($run{load}, '$[*].job.name') . events($run{load}, '$[0].job.namespace'), qq{["postgres.load", "postgres.load"]["postgres://main:$port/postgres"]}, 'the job');
is(events($run{load}, '$[0].job.facets.sql.query'), '[' . sql("SELECT to_jsonb(body) FROM datamill.jobs WHERE name = 'load'") . ']', 'its code');
is(events($run{load}, '$[1].run.facets.datamill.arguments') . events($run{load}, '$[1].run.facets.datamill.cpu_seconds ? (@ > 0) > 0'), '[{"a": 1}][true]', 'the run');
is(sql("SELECT datamill.openlineage($run{load}) #>> '{0,run,facets,nominalTime,nominalStartTime}' = to_char(scheduled_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM datamill.runs WHERE run_id = $run{load}"), 't', 'its time, in UTC');
is(events($run{out}, '$[1].inputs[*].name'), '["postgres.mart.total"]', 'tables stand for the query that names them');
sql(q{SELECT datamill.alter_job('load', '{"body": "SELECT 2"}')});
is(events($run{load}, '$[0].job.facets.sql'), '[]', 'code that has changed since is not told');
job('odd', q{SELECT datamill.record_input('https://api.example.com/x?page=1', rows => 7); SELECT datamill.record_input('urn:x'); SELECT datamill.record_output('http://h', '{}'); SELECT datamill.record_output('a.b.c"d', '{"rows": 1}', '7')});
my $odd = run_of('odd');
is(check($odd), '', 'what bodies tell is well-formed, too');
is(events($odd, '$[1].inputs[*].namespace') . events($odd, '$[1].inputs[*].name') . events($odd, '$[1].outputs[*].name'),
	qq{["https://api.example.com", "postgres://main:$port"]["x?page=1", "postgres.urn:x"]["/", "postgres.a.b.c\\"d"]}, '... and placed by its scheme');
my $queued = sql("SELECT datamill.pause('odd'); INSERT INTO datamill.run_catalog (job_id, name, owner, scheduled_time, trigger, state, arguments) SELECT job_id, name, owner, now() + interval '1 day', 'run', 'skipped', '{}' FROM datamill.job_catalog WHERE name = 'odd' RETURNING run_id") =~ s/\s//gr;
is(sql("SELECT datamill.openlineage($queued)"), '[]', 'a run that did not begin');
is(error_of('SELECT datamill.openlineage(999999)'), '42704: run 999999 does not exist', 'no run');

# Documents.
my $id = sql("SELECT id FROM datamill.receipts WHERE run_id = $run{mart}");
is(sql("SELECT d ->> 'id' = '$id' AND d ->> 'kind' = 'job' AND (d #>> '{run,run_id}')::bigint = $run{mart} AND d #>> '{run,job}' = 'mart' AND d ->> 'owner' = 'postgres' AND (d #>> '{run,peak_memory}')::bigint > 0 AND (d ->> 'same')::int = 1 "
	. "AND d ->> 'started_at' ~ '^\\d{4}-\\d\\d-\\d\\dT.*Z\$' AND d ->> 'body' LIKE 'INSERT%' AND d -> 'inputs' = r.inputs AND d -> 'outputs' = r.outputs AND d -> 'arguments' = r.arguments FROM datamill.receipts r, datamill.receipt_json(r.id) d WHERE r.id = '$id'"), 't', 'a receipt as a document');
my $first = sql("SELECT receipt_no FROM datamill.receipts WHERE id = '$id'");
run_of('mart');
is(sql("SELECT (datamill.receipt_json('$id') ->> 'receipt_no')::bigint > $first, datamill.receipt_json('$id', $first) -> 'receipt_no' = to_jsonb($first), datamill.receipt_json('$id') -> 'same'"), 't|t|2', 'of several the last, or the one asked for');
is(error_of("SELECT datamill.receipt_json('x')"), '42704: receipt "x" does not exist', 'no receipt');
is(sql("SELECT datamill.receipt_json(NULL) IS NULL"), 't', 'NULL');

# Others.
sql('CREATE ROLE ann LOGIN; GRANT USAGE ON SCHEMA datamill TO ann');
is(sql("SET ROLE ann; SELECT (SELECT count(*) FROM datamill.lineage) + (SELECT count(*) FROM datamill.lineage('mart.total'))"), '0', 'others have no lineage');
is(error_of("SET ROLE ann; SELECT datamill.receipt_json('$id')"), qq{42704: receipt "$id" does not exist}, '... no receipt');
is(error_of("SET ROLE ann; SELECT datamill.openlineage($run{load})"), "42704: run $run{load} does not exist", '... and no run');
unlike(slurp_file($node->logfile), qr/PANIC|server process .* was terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
