"""notify_server.py: what notifications are sent to: a mail server (aiosmtpd) and an HTTP server that keep what they get.

  notify_server.py PORTS FOLDER CERT   writes "HTTP SMTP SMTPS SMTP_WITHOUT_TLS" (ports) to PORTS and serves until it is killed

SMTP wants STARTTLS and AUTH (mailer, correct horse). Each mail is a file FOLDER/mail.N, each HTTP request a line of JSON in FOLDER/http.log.
HTTP answers by the path: /status/N answers N; /retry/N/S answers 429 with Retry-After S for the first N requests, and 200 then; /slow
answers nothing; /long answers 200 kB; /echo/N answers N with the path and the body; all else 200. Recipients "refused@..." are refused (550), "later@..." for now (451).
"""
import asyncio
import http.server
import json
import os
import ssl
import sys
import threading
import time

from aiosmtpd.smtp import SMTP, AuthResult

PORTS, FOLDER, CERT = sys.argv[1:]
LOCK = threading.Lock()
SEEN = {}
LATER = {}


class Keeper:
    """Keeps mails as they come over the wire, envelope first."""

    def __init__(self):
        self.number = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later@"):
            LATER[address] = LATER.get(address, 0) + 1
            if LATER[address] <= 2:
                return "451 4.7.1 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with LOCK:
            self.number += 1
            name = os.path.join(FOLDER, f"mail.{self.number}")
        head = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": server.transport.get_extra_info("cipher") is not None,
                "user": session.auth_data and session.auth_data.login.decode()}
        with open(name + ".new", "wb") as file:
            file.write(json.dumps(head).encode() + b"\n" + envelope.original_content)
        os.rename(name + ".new", name)
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    good = getattr(data, "login", b"") == b"mailer" and getattr(data, "password", b"") == b"correct horse"
    return AuthResult(success=good, handled=True, auth_data=data) if good else AuthResult(success=False, handled=False)


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        steps = self.path.strip("/").split("/")
        with LOCK:
            SEEN[self.path] = SEEN.get(self.path, 0) + 1
            with open(os.path.join(FOLDER, "http.log"), "a", encoding="utf-8") as log:
                log.write(json.dumps({"path": self.path, "at": time.time(), "headers": {k.lower(): v for k, v in self.headers.items()},
                                      "body": body}) + "\n")
        if steps[0] == "slow":
            time.sleep(60)
        status, after, answer = 200, None, "ok"
        if steps[0] == "status":
            status, answer = int(steps[1]), "no_service"
        elif steps[0] == "retry" and SEEN[self.path] <= int(steps[1]):
            status, after = 429, steps[2]
        elif steps[0] == "long":
            answer = "ok" * 100000
        elif steps[0] == "echo":
            status, answer = int(steps[1]), f"{self.path} {body}"
        self.send_response(status)
        if after:
            self.send_header("Retry-After", after)
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *args):
        pass


TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS.load_cert_chain(CERT)
KEEPER = Keeper()


async def listen(tls=None, **options):
    """Listens on a free port, which it returns; with tls from the first byte on if that is given."""
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(KEEPER, hostname="mail.test", **options), "127.0.0.1", 0, ssl=tls)
    return server, server.sockets[0].getsockname()[1]


async def main():
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    mail = [await listen(tls_context=TLS, require_starttls=True, authenticator=authenticate, auth_required=True), await listen(TLS), await listen()]
    with open(PORTS + ".new", "w", encoding="ascii") as file:
        file.write(" ".join(str(port) for port in [web.server_address[1]] + [port for _, port in mail]))
    os.rename(PORTS + ".new", PORTS)
    await asyncio.Event().wait()


asyncio.run(main())
