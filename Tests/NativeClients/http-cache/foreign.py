"""A foreign cache of the shape Bazel, Gradle and ccache share: foreign.py PORT-FILE LOG DIR [--wrong-bytes]

GET, HEAD and PUT of keys, kept as files of DIR; each request's method and path on a line of LOG. With --wrong-bytes the entries it sends are not
those it was given.
"""
import http.server
import os
import sys

port_file, log, folder = sys.argv[1:4]
wrong_bytes = "--wrong-bytes" in sys.argv


class Cache(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def place(self):
        with open(log, "a") as f:
            f.write(f"{self.command} {self.path}\n")
        return os.path.join(folder, self.path.strip("/").replace("/", "%"))

    def do_GET(self):
        try:
            with open(self.place(), "rb") as f:
                content = f.read()
        except OSError:
            return self.answer(404, b"")
        self.answer(200, content[::-1] if wrong_bytes else content)

    do_HEAD = do_GET

    def do_PUT(self):
        with open(self.place(), "wb") as f:
            f.write(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201, b"")

    def answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cache)
with open(port_file + ".new", "w") as f:
    f.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
