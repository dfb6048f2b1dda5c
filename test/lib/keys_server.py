#!/usr/bin/env python3
"""What hands out keys on a cloud's machines, and a store that takes only those (standard library only).

    keys_server.py FILE         serve on a free port of 127.0.0.1; FILE gets the port number

    /latest/...     the EC2 instance metadata service, version 2 only; role "machine"
    /ecs            a container's service; wants Authorization: containertoken
    POST /          a token service: AssumeRole (signed, see below; the roles' external ids are in EXTERNAL_IDS), AssumeRoleWithWebIdentity
    /plain/...      the fault server's buckets, for requests that are signed with keys which were handed out, or STATICKEY / staticsecret,
                    OTHERKEY / othersecret

Signatures are checked with code of its own. Keys are ASIA<n> / issuedsecret<n> / issuedtoken<n>, each with who they are for.

    POST /set       changes settings, name=value as in a form:
        life            seconds that new keys last (3600)
        claim           seconds that new keys are said to last; default life
        revoke_after    keys are forgotten after so many requests of the store; 0 never
        refuse          code with which the store refuses keys that are not known (any more): ExpiredToken
        forget          a static key that is not known any more
        pause           seconds before an object's bytes; keys_pause before keys
        broken          what the keys' services do: stall, 500, 403, html, nokeys, past (keys come expired), echo (errors quote what was sent)
    GET /log        a line a request: what, for whom
"""
import datetime
import hashlib
import hmac
import http.server
import os
import re
import sys
import threading
import time
import urllib.parse

import fault_server

SESSION = "imdssession"
EXTERNAL_IDS = {"arn:aws:iam::1:role/guarded": "sesame"}
settings = {"life": "3600", "claim": "", "revoke_after": "0", "refuse": "ExpiredToken", "pause": "0", "keys_pause": "0", "broken": "", "forget": ""}
issued = {name + "KEY": {"secret": name.lower() + "secret", "token": None, "who": name.lower(), "until": float("inf"), "uses": None} for name in ("STATIC", "OTHER")}
log = []
lock = threading.Lock()


def issue(who):
    """New keys for someone."""
    with lock:
        n = len(issued)
        now = time.time()
        life = float(settings["life"])
        keys = {"id": f"ASIA{n:016d}", "secret": f"issuedsecret{n}", "token": f"issuedtoken{n}", "who": who, "until": now + life, "uses": 0}
        issued[keys["id"]] = keys
        claim = -60.0 if settings["broken"] == "past" else float(settings["claim"] or life)
        keys["expiration"] = datetime.datetime.fromtimestamp(now + claim, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return keys


def hmac_of(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Handler(fault_server.Handler):
    def note(self, what, who="-"):
        with lock:
            log.append(f"{what} {who}")

    def signer(self, digest, service):
        """The keys that the request is rightly signed with, or the code of what is wrong with it."""
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/([\w-]+)/(\w+)/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})",
                             self.headers.get("Authorization", ""))
        if not match:
            return "AccessDenied"
        name, day, region, named_service, names, signature = match.groups()
        keys = issued.get(name)
        if not keys or keys["until"] < time.time() or name == settings["forget"]:
            return settings["refuse"]
        if keys["token"] != self.headers.get("x-amz-security-token") or (keys["token"] and "x-amz-security-token" not in names.split(";")):
            return "InvalidToken"
        path, _, query = self.path.partition("?")
        canonical = [self.command, path, query] + [f"{n}:{self.headers[n]}" for n in names.split(";")]
        canonical += ["", names, digest]
        scope = f"{day}/{region}/{service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", self.headers["x-amz-date"], scope, hashlib.sha256("\n".join(canonical).encode()).hexdigest()])
        key = ("AWS4" + keys["secret"]).encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac_of(key, part)
        right = hmac.compare_digest(hmac_of(key, text).hex(), signature) and named_service == service and "host" in names.split(";")
        return keys if right else "SignatureDoesNotMatch"

    def is_broken(self):
        """Does what setting broken says. True if that was an answer."""
        broken = settings["broken"]
        time.sleep(float(settings["keys_pause"]))
        if broken == "stall":
            time.sleep(60)
        elif broken in ("500", "403"):
            self.answer(int(broken), b"no")
        elif broken == "html":
            self.answer(200, b"<html>")
        elif broken == "nokeys":
            self.answer(200, b"{}")
        else:
            return False
        return True

    def answer_keys(self, who):
        keys = issue(who)
        self.note("keys", who)
        text = '{"Code":"Success","AccessKeyId":"%(id)s","SecretAccessKey":"%(secret)s","Token":"%(token)s","Expiration":"%(expiration)s"}' % keys
        self.answer(200, text.encode())

    def do_GET(self):
        if self.path == "/log":
            with lock:
                text = "".join(line + "\n" for line in log)
            self.answer(200, text.encode())
        elif self.path.startswith("/latest/"):
            self.imds()
        elif self.path == "/ecs":
            if self.headers.get("Authorization") != "containertoken":
                self.answer(401, b"who are you")
            elif not self.is_broken():
                self.answer_keys("container")
        else:
            self.store(super().do_GET)

    def imds(self):
        if self.headers.get("X-aws-ec2-metadata-token") != SESSION:
            self.note("imds-refused")
            self.answer(401)
        elif self.path == "/latest/meta-data/iam/security-credentials/":
            if settings["broken"] == "norole":
                self.answer(404)
            elif not self.is_broken():
                self.answer(200, b"machine\n")
        elif self.path == "/latest/meta-data/iam/security-credentials/machine":
            self.answer_keys("machine")
        else:
            self.answer(404)

    def do_PUT(self):
        if self.path == "/latest/api/token" and 1 <= int(self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "0")) <= 21600:
            self.note("session")
            self.answer(200, SESSION.encode())
        else:
            self.store(self.do_any)

    def do_HEAD(self):
        self.store(super().do_HEAD)

    def do_POST(self):
        if self.path not in ("/", "/set"):
            self.store(self.do_any)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        if self.path == "/set":
            with lock:
                settings.update(form)
            self.answer(200)
        elif not self.is_broken():
            self.sts(body, form)

    def sts(self, body, form):
        role, session = form.get("RoleArn", ""), form.get("RoleSessionName", "")
        if form.get("Version") != "2011-06-15" or self.headers.get("Content-Type") != "application/x-www-form-urlencoded" or not session:
            return self.sts_error(400, "ValidationError", body)
        if form.get("Action") == "AssumeRoleWithWebIdentity":
            if not form.get("WebIdentityToken", "").startswith("webtoken"):
                return self.sts_error(400, "InvalidIdentityToken", body)
            base = form["WebIdentityToken"]
        else:
            keys = self.signer(hashlib.sha256(body).hexdigest(), "sts")
            if isinstance(keys, str):
                return self.sts_error(403, keys, body)
            base = keys["who"]
            if EXTERNAL_IDS.get(role) != form.get("ExternalId") or "refused" in role:
                return self.sts_error(403, "AccessDenied", body)
        who = f"{role.rsplit('/')[-1]}:{session}:{form.get('DurationSeconds', '-')}<{base}"
        keys = issue(who)
        self.note("keys", who)
        action = form["Action"]
        text = f"<{action}Response xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><{action}Result><Credentials><AccessKeyId>{keys['id']}</AccessKeyId>" \
            f"<SecretAccessKey>{keys['secret']}</SecretAccessKey><SessionToken>{keys['token']}</SessionToken><Expiration>{keys['expiration']}</Expiration>" \
            f"</Credentials></{action}Result></{action}Response>"
        return self.answer(200, text.encode(), Content_Type="text/xml")

    def sts_error(self, status, code, body):
        self.note("keys-refused", code)
        self.answer(status, f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{self.quote(body)}</Message></Error></ErrorResponse>".encode())

    def quote(self, body):
        """What an error says: with broken = echo all that it was sent."""
        if settings["broken"] != "echo":
            return "told to"
        sent = urllib.parse.unquote(body.decode()) + str(self.headers.get("Authorization")) + str(self.headers.get("x-amz-security-token"))
        return re.sub(r"[^ -~]|[&<>]", " ", sent)

    def store(self, serve):
        """Serves a request of the store if its keys are good. What is written is compared with the digest by the fault server."""
        keys = self.signer(self.headers.get("x-amz-content-sha256", ""), "s3")
        if isinstance(keys, str):
            self.note("refused", keys)
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status = 403 if keys in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch") else 400
            if self.command == "HEAD":
                self.send_response(status)
                return self.end_headers()
            return self.answer(status, f"<Error><Code>{keys}</Code><Message>{self.quote(b'')}</Message></Error>".encode())
        self.note("store", keys["who"])
        with lock:
            revoke_after = int(settings["revoke_after"])
            if keys["uses"] is not None:
                keys["uses"] += 1
                if revoke_after and keys["uses"] >= revoke_after:
                    keys["until"] = 0
        if "Range" in self.headers:
            time.sleep(float(settings["pause"]))
        return serve()


class Server(fault_server.Server):
    pass


def main():
    server = Server(("127.0.0.1", 0), Handler)
    with open(sys.argv[1] + ".new", "w") as port_file:
        port_file.write(str(server.server_address[1]))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
