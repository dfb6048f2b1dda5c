# DmS3.pm: what the TAP tests of S3 share: a real S3 server (Ceph RGW, test/lib/rgw.sh), the fault server, SQL helpers.
# What is started here is stopped, by its own process ids, when the test ends, however it ends.
package DmS3;
use strict;
use warnings;
use Exporter 'import';
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(start_rgw start_faults start_keys s3 rgw_requests keys_set keys_log fault_log sql_error quote make_server);

our $lib = $ENV{DM_LIB} or die 'DM_LIB is not set: run bash test/run.sh tap';
our %rgw;
our %faults;
our %keys;
my $last_pid;
my $marks = 0;
my $owner = $$;
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP); # so that END below runs

# True if nothing listens on any of the ports.
sub ports_free
{
	for my $port (@_)
	{
		my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1) or return 0;
		close $socket;
	}
	return 1;
}

# Starts Ceph RGW with its data in memory. Returns (http => URL, https => URL, port, tls_port, dir, ca); empty if it is not installed.
sub start_rgw
{
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	return () if grep { system("command -v $_ >/dev/null 2>&1") } qw(radosgw ceph-mon ceph-osd);
	for my $try (1 .. 5)
	{
		my $port = 20000 + 25 * int(rand(400));
		next unless ports_free($port .. $port + 20);
		%rgw = (dir => "$dir/rgw", port => $port, tls_port => $port + 3, ca => "$dir/rgw/ca.pem",
			http => "http://127.0.0.1:$port", https => 'https://127.0.0.1:' . ($port + 3));
		my $log = "$PostgreSQL::Test::Utils::log_path/rgw.$try.log";
		return %rgw if system("PORT=$port STORE=memstore timeout 120 bash $lib/rgw.sh up $rgw{dir} >$log 2>&1 </dev/null") == 0;
		system("bash $lib/rgw.sh down $rgw{dir} >/dev/null 2>&1");
	}
	die 'RGW did not start';
}

# Runs test/lib/s3.py against RGW; returns what it prints. Dies if it fails, unless called with a hash of environment first.
sub s3
{
	my %env = ref $_[0] ? %{ shift() } : ();
	local %ENV = (%ENV, S3_ENDPOINT => $rgw{http}, %env);
	my ($out, $err);
	IPC::Run::run([ 'python3', "$lib/s3.py", @_ ], '<', \'', '>', \$out, '2>', \$err) or die "s3.py @_: $err";
	return $out;
}

# Asks RGW for paths of our own and waits until its log says so; returns the whole lines of the log up to there, from the place $from.
# RGW answers before it logs, and writes its log later still: by the second mark, all that was answered before the first is in it.
sub rgw_log
{
	my ($from) = @_;
	my $text;
	for (1, 2)
	{
		my $mark = 'mark' . ++$marks;
		HTTP::Tiny->new->get("$rgw{http}/$mark");
		for (my $tries = 0;; $tries++)
		{
			die 'RGW wrote no log' if $tries == 1200;
			$text = slurp_file("$rgw{dir}/client.rgw.a.log", $from);
			last if $text =~ m{GET /$mark HTTP.*\n};
			select undef, undef, undef, 0.02;
		}
	}
	return $text =~ s/[^\n]*\z//r;
}

# Runs a function; returns what RGW's own log says was asked of it meanwhile: "METHOD PATH?QUERY", a string each.
sub rgw_requests
{
	my $from = length rgw_log(0);
	$_[0]->();
	return grep { !m{^GET /mark\d+$} } map { /beast: .*?"(\w+ \S+) HTTP/ ? $1 : () } split /\n/, rgw_log($from);
}

# Starts the fault server. Returns (http => URL, https => URL, ca, pid).
sub start_faults
{
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my ($file, $pem) = ("$dir/port", "$dir/tls.pem");
	system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
		  . "-addext subjectAltName=IP:127.0.0.1 -keyout $pem -out $dir/ca.pem 2>/dev/null && cat $dir/ca.pem >>$pem");
	my ($http, $https) = split / /, start_python('faults', 'fault_server.py', $file, $pem);
	%faults = (pid => $last_pid, http => "http://127.0.0.1:$http", https => "https://127.0.0.1:$https", ca => "$dir/ca.pem");
	return %faults;
}

# Starts the server that hands out keys and takes only those. Returns (http => URL, pid).
sub start_keys
{
	my $port = start_python('keys', 'keys_server.py', PostgreSQL::Test::Utils::tempdir_short() . '/port');
	return %keys = (pid => $last_pid, http => "http://127.0.0.1:$port");
}

# Changes settings of the keys' server.
sub keys_set
{
	my $answer = HTTP::Tiny->new->post_form("$keys{http}/set", {@_});
	die 'not set' unless $answer->{success};
	return;
}

# The keys' server's log: the lines that match.
sub keys_log
{
	my ($pattern) = @_;
	my $answer = HTTP::Tiny->new->get("$keys{http}/log");
	die 'no log' unless $answer->{success};
	return grep { $_ =~ $pattern } split /\n/, $answer->{content};
}

# Starts a server of test/lib that writes its ports to the file it is called with first. Returns what it wrote; its pid is in $last_pid.
sub start_python
{
	my ($name, $program, $file, @arguments) = @_;
	my $pid = fork();
	if (!$pid)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$PostgreSQL::Test::Utils::log_path/$name.log";
		open STDERR, '>&', \*STDOUT;
		exec('python3', "$lib/$program", $file, @arguments) or POSIX::_exit(1);
	}
	for (1 .. 300)
	{
		last if -s $file;
		select undef, undef, undef, 0.1;
	}
	$last_pid = $pid;
	return PostgreSQL::Test::Utils::slurp_file($file);
}

# The fault server's log: [seconds, method, path, range] of the requests whose path matches.
sub fault_log
{
	my ($pattern) = @_;
	my $answer = HTTP::Tiny->new->get("$faults{http}/log");
	die 'no log' unless $answer->{success};
	return grep { $_->[2] =~ $pattern } map { [ split / /, $_, 4 ] } split /\n/, $answer->{content};
}

# Quotes an SQL literal.
sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

# Makes (or makes anew) a server of datamill_s3 with a mapping for everybody; options are hashes.
sub make_server
{
	my ($node, $name, $server, $mapping) = @_;
	my $list = sub { my %o = @_; join ', ', map { "$_ " . quote($o{$_}) } sort keys %o };
	$node->safe_psql('postgres', "SET client_min_messages = error; DROP SERVER IF EXISTS $name CASCADE;"
		  . "CREATE SERVER $name FOREIGN DATA WRAPPER datamill_s3 OPTIONS (" . $list->(%$server) . ');'
		  . ($mapping ? "CREATE USER MAPPING FOR PUBLIC SERVER $name OPTIONS (" . $list->(%$mapping) . ');' : ''));
	return;
}

# Runs SQL that must fail; returns its error with SQLSTATE, detail and hint.
sub sql_error
{
	my ($node, $sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $status == 0 && $err !~ /ERROR/ ? "no error: $out" : $err;
}

END
{
	if ($$ == $owner)
	{
		my $status = $?;
		for my $pid (grep { $_ } $faults{pid}, $keys{pid})
		{
			kill 'KILL', $pid;
			waitpid $pid, 0;
		}
		system("bash $lib/rgw.sh down $rgw{dir} >/dev/null 2>&1") if $rgw{dir};
		$? = $status;
	}
}

1;
