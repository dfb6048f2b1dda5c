# DmCrash.pm: interrupts a statement at a moment of its run, by cancel, terminate or kill -9.
package DmCrash;
use strict;
use warnings;
use Exporter 'import';
use IPC::Run qw(run start finish);
use Time::HiRes qw(usleep);

our @EXPORT = qw(interrupt checkpointer_of wait_for_restart);

# Asks a server that may be down; returns '' if it does not answer. (PostgreSQL::Test's psql() dies when psql ends before it has read its input.)
sub answer_of
{
	my ($node, $sql) = @_;
	my ($out, $err);
	run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '<', '/dev/null', '>', \$out, '2>', \$err) or return '';
	chomp $out;
	return $out;
}

# The process id of the checkpointer: another one after a crash.
sub checkpointer_of
{
	my $node = shift;
	return answer_of($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
}

# Waits until the postmaster has noticed a crash, ended all others and started anew: the checkpointer is then another. If
# psql saw no error, the statement may have been over just before, and no crash is no fault.
sub wait_for_restart
{
	my ($node, $checkpointer, $must) = @_;
	my $deadline = time + ($must ? 180 : 2);
	while (time < $deadline)
	{
		my $pid = checkpointer_of($node);
		return if $pid ne '' && $pid ne $checkpointer;
		usleep(100_000);
	}
	die 'no restart after a crash' if $must;
	$deadline = time + 120;
	while (time < $deadline)
	{
		return if answer_of($node, 'SELECT 1') eq '1';
		usleep(100_000);
	}
	die 'the server does not answer';
}

# Runs sql in a session of its own and, after so many seconds, does $what (cancel, terminate or kill) to it. Returns when the
# session is over and the server answers again.
sub interrupt
{
	my ($node, $sql, $what, $seconds) = @_;
	my ($out, $err) = ('', '');
	my $checkpointer = checkpointer_of($node);
	my $handle = start([ 'psql', '-X', '-q', '-d', $node->connstr('postgres') . ' application_name=victim', '-c', $sql ],
		'>', \$out, '2>', \$err, IPC::Run::timeout(60));

	usleep(1_000_000 * $seconds);
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'");
	if ($pid ne '')
	{
		if ($what eq 'kill') { kill 'KILL', $pid; }
		else { $node->safe_psql('postgres', "SELECT pg_${what}_backend($pid)"); }
	}
	finish($handle);
	wait_for_restart($node, $checkpointer, $err ne '') if $what eq 'kill' && $pid ne '';
	return;
}

1;
