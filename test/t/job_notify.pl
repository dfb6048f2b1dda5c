# job_notify.pl: notifications, from the event to a real mail server, a real HTTP server and a listening session.
use strict;
use warnings;
use DmCrash;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $owner = $$;
my ($servers, $dir) = (0, PostgreSQL::Test::Utils::tempdir_short());
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
	. "-addext subjectAltName=IP:127.0.0.1 -keyout $dir/tls.pem -out $dir/ca.pem 2>/dev/null && cat $dir/ca.pem >>$dir/tls.pem") == 0 or die 'no certificate';
$servers = fork();
if (!$servers)
{
	open STDIN, '<', '/dev/null';
	open STDOUT, '>', "$dir/servers.log";
	open STDERR, '>&', \*STDOUT;
	exec('python3', "$ENV{DM_LIB}/notify_server.py", "$dir/ports", $dir, "$dir/tls.pem") or POSIX::_exit(1);
}
for (1 .. 200) { last if -s "$dir/ports"; select undef, undef, undef, 0.05; }
my ($http, $smtp, $smtps, $smtp_plain) = split / /, slurp_file("$dir/ports");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'datamill'\nmax_worker_processes = 24\ntimezone = UTC\nautovacuum = off\nlog_statement = none\nlog_min_messages = debug1\nrestart_after_crash = on");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub becomes { my ($query, $expected, $name) = @_; ok($node->poll_query_until('postgres', $query, $expected), $name) or diag(sql($query)); return; }
# The requests that came to a path: header hashes, bodies.
sub requests { my $path = shift; return () unless -e "$dir/http.log"; return grep { $_->{path} eq $path } map { JSON::PP::decode_json($_) } split /\n/, slurp_file("$dir/http.log"); }
# What a Python program prints of its input.
sub python { my ($program, $input, @arguments) = @_; my ($out, $err); IPC::Run::run([ 'python3', '-c', $program, @arguments ], '<', \$input, '>', \$out, '2>', \$err) or die $err; chomp $out; return $out; }
# State, count, attempts and error of the notifications of a notifier.
sub outbox { return sql("SELECT string_agg(concat_ws('|', event, state, count, attempts, last_error), ' ' ORDER BY notification_id) FROM datamill.notifications WHERE notifier = '$_[0]'"); }
sub settled { my $notifier = shift; becomes("SELECT count(*) FROM datamill.notifications WHERE notifier = '$notifier' AND state IN ('pending', 'sending')", '0', "$notifier has sent all"); return outbox($notifier); }
sub run { my $name = shift; my $id = sql("SELECT datamill.run('$name')"); $node->poll_query_until('postgres', "SELECT settled FROM datamill.run_catalog WHERE run_id = $id") or die "run of $name"; return $id; }
sub scheduler { my $on = shift; sql("ALTER SYSTEM SET datamill.scheduler = $on"); $node->reload; select undef, undef, undef, 0.2; return; }

sql('CREATE EXTENSION datamill');
sql(q{CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; GRANT CREATE ON SCHEMA public TO ann; GRANT USAGE ON SCHEMA datamill TO ann, bob});
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill scheduler'", '1', 'a scheduler');
my $password = 'correct horse';
my @secrets = ($password, 'T0TOKEN99', 'r0utingkeyr0utingkey', 'whsec_0123456789');
my $mail = qq{"ca_file": "$dir/ca.pem", "from": "Data Müller <mill\@example.com>", "repeat_after": 0, "backoff": "100ms"};
sub as_ann { return sql("SET ROLE ann; $_[0]"); }

# Mail: STARTTLS and AUTH, text and HTML, headers in other languages, and what would break out of them.
sql(q{SELECT datamill.create_job('länge', $$SELECT 1/0 AS "a < b & c"$$); SELECT datamill.create_job('fine', 'SELECT 1')});
sql(qq{SELECT datamill.create_notifier('mail', 'smtp', '{"url": "smtp://127.0.0.1:$smtp", "to": ["Ann <ann\@example.com>", "bob\@example.com"], "username": "mailer", "reply_to": "Zoë, of <ops\@example.com>", $mail}', '{"password": "$password"}');
	SELECT datamill.notify_on('länge', 'failure', 'mail')});
run('länge');
is(settled('mail'), 'failure|sent|1|1', 'a failure is mailed');
my $parse = <<'PY';
import email, email.policy, json, sys
raw = sys.stdin.buffer.read()
head, _, raw = raw.partition(b"\n")
head = json.loads(head)
m = email.message_from_bytes(raw, policy=email.policy.default)
parts = {p.get_content_type(): p.get_content() for p in m.iter_parts()}
assert not m.defects and not any(p.defects for p in m.walk()), (m.defects, [p.defects for p in m.walk()])
assert all(len(l) <= 78 for l in raw.split(b"\r\n")), max(raw.split(b"\r\n"), key=len)
assert b"\n" not in raw.replace(b"\r\n", b"") and all(c < 128 for c in raw)
out = {"envelope": head, "subject": m["Subject"], "from": m["From"].addresses[0].display_name, "to": [str(a) for a in m["To"].addresses],
  "reply": m["Reply-To"] and str(m["Reply-To"].addresses[0].display_name), "type": m.get_content_type(), "order": [p.get_content_type() for p in m.iter_parts()],
  "dated": m["Date"].datetime.utcoffset().total_seconds() == 0, "id": m["Message-ID"], "auto": m["Auto-Submitted"], "bcc": m["Bcc"], "text": parts["text/plain"].replace("\r\n", "\n"), "html": parts["text/html"].replace("\r\n", "\n")}
print(json.dumps(out))
PY
sub mail_of { my $n = shift; return JSON::PP::decode_json(python($parse, slurp_file("$dir/mail.$n"))); }
my $m = mail_of(1);
is_deeply($m->{envelope}, { from => 'mill@example.com', to => [ 'ann@example.com', 'bob@example.com' ], tls => JSON::PP::true, user => 'mailer' }, 'envelope, TLS and AUTH');
is($m->{subject}, "[postgres] l\x{e4}nge failed: division by zero", 'the subject says where and what');
is_deeply([ @$m{qw(from to reply)} ], [ "Data M\x{fc}ller", [ 'Ann <ann@example.com>', 'bob@example.com' ], "Zo\x{eb}, of" ], 'mailboxes');
is_deeply([ @$m{qw(type order dated auto bcc)} ], [ 'multipart/alternative', [ 'text/plain', 'text/html' ], JSON::PP::true, 'auto-generated', undef ], 'parts and headers');
like($m->{id}, qr/^<datamill\.\d+\.1\.\d+\@example\.com>$/, 'Message-ID');
like($m->{text}, qr/^l\x{e4}nge failed\s+division by zero\s.*^State +failed\s.*^SQLSTATE +22012\s.*^Last runs\s+20\S+ \S+ UTC  failed /ms, 'the text');
like($m->{html}, qr/l\x{e4}nge failed.*division by zero.*22012.*Last runs/s, 'the HTML');
unlike($m->{html}, qr/https?:|<script|<img/, '... loads nothing');
copy_html($m->{html}, 'failure');

# Templates: a value is no markup, and no header.
sql(q{SELECT datamill.create_job('odd', $$DO 'BEGIN RAISE EXCEPTION ''<b>"x"&</b>%Bcc: eve@example.com%.%..dots'', E''\r\n'', E''\r\n'', E''\r\n''; END'$$);
	SELECT datamill.notify_on('odd', 'failure', 'mail', '{"subject": "{{job}} é {{message}}", "text": "{{message}}|{{count}}|{{payload.reason}}|{{ next_due }}|\n\n.\n..end ", "html": "<p title=\"{{message}}\">{{message}}</p>{{runs}}"}')});
run('odd');
settled('mail');
$m = mail_of(2);
is($m->{bcc}, undef, 'no header is smuggled in');
like($m->{subject}, qr/^odd \x{e9} <b>"x"&<\/b>\s+Bcc: eve\@example\.com\s+\.\s+\.\.dots$/, '... it is in the subject');
is($m->{text}, qq{<b>"x"&</b>\nBcc: eve\@example.com\n.\n..dots|1|<b>"x"&</b>\nBcc: eve\@example.com\n.\n..dots||\n\n.\n..end }, 'dots and blanks arrive as they are');
like($m->{html}, qr{^<p title="&lt;b&gt;&quot;x&quot;&amp;&lt;/b&gt;\nBcc.*</p><table.*&lt;b&gt;}s, 'HTML is escaped');
sql("SELECT datamill.notify_off('odd', 'failure', 'mail')");

# Whatever is said arrives as it is: random texts of all planes, with blanks, dots, tabs and long lines.
my $odd_mails = <<'PY';
import email, email.policy, sys
wrong = 0
for name in sys.argv[1:]:
    raw = open(name, "rb").read().partition(b"\n")[2]
    m = email.message_from_bytes(raw, policy=email.policy.default)
    text, html = (p.get_content().replace("\r\n", "\n") for p in m.iter_parts())
    want = bytes.fromhex(html).decode()
    subject = "".join(" " if ord(c) < 32 or ord(c) == 127 else c for c in want[:60])
    squeeze = lambda s: " ".join(s.split(" ")).strip()
    lines = raw.split(b"\r\n")
    if text != want or (str(m["Subject"]) != subject and squeeze(str(m["Subject"])) != squeeze(subject)) or max(map(len, lines)) > 78 or any(b"\n" in l or b"\r" in l for l in lines):
        wrong += 1
        print(name, repr(want), repr(text), repr(str(m["Subject"])))
print(len(sys.argv) - 1, wrong)
PY
sql(q{SELECT datamill.notify_on('*', 'odd', 'mail', '{"subject": "{{payload.subject}}", "text": "{{payload.text}}", "html": "{{payload.hex}}"}'); SELECT setseed(0.5);
	SELECT datamill.emit('odd', jsonb_build_object('text', t, 'subject', left(t, 60), 'hex', encode(convert_to(t, 'UTF8'), 'hex'))) FROM (SELECT n, string_agg(CASE (random() * 12)::int
	WHEN 0 THEN ' ' WHEN 1 THEN E'\n' WHEN 2 THEN '.' WHEN 3 THEN '=' WHEN 4 THEN E'\t' WHEN 5 THEN chr(160 + (random() * 500)::int) WHEN 6 THEN chr(20000 + (random() * 9000)::int) WHEN 7 THEN chr(128512 + (random() * 60)::int)
	WHEN 8 THEN '?' ELSE chr(33 + (random() * 93)::int) END, '' ORDER BY i) t FROM generate_series(1, 60) n, generate_series(1, 1 + n * n / 4) i GROUP BY n) x ORDER BY n});
settled('mail');
is(python($odd_mails, '', map { "$dir/mail.$_" } 3 .. 62), '60 0', 'random texts');

# New objects: a table.
sql(q{SELECT datamill.notify_on('fine', 'new_objects', 'mail');
	INSERT INTO datamill.event_log (event, owner, job_id, payload) SELECT 'new_objects', owner, job_id, '{"objects": [{"uri": "s3://lake/in/a <1>.csv", "etag": "x", "size": 1234567890, "modified": "2026-11-20T23:59:58Z"}, {"uri": "s3://lake/in/b.csv", "size": 512, "modified": "2026-11-21T00:00:00Z"}]}' FROM datamill.job_catalog WHERE name = 'fine';
	INSERT INTO datamill.outbox_catalog (notifier_id, queue, job_id, job, event, payload, first_at, last_at, next_attempt_at) SELECT n.notifier_id, e.job_id, e.job_id, 'fine', e.event, e.payload, now(), now(), now() FROM datamill.event_log e, datamill.notifier_catalog n WHERE e.event = 'new_objects' AND n.name = 'mail'});
sql("SELECT datamill.emit('nobody listens')");
settled('mail');
$m = mail_of(63);
is($m->{subject}, '[postgres] 2 new objects for fine', 'new objects');
like($m->{html}, qr{<td[^>]*>in/a &lt;1&gt;\.csv</td><td[^>]*>1177 MB</td><td[^>]*>2026-11-20 23:59:58</td><td[^>]*>lake</td>}, '... as a table');
like($m->{text}, qr{^in/a <1>\.csv  1177 MB  2026-11-20 23:59:58  lake\nin/b\.csv  512 bytes  2026-11-21 00:00:00  lake$}m, '... and as text');
copy_html($m->{html}, 'new_objects');

# What a mail server can say.
sql(qq{SELECT datamill.create_notifier('smtps', 'smtp', '{"url": "smtps://127.0.0.1:$smtps", "to": "ann\@example.com", $mail}');
	SELECT datamill.create_notifier('plain', 'smtp', '{"url": "smtp://127.0.0.1:$smtp_plain", "tls": "none", "to": "ann\@example.com", $mail}');
	SELECT datamill.create_notifier('insecure', 'smtp', '{"url": "smtp://127.0.0.1:$smtp_plain", "to": "ann\@example.com", $mail}');
	SELECT datamill.create_notifier('refused', 'smtp', '{"url": "smtp://127.0.0.1:$smtp_plain", "tls": "none", "to": "refused\@example.com", $mail}');
	SELECT datamill.create_notifier('later', 'smtp', '{"url": "smtp://127.0.0.1:$smtp_plain", "tls": "none", "to": "later\@example.com", $mail}');
	SELECT datamill.create_notifier('wrong', 'smtp', '{"url": "smtp://127.0.0.1:$smtp", "to": "ann\@example.com", "username": "mailer", $mail}', '{"password": "wrong horse"}');
	SELECT datamill.test_notifier(n) FROM unnest('{smtps,plain,refused,later,insecure,wrong}'::text[]) n});
is(settled('smtps'), 'test|sent|1|1', 'smtps');
is(settled('plain'), 'test|sent|1|1', 'smtp without TLS, since it is said so');
like(settled('refused'), qr/^test\|failed\|1\|1\|RCPT failed: 550: 550 5.1.1 no such mailbox$/, 'a mailbox that is not there');
is(settled('later'), 'test|sent|1|3', 'greylisting is waited for');
becomes("SELECT attempts > 1 AND last_error ~ 'STARTTLS not supported' FROM datamill.notifications WHERE notifier = 'insecure'", 't', 'no mail without TLS');
becomes("SELECT attempts > 1 AND last_error ~ '535' FROM datamill.notifications WHERE notifier = 'wrong'", 't', 'a wrong password is tried again');
# ... not even where the process has a connection to that server from a mail before, which another, slow one keeps alive
sql(qq{SELECT datamill.create_notifier('held', 'webhook', '{"url": "http://127.0.0.1:$http/slow/held"}'); SELECT datamill.test_notifier('held')});
becomes("SELECT state FROM datamill.notifications WHERE notifier = 'held'", 'sending', 'a process that goes on');
sql("SELECT datamill.test_notifier('plain')");
like(settled('plain'), qr/sent/, '... sends a mail without TLS');
sql("UPDATE datamill.outbox_catalog SET attempts = 0, last_error = NULL, next_attempt_at = now() WHERE notifier_id = (SELECT notifier_id FROM datamill.notifier_catalog WHERE name = 'insecure')");
becomes("SELECT attempts > 0 AND state <> 'sending' AND last_error ~ 'STARTTLS not supported' FROM datamill.notifications WHERE notifier = 'insecure'", 't', '... and still none that needs it');
is(sql("SELECT state FROM datamill.notifications WHERE notifier = 'held'"), 'sending', '... all by that process');
sql("SELECT datamill.drop_notifier('held'); SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'datamill notifier'");
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill notifier'", '0', 'the process has ended');
sql(qq{SELECT datamill.drop_notifier('insecure'); SELECT datamill.alter_notifier('wrong', secret => '{"password": "$password"}')});
like(settled('wrong'), qr/^test\|sent\|1\|\d+$/, '... until it is put right');

# A webhook: all there is, signed.
sql(qq{SELECT datamill.create_notifier('hook', 'webhook', '{"url": "http://127.0.0.1:$http/hook", "backoff": "50ms"}', '{"key": "$secrets[3]"}');
	SELECT datamill.notify_on('*', 'failure', 'hook'), datamill.notify_on(NULL, 'arrived', 'hook'), datamill.notify_on('fine', 'success', 'hook', '{"json": "{\\"what\\": \\"{{job}} \\\\\\"{{payload}}\\", \\"n\\": {{count}}}"}')});
my $run_id = run('odd');
is(settled('hook'), 'failure|sent|1|1', 'a webhook');
my ($request) = requests('/hook');
my $body = JSON::PP::decode_json($request->{body});
is_deeply([ @$body{qw(event job run_id state sqlstate count database notifier)} ], [ 'failure', 'odd', $run_id, 'failed', 'P0001', 1, 'postgres', 'hook' ], '... with what there is to say');
like($body->{message}, qr/^<b>"x"&<\/b>\r\nBcc/, '... as it was');
my $check = 'import hashlib, hmac, json, sys; r = json.loads(sys.stdin.read()); t, v = (p.split("=", 1)[1] for p in r["headers"]["datamill-signature"].split(",")); '
	. 'print(abs(r["at"] - int(t)) < 5, hmac.compare_digest(v, hmac.new(sys.argv[1].encode(), (t + "." + r["body"]).encode(), hashlib.sha256).hexdigest()))';
is(python($check, JSON::PP::encode_json({ %$request }), $secrets[3]), 'True True', '... and signed');
is($request->{headers}{'datamill-notification'}, $body->{notification_id}, '... with an id to know repeats by');
run('fine');
settled('hook');
is((requests('/hook'))[1]{body}, '{"what": "fine \"{}", "n": 1}', 'a template of JSON');

# Events of users are not thrown together, unless they say the same.
scheduler('off');
sql(q{SELECT datamill.emit('arrived', jsonb_build_object('file', f)) FROM unnest('{a,b,b,a}'::text[]) f; SELECT datamill.emit('other')});
scheduler('on');
settled('hook');
is(join(' ', map { my $b = JSON::PP::decode_json($_->{body}); ($b->{event} // '') eq 'arrived' ? "$b->{payload}{file}$b->{count}" : () } requests('/hook')), 'a2 b2', 'emitted events');

# Repeats become one while they cannot be sent, but nothing that happened in between is told out of order.
sql(qq{SELECT datamill.create_notifier('down', 'webhook', '{"url": "http://127.0.0.1:$http/status/503", "backoff": "1h"}');
	CREATE TABLE switch (works bool); INSERT INTO switch VALUES (false); SELECT datamill.create_job('flaky', 'SELECT 1 / works::int FROM switch', suspend_after => 0);
	SELECT datamill.notify_on('flaky', e, 'down') FROM unnest('{failure,recovered}'::text[]) e});
run('flaky') for 1 .. 14;
becomes("SELECT sum(count) FROM datamill.notifications WHERE notifier = 'down' AND state = 'pending'", '14', 'a receiver that is down');
sql('UPDATE switch SET works = true');
run('flaky');
sql('UPDATE switch SET works = false');
run('flaky') for 1 .. 2;
becomes("SELECT attempts FROM datamill.notifications WHERE notifier = 'down' ORDER BY notification_id LIMIT 1", '1', '... is tried');
like(outbox('down'), qr/^failure\|pending\|1\|1\|HTTP status 503: no_service /, '... once an hour');
sql(qq{SELECT datamill.alter_notifier('down', '{"url": "http://127.0.0.1:$http/up"}')});
is(settled('down'), 'failure|sent|14|2 recovered|sent|1|1 failure|sent|2|1', '... and is told three things when it is up');
is(join(' ', map { JSON::PP::decode_json($_->{body})->{title} =~ s/ since.*//r } requests('/up')), 'flaky failed 14 times flaky recovered flaky failed 2 times', '... in order');

# Patience: Retry-After, repeat_after, time out, refusal for good, remotes that are not there.
sql(qq{SELECT datamill.create_notifier('slack', 'slack', '{"repeat_after": "1h", "backoff": "50ms"}', '{"url": "http://127.0.0.1:$http/retry/1/2/$secrets[1]"}');
	SELECT datamill.notify_on('flaky', e, 'slack') FROM unnest('{failure,recovered}'::text[]) e});
run('flaky');
is(settled('slack'), 'failure|sent|1|2', 'Slack');
my @tries = requests("/retry/1/2/$secrets[1]");
cmp_ok($tries[1]{at} - $tries[0]{at}, '>=', 2, 'Retry-After is obeyed');
my $blocks = JSON::PP::decode_json($tries[1]{body});
is_deeply([ $blocks->{text}, $blocks->{blocks}[0]{text}{text} ], [ '[postgres] flaky failed: division by zero', ":red_circle: *flaky failed*\n```division by zero```" ], '... and what it gets');
run('flaky') for 1 .. 3;
like(outbox('slack'), qr/^failure\|sent\|1\|2 failure\|pending\|1\|0 failure\|pending\|1\|0 failure\|pending\|1\|0$/, 'repeats wait');
sql('UPDATE switch SET works = true');
run('flaky');
is(settled('slack'), 'failure|sent|1|2 failure|sent|3|1 recovered|sent|1|1', '... until something else is to be told');
sql(qq{SELECT datamill.create_notifier('gone', 'slack', secret => '{"url": "http://127.0.0.1:$http/echo/404/$secrets[1]"}');
	SELECT datamill.create_notifier('slow', 'webhook', '{"url": "http://127.0.0.1:$http/slow", "timeout": "300ms", "backoff": "1h"}');
	SELECT datamill.create_notifier('nowhere', 'webhook', '{"url": "http://127.0.0.1:1/", "backoff": "1h"}');
	SELECT datamill.create_notifier('metadata', 'webhook', '{"url": "http://169.254.169.254/"}');
	SELECT datamill.test_notifier(n) FROM unnest('{slow,gone,nowhere,metadata}'::text[]) n});
like(settled('gone'), qr/^test\|failed\|1\|1\|HTTP status 404: \*+ \{/, 'refused for good, without the token in the error');
is(settled('metadata'), 'test|failed|1|1|address 169.254.169.254 may not be reached', 'no metadata service');
becomes("SELECT state || attempts FROM datamill.notifications WHERE notifier = 'slow'", 'pending1', 'a silent one is given up');
like(outbox('slow') . outbox('nowhere'), qr/it took too long.*Failed to connect/, '... both say why');

sql(qq{SELECT datamill.create_notifier('long', 'webhook', '{"url": "http://127.0.0.1:$http/long"}'); SELECT datamill.test_notifier('long')});
is(settled('long'), 'test|sent|1|1', 'a yes of many words');

# PagerDuty: an incident of the job opens and closes.
sql(qq{SELECT datamill.create_notifier('pager', 'pagerduty', '{"url": "http://127.0.0.1:$http/pager", "severity": "critical"}', '{"routing_key": "$secrets[2]"}');
	SELECT datamill.notify_on('flaky', e, 'pager') FROM unnest('{failure,recovered}'::text[]) e; UPDATE switch SET works = false});
run('flaky');
sql('UPDATE switch SET works = true');
run('flaky');
settled('pager');
is(join(' ', map { my $b = JSON::PP::decode_json($_->{body}); join '|', @$b{qw(event_action dedup_key routing_key)}, $b->{payload} ? @{ $b->{payload} }{qw(severity source component class summary)} : () } requests('/pager')),
	"trigger|postgres/flaky|$secrets[2]|critical|postgres|flaky|failure|[postgres] flaky failed: division by zero resolve|postgres/flaky|$secrets[2]", 'PagerDuty');

# NOTIFY, and what is too long for it.
sql(q{SELECT datamill.create_notifier('channel', 'notify', '{"channel": "news"}'); SELECT datamill.notify_on('*', 'big', 'channel')});
my $heard = sql(q{LISTEN news; SELECT datamill.emit('big', jsonb_build_object('n', 1)); SELECT datamill.emit('big', jsonb_build_object('x', repeat('x', 9000)));
	DO $$BEGIN FOR i IN 1 .. 300 LOOP EXIT WHEN (SELECT count(*) FROM datamill.notifications WHERE notifier = 'channel' AND state = 'sent') = 2; PERFORM pg_sleep(0.05); END LOOP; END$$; SELECT 1});
like($heard, qr/Asynchronous notification "news" with payload "\{.*"event": "big".*"payload": \{"n": 1\}\}" .*Asynchronous notification "news" with payload "\{.*"event": "big".*"truncated": true\}"/s, 'a session that listens');

my $log_size = -s $node->logfile;
sql(q{SELECT datamill.notify_on('*', 'many', 'channel'); SELECT datamill.emit('many', jsonb_build_object('n', n)) FROM generate_series(1, 300) n});
settled('channel');
is(sql("SELECT count(*) FROM datamill.notifications WHERE event = 'many' AND state = 'sent'"), '300', 'many at once');
cmp_ok(scalar(() = slurp_file($node->logfile, $log_size) =~ /starting background worker process "datamill notifier/g), '<=', 3, '... are sent by one process, or nearly so');

# Those that a job finds.
mkdir "$dir/buckets";
mkdir "$dir/buckets/lake";
sql(qq{CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$dir/buckets'); SELECT datamill.create_job('found', 'SELECT 1', 'every 1 s', watch => 's3://lake/*.csv');
	SELECT datamill.notify_on('found', 'new_objects', 'hook')});
append_to_file("$dir/buckets/lake/a.csv", "n\n1\n");
becomes("SELECT state FROM datamill.notifications WHERE event = 'new_objects' AND notifier = 'hook'", 'sent', 'new objects that a job finds');
like((requests('/hook'))[-1]{body}, qr{"title": "1 new object for found".*"objects": \[\{.*"uri": "s3://lake/a\.csv"}, '... are told');

# Databases of other encodings.
for my $encoding (qw(LATIN1 SQL_ASCII))
{
	sql("CREATE DATABASE enc_$encoding TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	my $n = () = glob("$dir/mail.*");
	$node->safe_psql(lc("enc_$encoding"), qq{SET client_encoding = $encoding; CREATE EXTENSION datamill; SELECT datamill.create_notifier('mail', 'smtp', '{"url": "smtp://127.0.0.1:$smtp_plain", "tls": "none", "from": "a\@example.com", "to": "b\@example.com"}');
		SELECT datamill.notify_on('*', 'said', 'mail', '{"subject": "<{{payload.a}}>", "text": "{{payload.a}}", "html": "{{payload.a}}"}'); SELECT datamill.emit('said', jsonb_build_object('a', 'caf' || E'\\351'))});
	ok($node->poll_query_until(lc("enc_$encoding"), 'SELECT max(state) FROM datamill.notifications', 'sent'), "a database of $encoding");
	is(mail_of($n + 1)->{subject}, $encoding eq 'LATIN1' ? "<caf\x{e9}>" : '<caf?>', '... sends what can be sent');
}

# Others.
sql(qq{SELECT datamill.create_job('anns', 'SELECT 1/0', owner => 'ann'); GRANT EXECUTE ON FUNCTION datamill.create_notifier TO ann});
as_ann(qq{SELECT datamill.create_notifier('hook', 'webhook', '{"url": "http://127.0.0.1:$http/ann"}'); SELECT datamill.notify_on('*', 'failure', 'hook')});
my $before = scalar requests('/hook');
run('anns');
becomes("SELECT count(*) FROM datamill.notifications WHERE owner = 'ann'::regrole AND state = 'sent'", '1', 'the notifier of its owner tells of a job');
is(scalar requests('/hook'), $before, '... that of another role does not');
run('odd');
settled('hook');
is(scalar requests('/ann'), 1, '... nor the other way round');
is(sql("SET ROLE bob; SELECT (SELECT count(*) FROM datamill.notifiers), (SELECT count(*) FROM datamill.notifications)"), '0|0', 'a third sees nothing');
sql("ALTER SYSTEM SET datamill.allowed_hosts = '*.example.com'");
$node->reload;
run('anns');
becomes("SELECT string_agg(state || coalesce(last_error, ''), ' ' ORDER BY notification_id) FROM datamill.notifications WHERE owner = 'ann'::regrole", 'sent failedaddress 127.0.0.1 may not be reached', 'datamill.allowed_hosts holds for ann');
run('odd');
like(settled('hook'), qr/failure\|sent\|1\|1$/, '... and not for a superuser');

# Who drops or changes a notifier, and does not end the transaction, keeps nobody waiting.
my $idle = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', "BEGIN; SELECT datamill.drop_notifier('slack'), datamill.alter_notifier('long', '{}'); SELECT pg_sleep(20)" ], '<', \'', '>', '/dev/null', '2>&1');
becomes("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)%' AND wait_event = 'PgSleep'", '1', 'an open transaction');
my $began = Time::HiRes::time();
sql('UPDATE switch SET works = false');
run('flaky');
like(settled('pager'), qr/failure\|sent\|1\|1$/, 'others get their news');
cmp_ok(Time::HiRes::time() - $began, '<', 5, '... at once');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
IPC::Run::finish($idle);

# What fails here for a passing reason is tried again, too.
$idle = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', "BEGIN; LOCK TABLE datamill.notifier_secret_catalog; SELECT pg_sleep(40)" ], '<', \'', '>', '/dev/null', '2>&1');
becomes("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(40)%' AND wait_event = 'PgSleep'", '1', 'a lock');
sql("SELECT datamill.test_notifier('channel')");
becomes("SELECT state FROM datamill.notifications WHERE notifier = 'channel' AND event = 'test'", 'sending', '... that a notification needs');
my $other = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', "BEGIN; LOCK TABLE datamill.pool_catalog; SELECT pg_sleep(41)" ], '<', \'', '>', '/dev/null', '2>&1');
becomes("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(41)%' AND wait_event = 'PgSleep'", '1', 'and one that the scheduler needs');
$log_size = -s $node->logfile;
sql("SELECT datamill.run('fine')");
becomes("SELECT state || ': ' || last_error FROM datamill.notifications WHERE notifier = 'channel' AND event = 'test'", 'pending: canceling statement due to lock timeout', '... is not waited for');
for (1 .. 100) { last if slurp_file($node->logfile, $log_size) =~ /ERROR:  canceling statement due to lock timeout/; select undef, undef, undef, 0.1; }
like(slurp_file($node->logfile, $log_size), qr/ERROR:  canceling statement due to lock timeout/, '... nor by the scheduler');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
IPC::Run::finish($_) for $idle, $other;
sql("SELECT datamill.alter_notifier('channel')");
like(settled('channel'), qr/test\|sent\|1\|2$/, '... and goes out when it is gone');

# The process that sends is there only while there is something to send, and may be killed.
becomes("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill notifier'", '0', 'no process without work');
sql(q{SELECT datamill.alter_notifier('slow', '{"timeout": "20s"}')});
becomes("SELECT state FROM datamill.notifications WHERE notifier = 'slow'", 'sending', 'one waits for a silent server');
run('odd');
like(settled('hook'), qr/failure\|sent\|1\|1$/, '... while others get theirs');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'datamill notifier'");
becomes("SELECT state || ': ' || last_error FROM datamill.notifications WHERE notifier = 'slow' AND attempts = 2", 'pending: the process that sent it ended', '... and is ended at once');
sql(q{SELECT datamill.alter_notifier('slow', '{}')});
becomes("SELECT state FROM datamill.notifications WHERE notifier = 'slow'", 'sending', 'once more');

# A copy sends nothing, and what was under way is given up there. CREATE DATABASE ends the process.
my ($code, $out, $err) = $node->psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
is("$code$err", '0', 'a copy is made while something is being sent');
ok($node->poll_query_until('copy', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'datamill scheduler' AND datname = 'copy'", '1'), 'it has a scheduler');
$before = scalar requests('/hook');
is($node->safe_psql('copy', "SELECT datamill.emit('arrived'); SELECT count(*) FROM datamill.notifiers WHERE accepted; SELECT bool_and(has_secret) FROM datamill.notifiers WHERE name IN ('hook', 'mail') AND owner <> 'ann'::regrole") =~ s/^\d+\n//r, "0\nt", 'its notifiers are not accepted');
select undef, undef, undef, 1;
is(scalar requests('/hook'), $before, '... and send nothing');
$node->safe_psql('copy', 'SELECT datamill.accept_jobs()');
is($node->safe_psql('copy', "SELECT state || ': ' || last_error FROM datamill.notifications WHERE notifier = 'slow'"), 'failed: this database was restored or copied before it was sent', '... until they are');
$node->safe_psql('copy', "SELECT datamill.emit('arrived')");
ok($node->poll_query_until('copy', "SELECT max(state) FROM datamill.notifications WHERE event = 'arrived' AND notifier = 'hook' AND notification_id = (SELECT max(notification_id) FROM datamill.notifications)", 'sent'), '... then they do');
$node->safe_psql('copy', "SELECT datamill.test_notifier('slow')");
ok($node->poll_query_until('copy', "SELECT state FROM datamill.notifications WHERE notifier = 'slow' AND event = 'test' ORDER BY notification_id DESC LIMIT 1", 'sending'), 'while it waits for a silent server');
$began = Time::HiRes::time();
($code, $out, $err) = $node->psql('postgres', 'DROP DATABASE copy');
is("$code$err", '0', '... the database can be dropped');
cmp_ok(Time::HiRes::time() - $began, '<', 5, '... without waiting for it');

# A crash of the server in the middle of sending: it is sent once more.
sql("SELECT datamill.drop_notifier('slow')");
sql(qq{SELECT datamill.create_notifier('slow', 'webhook', '{"url": "http://127.0.0.1:$http/slow/crash"}'); SELECT datamill.test_notifier('slow')});
becomes("SELECT state FROM datamill.notifications WHERE notifier = 'slow'", 'sending', 'one more waits');
my $checkpointer = checkpointer_of($node);
kill 'KILL', sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'datamill notifier' AND datname = 'postgres'");
wait_for_restart($node, $checkpointer, 1);
becomes("SELECT state || ': ' || last_error FROM datamill.notifications WHERE notifier = 'slow'", 'pending: the process that sent it ended', 'after a crash it is known that it was not said to be sent');
sql(qq{SELECT datamill.alter_notifier('slow', '{"url": "http://127.0.0.1:$http/hook"}')});
is(settled('slow'), 'test|sent|1|2', '... and it is sent');

# A dump has the notifiers, and none of their secrets.
my $dump = "$dir/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'a dump');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], '... is restored');
is($node->safe_psql('restored', "SELECT string_agg(concat_ws('|', name, kind, has_secret, accepted), ' ') FROM datamill.notifiers WHERE name = 'pager'; SELECT count(*) FROM datamill.notifications; SELECT count(*) > 5 FROM datamill.subscriptions"), "pager|pagerduty|f|f\n0\nt", '... without secrets and the outbox');
$node->safe_psql('restored', "SELECT datamill.accept_jobs(); SELECT datamill.test_notifier('pager')");
ok($node->poll_query_until('restored', "SELECT state || ': ' || last_error FROM datamill.notifications", 'failed: its secret is not here: dumps carry none'), '... which is said');

# Nowhere is a secret.
my $everywhere = slurp_file($dump) . slurp_file($node->logfile) . sql('SELECT * FROM datamill.notifiers') . sql('SELECT * FROM datamill.notifications') . sql('SELECT * FROM datamill.events') . sql('SELECT * FROM datamill.receipts');
like($everywhere, qr/could not send notification/, 'the log tells of what was given up');
is(scalar(grep { index($everywhere, $_) >= 0 } @secrets), 0, 'no secret in dump, log and views');
unlike(slurp_file($node->logfile), qr/PANIC|signal 11|TRAP/, 'no other crash');

# Keeps HTML for people to look at, if they want to.
sub copy_html { my ($html, $name) = @_; return unless $ENV{DM_TMP}; open my $file, '>:utf8', "$ENV{DM_TMP}/$name.html" or return; print $file $html; close $file; return; }

END
{
	if ($$ == $owner && $servers)
	{
		my $status = $?;
		kill 'KILL', $servers;
		waitpid $servers, 0;
		$? = $status;
	}
}
done_testing();
