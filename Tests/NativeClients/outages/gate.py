"""What stands before an S3 server: lets requests through, holds them, or refuses them. `gate.py PORT SERVER_PORT MODE LOG`

The file MODE has one line, which is read at each request, and over and over for one that is held:

  pass             all go through
  hold METHOD N    N of this method for objects go through, those after them wait until the line is another
  fail STATUS      all are answered so

LOG gets a line for each that waits. What the server says goes back as it is: it checks signatures, which are for the host that was asked.
"""
import http.client, http.server, sys, threading, time

port, server_port, mode_file, log_file = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
lock = threading.Lock()
mode, passed = "", 0
SLICE = 1 << 16


def verdict(method, path):
    """None to go on, a status to answer; waits while it is held."""
    global mode, passed
    is_noted, counts = False, "/objects/" in path
    while True:
        with open(mode_file) as file:
            line = file.read().strip()
        words = line.split()
        with lock:
            if line != mode:
                mode, passed = line, 0
            if words[0] == "fail":
                return int(words[1])
            if words[0] == "pass" or words[1] != method or not counts:
                return None
            if passed < int(words[2]):
                passed += 1
                return None
            if not is_noted:
                is_noted = True
                with open(log_file, "a") as file:
                    file.write(f"{method} {path}\n")
        time.sleep(0.02)


class Gate(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.close_connection = True
        left = int(self.headers.get("Content-Length") or 0)
        status = verdict(self.command, self.path)
        if status:
            self.rfile.read(left)
            words = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>out of order</Message></Error>"
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(words)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(words)
            return
        server = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                server.putheader(name, value)
            server.endheaders()
            while left:
                piece = self.rfile.read(min(SLICE, left))
                if not piece:
                    return
                server.send(piece)
                left -= len(piece)
            answer = server.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := answer.read(SLICE):
                self.wfile.write(piece)
        except (OSError, http.client.HTTPException) as error:
            print(f"{self.command} {self.path}: {error}", file=sys.stderr, flush=True)
        finally:
            server.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(("127.0.0.1", port), Gate).serve_forever()
