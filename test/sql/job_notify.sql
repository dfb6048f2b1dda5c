-- Notifiers: what can be stored, by whom, what is refused, and what comes into the outbox. datamill.scheduler is off here: nothing is sent.
\set VERBOSITY default
SET timezone = 'UTC';
CREATE ROLE notify_ann LOGIN;
CREATE ROLE notify_bob LOGIN;
CREATE ROLE notify_group;
GRANT notify_group TO notify_ann;
GRANT USAGE ON SCHEMA datamill TO notify_ann, notify_bob;

-- only those who were granted it make the server connect somewhere
SET ROLE notify_ann;
SELECT datamill.create_notifier('chat', 'slack', secret => '{"url": "https://hooks.example.com/services/T0/B0/s3cr3t"}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION datamill.create_notifier, datamill.alter_notifier TO notify_ann, notify_bob;
SET ROLE notify_ann;
SELECT datamill.create_notifier('chat', 'slack', secret => '{"url": "https://hooks.example.com/services/T0/B0/s3cr3t"}');
SELECT datamill.create_notifier('mail', 'smtp', '{"url": "smtp://mail.example.com:587", "from": "Data Mill <mill@example.com>", "to": ["ann@example.com", "Bob <bob@example.com>"],
  "username": "mill", "repeat_after": "10min"}', '{"password": "s3cr3t"}');
SELECT datamill.create_notifier('pager', 'pagerduty', '{"severity": "critical"}', '{"routing_key": "s3cr3t"}');
SELECT datamill.create_notifier('hook', 'webhook', '{"url": "https://example.com/hook"}', '{"key": "s3cr3t"}');
SELECT datamill.create_notifier('channel', 'notify', '{"channel": "news"}');
SELECT name, owner, kind, config, has_secret, accepted FROM datamill.notifiers ORDER BY name;
SELECT datamill.alter_notifier('mail', '{"to": "ann@example.com", "repeat_after": null, "reply_to": "Ann <ann@example.com>"}', '{"password": "other s3cr3t"}');
SELECT config FROM datamill.notifiers WHERE name = 'mail';

-- refused, and no secret is shown
SELECT datamill.create_notifier('chat', 'slack', secret => '{"url": "https://hooks.example.com/s3cr3t"}');
SELECT datamill.create_notifier('', 'notify', '{"channel": "news"}');
SELECT datamill.create_notifier('x', 'pigeon');
SELECT datamill.create_notifier('x', 'slack');
SELECT datamill.create_notifier('x', 'slack', '{"url": "https://hooks.example.com/s3cr3t"}');
SELECT datamill.create_notifier('x', 'slack', secret => '{"url": "ftp://hooks.example.com/s3cr3t"}');
SELECT datamill.create_notifier('x', 'slack', secret => '{"url": "https://me:s3cr3t@hooks.example.com/"}');
SELECT datamill.create_notifier('x', 'slack', secret => '{"url": "https://hooks.example.com/s3cr3t\r\nX: 1"}');
SELECT datamill.create_notifier('x', 'slack', secret => '{"url": ""}');
SELECT datamill.create_notifier('x', 'slack', secret => '["s3cr3t"]');
SELECT datamill.create_notifier('x', 'slack', secret => '{"uri": "s3cr3t"}');
SELECT datamill.create_notifier('x', 'pagerduty');
SELECT datamill.create_notifier('x', 'pagerduty', '{"severity": "awful"}', '{"routing_key": "s3cr3t"}');
SELECT datamill.create_notifier('x', 'webhook');
SELECT datamill.create_notifier('x', 'webhook', '{"url": "http://"}');
SELECT datamill.create_notifier('x', 'webhook', '{"url": "http://a/"}', '{"url": "http://b/"}');
SELECT datamill.create_notifier('x', 'notify');
SELECT datamill.create_notifier('x', 'notify', jsonb_build_object('channel', repeat('x', 64)));
SELECT datamill.create_notifier('x', 'notify', '{"channel": "news", "repeat_after": "soon"}');
SELECT datamill.create_notifier('x', 'notify', '{"channel": "news", "timeout": "2h"}');
SELECT datamill.create_notifier('x', 'smtp', '{"from": "a@example.com", "to": "b@example.com"}');
SELECT datamill.create_notifier('x', 'smtp', '{"url": "smtp://example.com", "to": "b@example.com"}');
SELECT datamill.create_notifier('x', 'smtp', '{"url": "smtp://example.com", "from": "a@example.com"}');
SELECT datamill.create_notifier('x', 'smtp', '{"url": "http://example.com", "from": "a@example.com", "to": "b@example.com"}');
SELECT datamill.create_notifier('x', 'smtp', '{"url": "smtp://example.com", "from": "a@example.com", "to": "b@example.com", "tls": "perhaps"}');
SELECT datamill.create_notifier('x', 'smtp', '{"url": "smtp://example.com", "from": "a@example.com", "to": "b@example.com"}', '{"password": "s3cr3t"}');
SELECT datamill.create_notifier('x', 'smtp', jsonb_build_object('url', 'smtp://example.com', 'from', f, 'to', 'b@example.com'))
FROM (VALUES ('a@example.com
Bcc: c@example.com')) v(f);
SELECT datamill.create_notifier('x', 'smtp', '{"url": "smtp://example.com", "from": "a@example.com", "to": ["b@example.com", "Bob"]}');
SELECT datamill.create_notifier('x', 'smtp', '{"url": "smtp://example.com", "from": "a@example.com", "to": "b@example.com", "reply_to": "a@b@c"}');
SELECT datamill.create_notifier('x', 'webhook', '{"url": "https://example.com/", "ca_file": "/etc/passwd"}');
SELECT datamill.alter_notifier('chat', secret => '{"url": null}');
SELECT datamill.alter_notifier('chat', '[]');
SELECT datamill.alter_notifier('nobody', '{}');
SELECT datamill.drop_notifier('nobody');
SELECT datamill.test_notifier('nobody');
SELECT count(*) FROM datamill.notifiers;

-- nobody reads the tables behind
SELECT * FROM datamill.notifier_secret_catalog;
SELECT * FROM datamill.notifier_catalog;
SELECT * FROM datamill.outbox_catalog;
SELECT * FROM datamill.subscription_catalog;

-- subscriptions
SELECT datamill.create_job('load', 'SELECT 1') > 0;
SELECT datamill.notify_on('load', 'failure', 'mail');
SELECT datamill.notify_on('*', 'failure', 'chat');
SELECT datamill.notify_on(NULL, 'arrived', 'channel');
SELECT datamill.notify_on('load', 'failure', 'mail', '{"subject": "{{job}}: {{ message }}", "html": "<b>{{message}}</b>", "text": "{{payload.file}}"}');
SELECT notifier, job, event, template FROM datamill.subscriptions ORDER BY 1, 2, 3;
SELECT datamill.notify_on('nowhere', 'failure', 'mail');
SELECT datamill.notify_on('load', 'failure', 'nobody');
SELECT datamill.notify_on('load', NULL, 'mail');
SELECT datamill.notify_on('load', '', 'mail');
SELECT datamill.notify_on('load', 'failure', 'mail', '{"subject": "{{colour}}"}');
SELECT datamill.notify_on('load', 'failure', 'mail', '{"text": "{{job"}');
SELECT datamill.notify_on('load', 'failure', 'mail', '{"subject": "a\nBcc: b@example.com"}');
SELECT datamill.notify_on('load', 'failure', 'mail', '{"body": "x"}');
SELECT datamill.notify_on('load', 'failure', 'hook', '{"json": "{\"text\": \"{{message}}\", \"n\": {{count}}"}');
SELECT datamill.notify_off('load', 'success', 'mail'), datamill.notify_off('*', 'failure', 'chat'), datamill.notify_off('*', 'failure', 'chat');

-- others neither see nor use them, and theirs tell nothing of ann's jobs
SET ROLE notify_bob;
SELECT (SELECT count(*) FROM datamill.notifiers), (SELECT count(*) FROM datamill.subscriptions), (SELECT count(*) FROM datamill.notifications);
SELECT datamill.alter_notifier('mail', '{}');
SELECT datamill.drop_notifier('mail');
SELECT datamill.test_notifier('mail');
SELECT datamill.notify_on('*', 'failure', 'mail');
SELECT datamill.create_notifier('own', 'notify', '{"channel": "bob"}');
SELECT datamill.notify_on('load', 'failure', 'own');
SELECT datamill.notify_on('*', 'arrived', 'own');
RESET ROLE;
SELECT datamill.notify_on('load', 'failure', 'own');

-- the outbox is written with the event
SET ROLE notify_ann;
BEGIN;
SELECT datamill.emit('arrived', '{"file": "lost.csv"}') > 0;
ROLLBACK;
SELECT datamill.emit('arrived', '{"file": "a.csv"}') > 0, datamill.emit('elsewhere') > 0, datamill.test_notifier('mail') > 0;
SELECT notifier, job, event, state, count, attempts, next_attempt_at <= now(), last_error FROM datamill.notifications ORDER BY notification_id;
SET ROLE notify_bob;
SELECT count(*) FROM datamill.notifications;
RESET ROLE;

-- what hangs on what
SET ROLE notify_ann;
SELECT datamill.drop_job('load');
SELECT notifier, job, event FROM datamill.subscriptions ORDER BY 1;
SELECT datamill.drop_notifier('mail');
SELECT name FROM datamill.notifiers ORDER BY 1;
RESET ROLE;
SELECT count(*) FROM datamill.notifier_secret_catalog;

-- not where a user's code runs with another's rights
CREATE FUNCTION notify_trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM datamill.drop_notifier('hook'); RETURN 1; END$$;
CREATE TABLE notify_trapped (a int);
INSERT INTO notify_trapped VALUES (1);
CREATE INDEX ON notify_trapped (notify_trap(a));
DROP TABLE notify_trapped;
DROP FUNCTION notify_trap;

SELECT datamill.drop_notifier(name) FROM datamill.notifiers WHERE owner IN ('notify_ann'::regrole, 'notify_bob'::regrole) ORDER BY name;
REVOKE EXECUTE ON FUNCTION datamill.create_notifier, datamill.alter_notifier FROM notify_ann, notify_bob;
REVOKE USAGE ON SCHEMA datamill FROM notify_ann, notify_bob;
DROP ROLE notify_ann;
DROP ROLE notify_bob;
DROP ROLE notify_group;
