"""paths.py PORT PASSWORD FILE CANARY: asks for FILE by paths that climb, below every mount. Fails when an answer has CANARY in it, or is a 5xx."""
import base64
import itertools
import socket
import sys

port, password, file, canary = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].encode()
mounts = ["/general/files/", "/npm/js/", "/pypi/py/simple/", "/maven/mvn/", "/debian/deb/", "/v2/images/", "/cache/cache/",
          "/api/v1/repositories/files/artifacts/", "/"]
dots = ["..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "..%00", "..;", "\u2025", "....", "..%5c.."]
slashes = ["/", "%2f", "%2F", "//", "\\", "%5c", "%252f", "%c0%af", "/./", ";/"]
tails = [file.lstrip("/"), "etc/passwd"]
authorization = "Authorization: Basic " + base64.b64encode(f"admin:{password}".encode()).decode()


def climbs():
    for dot, slash, depth, tail in itertools.product(dots, slashes, (1, 12), tails):
        yield (dot + slash) * depth + tail.replace("/", slash if depth == 12 else "/")
    yield from ("%2f" + file.lstrip("/"), "/" + file.lstrip("/"), "file://" + file, "C:/" + file, "~root", "%00" + file)


class Connection:
    def __init__(self):
        self.socket = None

    def ask(self, method, target, body=b""):
        for _ in range(2):
            try:
                if self.socket is None:
                    self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
                    self.rest = b""
                head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{authorization}\r\nContent-Length: {len(body)}\r\n\r\n"
                self.socket.sendall(head.encode("utf-8", "surrogateescape") + body)
                return self.answer()
            except (ConnectionError, EOFError):
                self.close()
        raise SystemExit(f"no answer to {method} {target}")

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError
        self.rest += got

    def answer(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:])
        length = int(fields.get(b"content-length", 0))
        if fields.get(b"transfer-encoding") == b"chunked":
            raise SystemExit(f"an answer without a length: {head!r}")
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        if fields.get(b"connection") == b"close":
            self.close()
        return int(lines[0].split()[1]), head + body

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


connection, asked, wrong = Connection(), 0, []
for mount, climb in itertools.product(mounts, climbs()):
    for method, body in (("GET", b""), ("PUT", b"written")):
        if method == "PUT" and hash((mount, climb)) % 4:
            continue
        status, said = connection.ask(method, mount + climb, body)
        asked += 1
        if status >= 500 or canary in said or b"root:x:" in said:
            wrong.append((method, mount + climb, status))
print(asked, "requests;", len(wrong), "wrong:", wrong[:20])
sys.exit(1 if wrong or asked < 4000 else 0)
