"""names.py FOLDER: a name server and an upstream that names hosts of it. names.py FOLDER ask PORT COUNT: has Granary fetch through them."""
import base64
import http.client
import http.server
import json
import os
import pathlib
import socket
import struct
import sys
import threading
import time

public, inside, upstream_port = "93.184.216.34", ["127.0.0.1", "10.1.2.3", "169.254.169.254"], 8089
folder = pathlib.Path(sys.argv[1])
kinds = ["flip", "several", "alias", "private", "public"]
asked = {}
# Names of private networks: the name server gives a public address for each, so that the name alone can be why it is not asked.
private_names = ["metadata", "metadata.", "closed.internal", "api.default.svc.cluster.local", "printer.local", "nas.home.arpa", "wiki.corp"]
allowed_names = ["mirror", "open.internal", "below.open.internal"]


def answers(name, kind):
    """What a name stands for at this moment: (type, data)."""
    address = lambda text: (1, socket.inet_aton(text))
    number = int(name.split(".")[0][1:]) if name[0] == "n" and name[1:].split(".")[0].isdigit() else 0
    where = inside[number % len(inside)]
    if name == "upstream.example":
        return [address(public)]
    if name == "within.example":
        return [address(where)]
    asked[name] = asked.get(name, 0) + 1
    with open(folder / "asked", "a") as file:
        print(name, file=file)
    if name in private_names + allowed_names:
        return [address(public)]
    if kind == "flip":  # first so, then so
        return [address(public if asked[name] == 1 else where)]
    if kind == "several":
        return [address(where), address(public)] if number % 2 else [address(public), address(where)]
    if kind == "alias":
        return [(5, b"\x06within\x07example\x00"), ("within.example", address(where))]
    return [address(where if kind == "private" else public)]


def reply(query):
    place, labels = 12, []
    while query[place]:
        labels.append(query[place + 1:place + 1 + query[place]].decode())
        place += 1 + query[place]
    question = query[12:place + 5]
    (wanted,) = struct.unpack(">H", query[place + 1:place + 3])
    name = ".".join(labels)
    rows = answers(name, labels[1] if len(labels) > 2 else "") if wanted == 1 else []
    body = b""
    for row in rows:
        owner, (kind, data) = (b"\x06within\x07example\x00", row[1]) if isinstance(row[0], str) else (b"\xc0\x0c", row)
        body += owner + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
    return query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(rows), 0, 0) + question + body


def serve():
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))

    class Outside(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            # /KIND/N: elsewhere, under a name of that kind.
            parts = self.path.strip("/").split("/")
            inward = parts[0] == "inward"
            moves = self.headers["Host"].startswith("upstream.example") and (len(parts) == 2 or inward)
            body = b"" if moves else b"from outside"
            self.send_response(302 if moves else 200)
            if moves:
                elsewhere = parts[1] if inward else f"n{parts[1]}.{parts[0]}.example"
                self.send_header("Location", f"http://{elsewhere}:{upstream_port}/file")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *words):
            pass

    threading.Thread(target=http.server.ThreadingHTTPServer((public, upstream_port), Outside).serve_forever, daemon=True).start()
    for address in inside:
        listener = socket.create_server((address, upstream_port))

        def note(listener=listener):
            while True:
                peer, _ = listener.accept()
                with open(folder / "reached", "a") as file:
                    print(listener.getsockname(), file=file)
                peer.close()

        threading.Thread(target=note, daemon=True).start()
    (folder / "ready").write_text("yes")
    while True:
        query, client = names.recvfrom(4096)
        names.sendto(reply(query), client)


def ask(port, count):
    authorization = "Basic " + base64.b64encode(f"admin:{os.environ['ADMIN_PASSWORD']}".encode()).decode()

    def send(method, target, document=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = json.dumps(document) if document else None
        connection.request(method, target, body, {"Authorization": authorization, "Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    for _ in range(300):
        try:
            if send("GET", "/readyz")[0] == 200:
                break
        except OSError:
            pass
        time.sleep(0.1)
    # One repository for each kind: an upstream that fails often is left alone for a while.
    def make(key, host):
        status, said = send("POST", "/api/v1/repositories", {
            "key": key, "name": key, "format": "generic", "repo_type": "remote", "upstream_url": f"http://{host}:{upstream_port}/"})
        assert status == 200, said

    for kind in kinds:
        make(kind, "upstream.example")
    told = {kind: {} for kind in kinds}
    for number in range(count):
        kind = kinds[number % len(kinds)]
        status, said = send("GET", f"/general/{kind}/{kind}/{number}")
        assert status != 200 or said == b"from outside", said
        told[kind][status] = told[kind].get(status, 0) + 1
    reached = (folder / "reached").read_text() if (folder / "reached").exists() else ""
    # Of an upstream's URL, and where a redirect leads.
    make("inward", "upstream.example")
    names = {}
    for number, host in enumerate(private_names + allowed_names):
        make(f"named{number}", host)
        names[host] = send("GET", f"/general/named{number}/file")[0], send("GET", f"/general/inward/inward/{host}")[0]
    resolved = set((folder / "asked").read_text().split())
    print(told, "reached inside:", reached or "nothing", "names asked:", len(resolved), "private names:", names)
    # The attack must have been one: where there was a way outside it was found, and where there was none nothing came.
    fine = not reached and told["public"].get(200) == count // len(kinds) and not told["private"].get(200) and not told["alias"].get(200)
    held = all(names[host] == (502, 502) and host.rstrip(".") not in resolved for host in private_names)
    if held and all(names[host] == (200, 200) and host in resolved for host in allowed_names):
        (folder / "private").write_text("held")
    sys.exit(0 if fine else 1)


ask(int(sys.argv[3]), int(sys.argv[4])) if len(sys.argv) > 2 else serve()
