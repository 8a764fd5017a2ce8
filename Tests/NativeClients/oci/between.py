"""Stands between a remote and its registry: between.py PORT-FILE LOG HOST:PORT [--wrong-blobs]

Passes GET and HEAD on, logs each request's path on a line of LOG; with --wrong-blobs the blobs it passes are not what was asked for.
"""
import http.client
import http.server
import os
import sys

port_file, log, target = sys.argv[1:4]
wrong_blobs = "--wrong-blobs" in sys.argv
HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Between(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with open(log, "a") as f:
            f.write(f"{self.command} {self.path}\n")
        connection = http.client.HTTPConnection(target, timeout=30)
        fields = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"host"}}
        connection.request(self.command, self.path, headers=fields | {"Host": target})
        answer = connection.getresponse()
        body = answer.read()
        if wrong_blobs and "/blobs/" in self.path and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.headers["Content-Length"] if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Between)
with open(port_file + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
