"""A client that uploads a large file in pieces and, started again with the same state file, asks how far it came and goes on.

client.py oci  URL TOKEN FILE STATE [--stall-at FRACTION]    over PATCH (OCI distribution specification); URL ends in /v2/<name>
client.py rest URL TOKEN FILE STATE [--stall-at FRACTION]    over the REST sessions; URL is /api/v1/repositories/<key>/artifacts/<path>
client.py digest URL TOKEN                                   prints the SHA-256 of what is there

With --stall-at it stops inside a piece at that part of the file, makes STATE.stalled and waits to be killed.
STATE holds where the upload is and how much was acknowledged. A server that comes back with less than that has lost acknowledged bytes: exit 3.
"""
import hashlib
import http.client
import json
import os
import sys
import time
import urllib.parse

PIECE = 8 << 20


def request(method, url, token, body=None, fields=()):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300, blocksize=1 << 18)
    target = parts.path + ("?" + parts.query if parts.query else "")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream", **dict(fields)}
    connection.request(method, target, body=body, headers=headers)
    return connection.getresponse()


def expect(statuses, response):
    body = response.read()
    if response.status not in statuses:
        raise SystemExit(f"status {response.status}: {body[:500]!r}")
    return body


class Piece:
    """A part of the file as a body to read; stalls for ever at an offset, when asked to."""

    def __init__(self, file, start, end, stall, state):
        self.file, self.at, self.end, self.stall, self.state = file, start, end, stall, state
        file.seek(start)

    def read(self, count):
        if self.stall is not None and self.at >= self.stall:
            open(self.state + ".stalled", "w").close()
            time.sleep(600)
        content = self.file.read(min(count, self.end - self.at, 1 << 16))
        self.at += len(content)
        return content


class State:
    def __init__(self, path):
        self.path = path
        self.where, self.acked = None, 0
        if os.path.exists(path):
            with open(path) as f:
                self.where, self.acked = json.load(f)

    def save(self, where, acked):
        self.where, self.acked = where, acked
        with open(self.path + ".new", "w") as f:
            json.dump([where, acked], f)
        os.rename(self.path + ".new", self.path)


def absolute(base, location):
    return urllib.parse.urljoin(base, location)


def oci_start(url, token, size, digest):
    response = request("POST", url + "/blobs/uploads/", token)
    expect([202], response)
    return absolute(url, response.getheader("Location"))


def oci_offset(where, token):
    response = request("GET", where, token)
    expect([204], response)
    last = response.getheader("Range").rsplit("-", 1)[1]
    return 0 if last == "0" else int(last) + 1


def oci_send(where, token, body, start, end, size):
    fields = {"Content-Range": f"{start}-{end - 1}", "Content-Length": str(end - start)}
    response = request("PATCH", where, token, body, fields)
    expect([202], response)
    return absolute(where, response.getheader("Location"))


def oci_finish(where, token, digest):
    joint = "&" if "?" in where else "?"
    expect([201], request("PUT", f"{where}{joint}digest=sha256:{digest}", token))


def rest_start(url, token, size, digest):
    base, rest = url.split("/repositories/")
    key, path = rest.split("/artifacts/")
    fields = {"repository_key": key, "artifact_path": path, "total_size": size, "checksum_sha256": digest, "chunk_size": PIECE}
    response = request("POST", base + "/uploads", token, json.dumps(fields).encode(), {"Content-Type": "application/json"})
    return base + "/uploads/" + json.loads(expect([201], response))["session_id"]


def rest_offset(where, token):
    # A chunk begins at a multiple of its size: what came of a broken one is sent again.
    received = json.loads(expect([200], request("GET", where, token)))["bytes_received"]
    return received - received % PIECE


def rest_send(where, token, body, start, end, size):
    fields = {"Content-Range": f"bytes {start}-{end - 1}/{size}", "Content-Length": str(end - start)}
    expect([200], request("PATCH", where, token, body, fields))
    return where


def rest_finish(where, token, digest):
    expect([200], request("PUT", where + "/complete", token))


def upload(protocol, url, token, path, state_path, stall_at=None):
    start, offset, send, finish = {
        "oci": (oci_start, oci_offset, oci_send, oci_finish),
        "rest": (rest_start, rest_offset, rest_send, rest_finish),
    }[protocol]
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stall = None if stall_at is None else int(float(stall_at) * size)
    state = State(state_path)
    if state.where is None:
        state.save(start(url, token, size, digest), 0)
    at = offset(state.where, token)
    if at < state.acked:
        print(f"{state.acked} bytes were acknowledged, the server has {at}")
        raise SystemExit(3)
    print(f"going on at {at} of {size}", flush=True)
    with open(path, "rb") as file:
        while at < size:
            # Pieces end on multiples of PIECE, wherever the last one broke off.
            end = min(size, (at // PIECE + 1) * PIECE)
            state.save(send(state.where, token, Piece(file, at, end, stall, state_path), at, end, size), end)
            at = end
    finish(state.where, token, digest)
    print(digest)


def digest(url, token):
    response = request("GET", url, token)
    if response.status != 200:
        raise SystemExit(f"status {response.status}")
    print(hashlib.file_digest(response, "sha256").hexdigest())


arguments = [a for a in sys.argv[1:] if a != "--stall-at"]
if arguments[0] == "digest":
    digest(*arguments[1:])
else:
    upload(*arguments)
