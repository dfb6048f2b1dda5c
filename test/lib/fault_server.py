#!/usr/bin/env python3
"""A small S3-like server that does what a real one will not do on demand (standard library only).

    fault_server.py FILE        serve on a free port of 127.0.0.1; FILE gets the port number

Every bucket holds small.csv (10 rows) and big.csv (200,000 rows), "id,v" with v = 7 * id, from id 1; what is PUT is kept.
Signatures are not checked. The bucket's name is the fault ("first" means per method, path and range):

    plain           none
    drop            the first two requests are closed without an answer
    reset           the first answer of an object ends half-way with a connection reset
    cut             the same with an orderly close
    storm           the first three requests get 503 SlowDown
    down            all requests get 503 SlowDown
    error           all requests get 500
    throttle        the first request gets 429 with Retry-After: 0.3; "throttle-date" with a date two seconds ahead
    throttle-long   all get 429 with Retry-After: 3600
    stall           objects: half of the body, then nothing; stall-list: listings: nothing at all
    slow            objects: a byte every 20 ms
    short           objects: half of the bytes, with headers that say so
    long            objects: ten bytes more than asked for
    norange         objects: Range is ignored
    other           objects: another ETag, If-Match is ignored
    400.SomeCode    all requests get that status and code
    redirect        301 with the region of the bucket
    badxml          listings are cut off; doctype: with a document type; html: of another kind; loop: the same page again and again
    huge            listings never end

GET /log gives a line a request: seconds since the start, method, path and query, range.
"""
import email.utils
import hashlib
import http.server
import os
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse

STALL_S = 60
BEGIN = time.monotonic()


def rows(count):
    return ("id,v\n" + "".join(f"{i},{7 * i}\n" for i in range(1, count + 1))).encode()


STANDARD = {"small.csv": rows(10), "big.csv": rows(200000)}
put_objects = {}
seen = {}
log = []
lock = threading.Lock()


def objects_of(bucket):
    with lock:
        return dict(STANDARD, **{k: v for (b, k), v in put_objects.items() if b == bucket})


def etag_of(data):
    return '"' + hashlib.md5(data).hexdigest() + '"'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, code, **headers):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>told to</Message><RequestId>r1</RequestId></Error>"
        self.answer(status, body.encode(), **headers)

    def hang_up(self, reset):
        """Ends the connection, with a reset or in order."""
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def times_seen(self):
        """How often this method, path and range came before."""
        key = (self.command, self.path, self.headers.get("Range", "").split("-")[-1])
        with lock:
            seen[key] = seen.get(key, 0) + 1
            log.append(f"{time.monotonic() - BEGIN:.3f} {self.command} {self.path} {self.headers.get('Range', '-')}")
            return seen[key] - 1

    def fault_of_all(self, fault, before):
        """Faults of every kind of request. True if one was done."""
        if fault == "drop" and before < 2:
            self.close_connection = True
        elif fault == "down" or (fault == "storm" and before < 3):
            self.error(503, "SlowDown")
        elif fault == "error":
            self.error(500, "InternalError")
        elif fault == "throttle" and before < 1:
            self.error(429, "TooManyRequests", Retry_After="0.3")
        elif fault == "throttle-date" and before < 1:
            self.error(429, "TooManyRequests", Retry_After=email.utils.formatdate(time.time() + 2, usegmt=True))
        elif fault == "throttle-long":
            self.error(429, "TooManyRequests", Retry_After="3600")
        elif re.fullmatch(r"\d{3}\.\w+", fault):
            self.error(int(fault[:3]), fault[4:])
        elif fault == "redirect":
            self.error(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1")
        else:
            return False
        return True

    def do_GET(self):
        if self.path == "/log":
            with lock:
                text = "\n".join(log) + "\n"
            return self.answer(200, text.encode())
        before = self.times_seen()
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path[1:]).partition("/")
        if self.fault_of_all(bucket, before):
            return None
        if not key:
            return self.list(bucket, urllib.parse.parse_qs(url.query))
        data = objects_of(bucket).get(key)
        if data is None:
            return self.error(404, "NoSuchKey")
        if self.headers.get("If-Match", etag_of(data)) != etag_of(data) and bucket != "other":
            return self.error(412, "PreconditionFailed")
        return self.send_object(bucket, data, before)

    def list(self, bucket, query):
        prefix = query.get("prefix", [""])[0]
        if bucket == "stall-list":
            time.sleep(STALL_S)
        if bucket == "html":
            return self.answer(200, b"<html><body>Welcome</body></html>")
        if bucket == "huge":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            while True:
                self.wfile.write(b"<a></a>" * 10000)
        body = '<?xml version="1.0"?>'
        if bucket == "doctype":
            body += '<!DOCTYPE a [<!ENTITY b "small.csv">]>'
        body += f"<ListBucketResult><Name>{bucket}</Name><EncodingType>url</EncodingType>"
        body += "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>" if bucket == "loop" \
            else "<IsTruncated>false</IsTruncated>"
        for key, data in sorted(objects_of(bucket).items()):
            if key.startswith(prefix):
                body += f"<Contents><Key>{urllib.parse.quote(key)}</Key><LastModified>2024-02-29T01:02:03.000Z</LastModified>"
                body += f"<ETag>{etag_of(data).replace(chr(34), '&quot;')}</ETag><Size>{len(data)}</Size></Contents>"
        if bucket != "badxml":
            body += "</ListBucketResult>"
        return self.answer(200, body.encode(), Content_Type="application/xml")

    def send_object(self, bucket, data, before):
        first, last, status = 0, len(data) - 1, 200
        if "Range" in self.headers and bucket != "norange":
            a, b = self.headers["Range"].removeprefix("bytes=").split("-")
            first, last, status = int(a), min(int(b), last), 206
        total = len(data)
        if bucket == "long":
            last, data = last + 10, data + b"0123456789"
        elif bucket == "short":
            last = first + (last - first) // 2
        body = data[first:last + 1]
        self.send_response(status)
        self.send_header("ETag", '"0"' if bucket == "other" else etag_of(data[:total]))
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        self.end_headers()
        if bucket in ("reset", "cut") and before < 1:
            self.wfile.write(body[:len(body) // 2])
            self.hang_up(bucket == "reset")
        elif bucket == "stall":
            self.wfile.write(body[:len(body) // 2])
            self.wfile.flush()
            time.sleep(STALL_S)
            self.close_connection = True
        elif bucket == "slow":
            for i in range(len(body)):
                self.wfile.write(body[i:i + 1])
                self.wfile.flush()
                time.sleep(0.02)
        else:
            self.wfile.write(body)

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        before = self.times_seen()
        bucket, _, key = urllib.parse.unquote(self.path[1:]).partition("/")
        if self.fault_of_all(bucket, before):
            return
        if hashlib.sha256(body).hexdigest() != self.headers.get("x-amz-content-sha256"):
            self.error(400, "XAmzContentSHA256Mismatch")
            return
        with lock:
            put_objects[bucket, key] = body
        self.answer(200, ETag=etag_of(body))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


def main():
    server = Server(("127.0.0.1", 0), Handler)
    with open(sys.argv[1] + ".new", "w") as port_file:
        port_file.write(str(server.server_address[1]))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
