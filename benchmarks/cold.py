"""First byte of a cold file and of a cold index through a remote, against the upstream asked directly, in turns, as ratios."""
import argparse, hashlib, http.server, json, socket, statistics, threading, time
from servers import call, granary

parser = argparse.ArgumentParser()
for name in ("granary", "scratch"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--rounds", type=int, default=40)
options = parser.parse_args()

SIZES = {"64 KiB": 64 << 10, "8 MiB": 8 << 20}
BODIES = {name: bytes(range(256)) * (size // 256) for name, size in SIZES.items()}
FILES = 200  # on a project's page


class Upstream(http.server.BaseHTTPRequestHandler):
    """Files of a size at any path below it, and a page of files for any project."""
    protocol_version = "HTTP/1.1"
    # As servers do: else the body waits for the acknowledgement of the head, 40 ms on a connection that is kept.
    disable_nagle_algorithm = True

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if parts[0] == "simple":
            rows = [{"filename": f"{parts[1]}-1.{n}-py3-none-any.whl", "url": f"/files/{n}", "size": 1000 + n,
                     "hashes": {"sha256": hashlib.sha256(str(n).encode()).hexdigest()}, "requires-python": ">=3.8"} for n in range(FILES)]
            body = json.dumps({"meta": {"api-version": "1.1"}, "name": parts[1], "versions": [f"1.{n}" for n in range(FILES)], "files": rows}).encode()
            kind = "application/vnd.pypi.simple.v1+json"
        else:
            body, kind = BODIES[parts[0].replace("-", " ")], "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def first_byte(port, path):
    """Seconds to the first byte of the head, to the first of the body, and to the last."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/vnd.pypi.simple.v1+json\r\n\r\n".encode())
        seen, head, body = b"", None, None
        while piece := connection.recv(1 << 20):
            now = time.perf_counter() - began
            head = head or now
            if body is None:
                seen += piece
                if b"\r\n\r\n" in seen and len(seen.split(b"\r\n\r\n", 1)[1]) > 0:
                    body = now
        if b" 200 " not in seen.split(b"\r\n")[0]:
            raise SystemExit(f"{path}: {seen[:200]!r}")
        return head, body, time.perf_counter() - began


upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
server = granary(options.granary, options.scratch)
for key, form in (("files", "generic"), ("index", "pypi")):
    call(server, "POST", "/api/v1/repositories", {
        "key": key, "name": key, "format": form, "repo_type": "remote", "is_public": True, "upstream_allow_private": True,
        "upstream_url": f"http://127.0.0.1:{upstream.server_port}/"})

kinds = {f"file of {name}": ((lambda n, name=name: f"/{name.replace(' ', '-')}/{n}"), (lambda n, name=name: f"/general/files/{name.replace(' ', '-')}/{n}"))
         for name in SIZES}
kinds[f"page of {FILES} files"] = ((lambda n: f"/simple/project-{n}/"), (lambda n: f"/pypi/index/simple/project-{n}/"))
for name, (direct, through) in kinds.items():
    first_byte(server.port, through("warm"))
    ours, theirs = [], []
    for n in range(options.rounds):
        theirs.append(first_byte(upstream.server_port, direct(n)))
        ours.append(first_byte(server.port, through(n)))
    print(name + ":", end="")
    for part, place in (("first byte of the head", 0), ("of the body", 1), ("last byte", 2)):
        a, b = statistics.median(row[place] for row in ours), statistics.median(row[place] for row in theirs)
        print(f"  {part} {a * 1000:.1f} ms, {a / b:.1f}x the upstream's {b * 1000:.1f}", end=";" if place < 2 else "\n", flush=True)
server.stop()
