"""upstream.py PORT-FILE LOG FOLDER [--wrong-bytes]: a registry as the public one's documentation describes it, of the tarballs in FOLDER.

Packuments in full and abbreviated, tarballs on another path than the packument, ETags, search, audit with one advisory. Every request is a
line of LOG. With --wrong-bytes each tarball has another last byte than its packument promises.
"""
import base64
import gzip
import hashlib
import http.server
import json
import pathlib
import sys
import tarfile
import urllib.parse

port_file, log_file, folder = (pathlib.Path(argument) for argument in sys.argv[1:4])
lies = "--wrong-bytes" in sys.argv
SHORT = "application/vnd.npm.install-v1+json"


def packages():
    found = {}
    for path in sorted(folder.glob("*.tgz")):
        with tarfile.open(path) as archive:
            manifest = json.loads(archive.extractfile("package/package.json").read())
        found.setdefault(manifest["name"], []).append((manifest, path))
    return found


def packument(name, base):
    releases = packages().get(name)
    if not releases:
        return None
    versions, times = {}, {"created": "2020-01-01T00:00:00.000Z"}
    for manifest, path in releases:
        tarball = path.read_bytes()
        version = manifest["version"]
        versions[version] = manifest | {
            "_id": f"{name}@{version}",
            "_npmUser": {"name": "somebody", "email": "somebody@example.test"},
            "_hasShrinkwrap": False,
            "dist": {
                "integrity": "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode(),
                "shasum": hashlib.sha1(tarball).hexdigest(),
                "tarball": f"{base}/files/{path.name}",
                "fileCount": 3,
                "signatures": [{"keyid": "SHA256:abc", "sig": "MEUCIQ"}],
            },
        }
        if "deprecated" in manifest.get("keywords", []):
            versions[version]["deprecated"] = "the upstream says so"
        times[version] = f"2020-01-{len(times) + 1:02}T00:00:00.000Z"
    times["modified"] = max(times.values())
    latest = list(versions)[-1]
    return {
        "_id": name, "_rev": "7-abcdef", "name": name, "dist-tags": {"latest": latest}, "versions": versions, "time": times,
        "readme": "# From afar", "users": {"fan": True}, "description": versions[latest].get("description"),
    }


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, content_type="application/json", etag=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with log_file.open("a") as log:
            log.write(f"GET {self.path}\n")
        base = f"http://127.0.0.1:{self.server.server_port}"
        path = urllib.parse.unquote(self.path.partition("?")[0])
        if path.startswith("/files/"):
            file = folder / path.rpartition("/")[2]
            if not file.is_file():
                return self.answer(404, b"{}")
            body = file.read_bytes()
            return self.answer(200, body[:-1] + bytes([body[-1] ^ 1]) if lies else body, "application/octet-stream")
        if path == "/-/v1/search":
            rows = [{"package": {"name": name, "version": "1.0.0", "description": "", "keywords": [], "date": "2020-01-01T00:00:00.000Z",
                                 "maintainers": [], "links": {}}, "score": {"final": 1, "detail": {}}, "searchScore": 1} for name in packages()]
            return self.answer(200, json.dumps({"objects": rows, "total": len(rows), "time": "now"}).encode())
        document = packument(path[1:], base)
        if document is None:
            return self.answer(404, b'{"error":"Not found"}')
        body = json.dumps(document).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.answer(200, body, etag=etag)

    def do_POST(self):
        with log_file.open("a") as log:
            log.write(f"POST {self.path}\n")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        asked = json.loads(body)
        advisory = {"id": 1, "url": "https://example.test/1", "title": "Falls from trees", "severity": "high", "vulnerable_versions": "*",
                    "cwe": [], "cvss": {"score": 7, "vectorString": None}}
        self.answer(200, json.dumps({name: [advisory] for name in asked if name == "far-fruit"}).encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
port_file.write_text(str(server.server_port))
server.serve_forever()
