#!/usr/bin/env python3
"""A second, independent S3 client for the tests (standard library only): what it writes the extension must read, and
the other way round. The signature is its own, not the extension's.

    s3.py mb BUCKET                     make a bucket
    s3.py versions BUCKET               keep the versions of its objects from now on
    s3.py put BUCKET KEY [TEXT]         write TEXT, or standard input
    s3.py get BUCKET KEY                print an object
    s3.py many BUCKET PREFIX N          write PREFIX00000.csv .. with "id,v" and one row each
    s3.py fill BUCKET FILE              write the objects of a file: a line each, JSON [key, text]
    s3.py rm BUCKET KEY
    s3.py ls BUCKET                     keys of the first 1000 objects
    s3.py list BUCKET PREFIX            size and key, a line each
    s3.py head BUCKET KEY               headers of an object, "name: value" a line, names in lower case
    s3.py uploads BUCKET                multipart uploads that are open: upload id and key, a line each
    s3.py parts BUCKET KEY UPLOAD       sizes of the parts of one
    s3.py begin BUCKET PREFIX N         begin N uploads, PREFIX00000 .., and leave them open
    s3.py sts SECONDS                   temporary credentials: access key, secret, token, a line each

Environment: S3_ENDPOINT (http://host:port), S3_KEY, S3_SECRET.
"""
import concurrent.futures
import datetime
import hashlib
import hmac
import html
import http.client
import json
import os
import re
import sys
import urllib.parse

HOST = urllib.parse.urlsplit(os.environ.get("S3_ENDPOINT", "http://127.0.0.1:8095")).netloc
KEY = os.environ.get("S3_KEY", "RGWTESTKEY")
SECRET = os.environ.get("S3_SECRET", "rgw/test+secret=key")


def sign(method, path, query, body, service, region="us-east-1"):
    """Headers of a request signed with AWS Signature Version 4."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": HOST, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, path, query] + [f"{n}:{headers[n]}" for n in sorted(headers)] + ["", names, digest])
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + SECRET).encode()
    for part in (now[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    return headers


def answer_of(method, path, body=b"", service="s3", query=""):
    """One request; returns headers (in lower case) and body of a 2xx answer, exits with the answer's text on any other."""
    connection = http.client.HTTPConnection(HOST, timeout=60)
    connection.request(method, path + ("?" + query if query else ""), body=body, headers=sign(method, path, query, body, service))
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if not 200 <= answer.status <= 299:
        sys.exit(f"{method} {path}: {answer.status} {data.decode(errors='replace')}")
    return {name.lower(): value for name, value in answer.getheaders()}, data


def call(method, path, body=b"", service="s3", query=""):
    """The body of a 2xx answer."""
    return answer_of(method, path, body, service, query)[1]


def path_of(bucket, key):
    return "/" + bucket + "/" + urllib.parse.quote(key, safe="/-_.~")


def many(bucket, prefix, count):
    def put(i):
        call("PUT", path_of(bucket, f"{prefix}{i:05d}.csv"), f"id,v\n{i},{i * i}\n".encode())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(count)))


def fill(bucket, file):
    def put(line):
        key, text = json.loads(line)
        call("PUT", path_of(bucket, key), text.encode())

    with open(file, encoding="utf-8") as lines, concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(put, lines))


def sts(seconds):
    body = urllib.parse.urlencode({"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": "arn:aws:iam:::role/tester",
                                   "RoleSessionName": "test", "DurationSeconds": seconds}).encode()
    answer = call("POST", "/", body, "sts").decode()
    for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"):
        print(re.search(f"<{name}>(.*?)</{name}>", answer).group(1))


def list_keys(bucket, prefix):
    """Objects under a prefix, in pages of 1000."""
    after = ""
    while True:
        query = "list-type=2&prefix=" + urllib.parse.quote(prefix, safe="-_.~")
        query += "&start-after=" + urllib.parse.quote(after, safe="-_.~") if after else ""
        answer = call("GET", "/" + bucket, query=query).decode()
        for content in re.findall("<Contents>(.*?)</Contents>", answer, re.S):
            after = html.unescape(re.search("<Key>(.*?)</Key>", content, re.S).group(1))
            print(re.search("<Size>(.*?)</Size>", content).group(1), after)
        if "<IsTruncated>true" not in answer:
            return


def uploads(bucket):
    """Open uploads of a bucket."""
    answer = call("GET", "/" + bucket, query="uploads=").decode()
    for upload in re.findall("<Upload>(.*?)</Upload>", answer, re.S):
        print(re.search("<UploadId>(.*?)</UploadId>", upload).group(1), re.search("<Key>(.*?)</Key>", upload).group(1))


def begin(bucket, prefix, count):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: call("POST", path_of(bucket, f"{prefix}{i:05d}"), query="uploads="), range(count)))


def parts(bucket, key, upload):
    answer = call("GET", path_of(bucket, key), query="uploadId=" + urllib.parse.quote(upload, safe="-_.~")).decode()
    print(" ".join(re.findall("<Size>(.*?)</Size>", answer)))


def main(command, *args):
    if command == "mb":
        call("PUT", "/" + args[0])
    elif command == "versions":
        call("PUT", "/" + args[0], b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", query="versioning=")
    elif command == "put":
        call("PUT", path_of(args[0], args[1]), args[2].encode() if len(args) > 2 else sys.stdin.buffer.read())
    elif command == "get":
        sys.stdout.buffer.write(call("GET", path_of(args[0], args[1])))
    elif command == "rm":
        call("DELETE", path_of(args[0], args[1]))
    elif command == "head":
        for name, value in sorted(answer_of("HEAD", path_of(args[0], args[1]))[0].items()):
            print(f"{name}: {value}")
    elif command == "ls":
        print("\n".join(re.findall("<Key>(.*?)</Key>", call("GET", "/" + args[0], query="list-type=2").decode())))
    elif command == "list":
        list_keys(*args)
    elif command == "uploads":
        uploads(args[0])
    elif command == "parts":
        parts(*args)
    elif command == "begin":
        begin(args[0], args[1], int(args[2]))
    elif command == "many":
        many(args[0], args[1], int(args[2]))
    elif command == "fill":
        fill(*args)
    elif command == "sts":
        sts(int(args[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
