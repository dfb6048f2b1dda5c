#!/usr/bin/env python3
"""A small S3-like server that does what a real one will not do on demand (standard library only).

    fault_server.py FILE [PEM]  serve on a free port of 127.0.0.1; FILE gets its number. With PEM (key and certificate)
                                also over TLS, on a second port

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
    payer           all requests that do not say, signed, that the requester pays are denied
    redirect        301 with the region of the bucket
    badxml          listings are cut off; doctype: with a document type; html: of another kind; loop: the same page again and again
    huge            listings never end

A name like "part-reset", or several with a dot between them, is a fault of one operation: list, get, put, head, create, part,
complete, abort. It is met by the first request for a key (or part), and by the second, too, where it says twice:

    reset           the connection is reset before anything is done      lost    is done, then the connection is reset
    cut             is done, half of the answer comes, then the end      length  is done, the answer is longer by its headers than it is
    error           500, twice                                           slow    503 SlowDown, twice
    throttle        429 with Retry-After: 0.3                            stall   nothing for a minute, once a bucket
    tls             is done; bytes that are no TLS                       body    is done not; 200 with an error in the body, twice
    expired         400 ExpiredToken; always                             down    503 SlowDown; always
    hang            nothing for a minute; always                         nolock  If-None-Match is ignored; always
    unknown         501 if there is an If-None-Match; always

GET /log gives a line a request: seconds since the start, method, path and query, range.
"""
import email.utils
import hashlib
import http.server
import os
import re
import socket
import ssl
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
etags = {}  # of objects made of parts
uploads = {}  # open multipart uploads: id to (bucket, key, {part: bytes})
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
    late_fault = None  # what is wrong with the answer to a request that is done

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        late = self.late_fault
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) + (10 if late == "length" else 0)))
        if late in ("lost", "tls"):
            self._headers_buffer = []
        elif late == "cut" and not body:
            self._headers_buffer = [b"".join(self._headers_buffer)[:30]]
            self.flush_headers()
        else:
            self.end_headers()
            self.wfile.write(body[:len(body) // 2] if late == "cut" else body)
        if late == "tls":
            os.write(self.connection.fileno(), b"no TLS at all, but long enough to be a record or two\n")
        if late:
            self.hang_up(late == "lost")

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
        elif fault == "payer":
            if self.headers.get("x-amz-request-payer") == "requester" and "x-amz-request-payer" in self.headers.get("Authorization", ""):
                return False
            self.error(403, "AccessDenied")
        elif fault == "redirect":
            self.error(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1")
        else:
            return False
        return True

    def do_GET(self):
        self.late_fault = None
        if self.path == "/log":
            with lock:
                text = "\n".join(log) + "\n"
            return self.answer(200, text.encode())
        before = self.times_seen()
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path[1:]).partition("/")
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        if self.fault_of_all(bucket, before) or self.fault_of_one(bucket, self.operation(key, query), before):
            return None
        if "uploads" in query:
            return self.list_uploads(bucket)
        if not key:
            return self.list(bucket, query)
        data = objects_of(bucket).get(key)
        if data is None:
            return self.error(404, "NoSuchKey")
        if self.headers.get("If-Match", etag_of(data)) != etag_of(data) and bucket != "other":
            return self.error(412, "PreconditionFailed")
        return self.send_object(bucket, data, before)

    def list_uploads(self, bucket):
        with lock:
            ours = sorted((key, upload) for upload, (b, key, _) in uploads.items() if b == bucket)
        body = "".join(f"<Upload><Key>{key}</Key><UploadId>{upload}</UploadId><Initiated>2024-02-29T01:02:03.000Z</Initiated></Upload>"
                       for key, upload in ours)
        self.answer(200, f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{body}</ListMultipartUploadsResult>".encode())

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
        self.send_header("Content-Length", str(len(body) + (10 if self.late_fault == "length" else 0)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{total}")
        self.end_headers()
        if self.late_fault == "tls":
            os.write(self.connection.fileno(), b"no TLS at all, but long enough to be a record or two\n")
            self.hang_up(False)
        elif self.late_fault or (bucket in ("reset", "cut") and before < 1):
            self.wfile.write(body[:len(body) // 2])
            self.hang_up(bucket == "reset" or self.late_fault == "lost")
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

    def operation(self, key, query):
        """What S3 calls the request, in one word."""
        if self.command in ("GET", "HEAD") and key:
            return self.command.lower()
        if self.command == "GET":
            return "uploads" if "uploads" in query else "list"
        if self.command == "PUT":
            return "part" if "partNumber" in query else "put"
        if self.command == "DELETE":
            return "abort" if "uploadId" in query else "delete"
        return "create" if "uploads" in query else "complete"

    def was_stalled(self, bucket):
        """True from the second call for a bucket on."""
        with lock:
            seen[bucket] = seen.get(bucket, 0) + 1
            return seen[bucket] > 1

    def fault_of_one(self, bucket, operation, before):
        """Faults of one operation. True if one was done instead of it; those after it are noted in late_fault."""
        faults = dict(name.split("-", 1) for name in bucket.split(".") if re.fullmatch(r"[a-z]+-[a-z]+", name))
        fault = faults.get(operation)
        if fault == "expired":
            self.error(400, "ExpiredToken")
        elif fault == "down" or (fault == "slow" and before < (1 if operation == "abort" else 2)):
            self.error(503, "SlowDown")
        elif fault == "unknown" and "If-None-Match" in self.headers:
            self.error(501, "NotImplemented")
        elif fault == "error" and before < 2:
            self.error(500, "InternalError")
        elif fault == "body" and before < 2:
            self.error(200, "InternalError")
        elif fault == "throttle" and before < 1:
            self.error(429, "TooManyRequests", Retry_After="0.3")
        elif fault == "hang" or (fault == "stall" and not self.was_stalled(bucket)):
            time.sleep(STALL_S)
            self.close_connection = True
        elif fault == "reset" and before < 1:
            self.hang_up(True)
        else:
            if fault in ("lost", "cut", "length", "tls") and before < 1:
                self.late_fault = fault
            return False
        return True

    def do_any(self):
        """Everything but reading objects: what is written, and by parts."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        before = self.times_seen()
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path[1:]).partition("/")
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        operation = self.operation(key, query)
        self.late_fault = None
        if self.fault_of_all(bucket, before) or self.fault_of_one(bucket, operation, before):
            return
        if operation not in ("head", "abort", "delete") and hashlib.sha256(body).hexdigest() != self.headers.get("x-amz-content-sha256"):
            self.error(400, "XAmzContentSHA256Mismatch")
            return
        with lock:
            answer = getattr(self, "do_" + operation)(bucket, key, query, body)
        if isinstance(answer, str):
            self.error({"NoSuchKey": 404, "NoSuchUpload": 404, "PreconditionFailed": 412}.get(answer, 400), answer)
        else:
            self.answer(200, *answer[:1], **answer[1])

    do_PUT = do_POST = do_DELETE = do_any

    def is_taken(self, bucket, key):
        """True if the request must not replace what is there."""
        return self.headers.get("If-None-Match") == "*" and (bucket, key) in put_objects and "nolock" not in bucket

    def do_put(self, bucket, key, query, body):
        if self.is_taken(bucket, key):
            return "PreconditionFailed"
        put_objects[bucket, key] = body
        return b"", {"ETag": etag_of(body)}

    def do_create(self, bucket, key, query, body):
        upload = f"id/{len(log)}+{len(uploads)}"
        uploads[upload] = (bucket, key, {})
        return f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>".encode(), {}

    def do_part(self, bucket, key, query, body):
        upload = uploads.get(query["uploadId"][0])
        if not upload:
            return "NoSuchUpload"
        upload[2][int(query["partNumber"][0])] = body
        return b"", {"ETag": etag_of(body)}

    def do_complete(self, bucket, key, query, body):
        """Checks what S3 checks: the list of parts, their etags, and the size of all but the last."""
        upload = uploads.get(query["uploadId"][0])
        if not upload:
            return "NoSuchUpload"
        if self.is_taken(bucket, key):
            return "PreconditionFailed"
        parts = upload[2]
        listed = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>(.*?)</ETag>", body.decode())
        if [int(number) for number, _ in listed] != sorted(parts) or any(etag_of(parts[int(n)]) != etag for n, etag in listed):
            return "InvalidPart"
        if any(len(parts[n]) < 5 * 1024 * 1024 or len(parts[n]) != len(parts[1]) for n in sorted(parts)[:-1]):
            return "EntityTooSmall"
        put_objects[bucket, key] = b"".join(parts[n] for n in sorted(parts))
        etags[bucket, key] = '"%s-%d"' % (hashlib.md5(b"".join(hashlib.md5(parts[n]).digest() for n in sorted(parts))).hexdigest(), len(parts))
        del uploads[query["uploadId"][0]]
        return f"<CompleteMultipartUploadResult><ETag>{etags[bucket, key]}</ETag></CompleteMultipartUploadResult>".encode(), {}

    def do_abort(self, bucket, key, query, body):
        return (b"", {}) if uploads.pop(query["uploadId"][0], None) else "NoSuchUpload"

    def do_delete(self, bucket, key, query, body):
        put_objects.pop((bucket, key), None)
        return b"", {}

    def do_HEAD(self):
        """Answers without a body, whatever it is."""
        before = self.times_seen()
        self.late_fault = None
        bucket, _, key = urllib.parse.unquote(self.path[1:]).partition("/")
        if self.fault_of_all(bucket, before) or self.fault_of_one(bucket, "head", before):
            return
        data = objects_of(bucket).get(key)
        self.send_response(200 if data is not None else 404)
        if data is not None:
            self.send_header("ETag", etags.get((bucket, key), etag_of(data)))
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # clients that hang up are part of the tests


def main():
    servers = [Server(("127.0.0.1", 0), Handler)]
    if len(sys.argv) > 2:
        servers.append(Server(("127.0.0.1", 0), Handler))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
        servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True, do_handshake_on_connect=False)
    with open(sys.argv[1] + ".new", "w") as port_file:
        port_file.write(" ".join(str(server.server_address[1]) for server in servers))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main()
