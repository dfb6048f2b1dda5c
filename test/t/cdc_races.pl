# cdc_races.pl: sessions that make, merge, ask about, alter and drop one dataset at the same time, in any order: each gets an answer or an error that a user
# understands, and the server goes on.
use strict;
use warnings;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nfsync = off\ndeadlock_timeout = '50ms'\nlog_error_verbosity = verbose\nlog_statement = none");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION datamill; CREATE SCHEMA z');
my %scripts = (
	make => "SELECT datamill.create_dataset('z.t', '{id}', 'id int, v int, s text', options => '{\"sensitive\": [\"s\"], \"on_new_column\": \"add\"}');",
	merge => "SELECT * FROM datamill.cdc_merge('z.t', 'SELECT i AS id, i + 1 AS v, ''s'' AS s FROM generate_series(1, 5) i', keys => '{id}');",
	plan => "SELECT count(*) FROM datamill.cdc_plan('z.t', 'SELECT i AS id, i AS v, ''s'' AS s FROM generate_series(1, 5) i');",
	diff => "SELECT count(*) FROM datamill.cdc_diff('z.t', '2020-01-01', '2030-01-01');",
	check => "SELECT count(*) FROM datamill.check_dataset('z.t');",
	undo => "SELECT * FROM datamill.cdc_undo('z.t');",
	alter => "SELECT datamill.alter_dataset('z.t', '{\"untracked\": [\"v\"]}');",
	stamp => "BEGIN; SELECT datamill.alter_dataset('z.t', '{\"stamp_operation\": true}'); SELECT datamill.alter_dataset('z.t', '{\"stamp_operation\": false}'); COMMIT;",
	prune => "SELECT * FROM datamill.prune_history('z.t', '2020-01-01');",
	drop => "SELECT datamill.drop_dataset('z.t');",
	forget => "SELECT datamill.drop_dataset('z.t', true);",
	gone => 'DROP TABLE IF EXISTS z.t, z.t_history, z.t_sensitive, z.t_sensitive_history CASCADE;',
	history => 'DROP TABLE IF EXISTS z.t_history CASCADE;',
	rename => "BEGIN; ALTER TABLE z.t RENAME TO u; ALTER TABLE z.u RENAME TO t; COMMIT;",
	views => "SELECT count(*) FROM datamill.datasets; SELECT count(*) FROM datamill.merges;");
my $dir = PostgreSQL::Test::Utils::tempdir();
my @names = sort keys %scripts;
my @children;
for my $client (1 .. 6)
{
	my $pid = fork() // die $!;
	if (!$pid)
	{
		srand $client;
		my $commands = join '', map { $scripts{ $names[ rand @names ] } . "\n" . ($_ % 3 == 0 ? "$scripts{make}\n$scripts{merge}\n" : '') } 1 .. 250;
		open my $file, '>', "$dir/$client.sql" or die $!;
		print $file "SET client_min_messages = error; SET lock_timeout = '20s';\n$commands";
		close $file or die $!;
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec('psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', "$dir/$client.sql") or POSIX::_exit(1);
	}
	push @children, $pid;
}
waitpid $_, 0 for @children;
my $log = slurp_file($node->logfile);
unlike($log, qr/was terminated by signal|PANIC|TRAP/, 'no crash');
my %seen;
$seen{$1}++ while $log =~ /ERROR:  (\w{5}: .*)/g;
diag("$seen{$_} $_") for sort keys %seen;
my %codes;
$codes{ substr $_, 0, 5 } += $seen{$_} for keys %seen;
is(join(' ', grep { /^XX/ } sort keys %codes), '', 'no internal error');
cmp_ok(scalar(keys %seen), '>', 3, 'there were errors');
$node->safe_psql('postgres', "$scripts{gone} $scripts{merge}");
is($node->safe_psql('postgres', 'SELECT count(*), sum(v) FROM z.t'), '5|20', 'and a merge after it all');
is($node->safe_psql('postgres', "SELECT count(*) FROM datamill.check_dataset('z.t')"), '0', '... is sound');
unlike($log, qr/WARNING/, 'no warning of a leak');
is(join(' ', grep { /^(?!25P02|55|4|2[23]|P0)/ } sort keys %codes), '', 'errors are of the classes that users know');
$node->stop;
done_testing();
