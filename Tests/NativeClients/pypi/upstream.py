"""A foreign Python index that can misbehave: upstream.py PORT-FILE LOG DIR [--wrong-bytes]

Serves the files of DIR under /simple/ (PEP 503 pages with sha256 fragments, as they are now) and logs each request's path on a line of LOG.
With --wrong-bytes the files it sends are not those it lists.
"""
import hashlib
import http.server
import os
import re
import sys
import urllib.parse

port_file, log, folder = sys.argv[1:4]
wrong_bytes = "--wrong-bytes" in sys.argv


def project(file):
    return re.sub(r"[-_.]+", "-", file.split("-")[0]).lower()


class Index(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with open(log, "a") as f:
            f.write(f"{self.command} {self.path}\n")
        parts = [p for p in urllib.parse.unquote(self.path.split("?")[0]).split("/") if p]
        files = sorted(os.listdir(folder))
        if parts == ["simple"]:
            self.page("".join(f'<a href="{p}/">{p}</a>\n' for p in sorted({project(f) for f in files})))
        elif len(parts) == 2 and parts[0] == "simple" and any(project(f) == parts[1] for f in files):
            self.page("".join(self.link(f) for f in files if project(f) == parts[1]))
        elif len(parts) == 2 and parts[0] == "files" and parts[1] in files:
            self.answer(200, "application/octet-stream", self.read(parts[1])[:: -1 if wrong_bytes else 1])
        else:
            self.answer(404, "text/plain", b"no such thing")

    do_HEAD = do_GET

    def read(self, file):
        with open(os.path.join(folder, file), "rb") as f:
            return f.read()

    def link(self, file):
        return f'<a href="../../files/{file}#sha256={hashlib.sha256(self.read(file)).hexdigest()}">{file}</a>\n'

    def page(self, links):
        self.answer(200, "text/html; charset=utf-8", f"<!DOCTYPE html><html><body>{links}</body></html>".encode())

    def answer(self, status, kind, content):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
with open(port_file + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
