"""An upstream that writes down what it is asked. `upstream.py PORT_FILE LOG`

Files take a second to come, so that whoever wants one at the same time meets those who asked before. The first who asks for a path below `/never/`
waits for ever; `/none/` is not there. What is below `/slow/` takes 14 s, and is larger. The bytes of a path are its SHA-256, a thousand times.
"""
import hashlib, http.server, os, sys, threading, time

port_file, log = sys.argv[1:]
lock = threading.Lock()
asked = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with lock:
            asked[self.path] = number = asked.get(self.path, 0) + 1
            with open(log, "a") as file:
                file.write(f"GET {self.path}\n")
        if self.path.startswith("/never/") and number == 1:
            time.sleep(3600)
        time.sleep(1)
        pieces = 14 if self.path.startswith("/slow/") else 1
        body = hashlib.sha256(self.path.encode()).digest() * 1000 * pieces**2
        is_there = not self.path.startswith("/none/")
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Length", str(len(body) if is_there else 0))
        self.end_headers()
        for piece in range(pieces if is_there else 0):
            time.sleep(1 if pieces > 1 else 0)
            self.wfile.write(body[len(body) // pieces * piece : len(body) // pieces * (piece + 1)])

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", 0), Handler)
with open(port_file + ".new", "w") as file:
    file.write(f"{server.server_port}\n")
os.rename(port_file + ".new", port_file)
server.serve_forever()
