"""A crowd and what it wants.

crowd.py upstream PORT-FILE LOG NAME=BYTES...    serves files of random bytes at /NAME, logs each request, prints NAME=SHA256 to PORT-FILE's side
                                                 A body goes on after its first slice once the file go-NAME is there.
crowd.py clients URL COUNT SHA256 GO [SLOW]      COUNT clients ask for the URL; when all have a head, the file GO is made and they read;
                                                 the first SLOW of them read little until the others are through
"""
import asyncio
import hashlib
import http.server
import os
import socketserver
import sys
import time
import urllib.parse

SLICE = 256 << 10


def upstream(port_file, log, *files):
    blocks = {}
    for file in files:
        name, size = file.split("=")
        # One random block, told apart by a counter: as long as wanted, and never in memory as a whole.
        blocks[name] = (int(size), os.urandom(SLICE - 8))
    hashes = {}
    for name, (size, block) in blocks.items():
        digest = hashlib.sha256()
        for piece in pieces(size, block):
            digest.update(piece)
        hashes[name] = digest.hexdigest()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with open(log, "a") as f:
                f.write(f"{self.command} {self.path}\n")
            size, block = blocks.get(self.path.lstrip("/"), (None, None))
            self.send_response(200 if size else 404)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(size or 0))
            self.end_headers()
            for number, piece in enumerate(pieces(size or 0, block)):
                patience = time.monotonic() + 25
                while number == 1 and not os.path.exists("go-" + self.path.lstrip("/")) and time.monotonic() < patience:
                    time.sleep(0.02)
                self.wfile.write(piece)

        def log_message(self, *_):
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    with open(port_file + ".new", "w") as f:
        f.write(f"{server.server_port}\n" + "".join(f"{name}={digest}\n" for name, digest in hashes.items()))
    os.rename(port_file + ".new", port_file)
    server.serve_forever()


def pieces(size, block):
    count = 0
    while size > 0:
        piece = (count.to_bytes(8, "big") + block)[:size]
        yield piece
        size -= len(piece)
        count += 1


async def ask(url):
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=SLICE)
    writer.write(f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), None)
    if " 200 " not in head.split("\r\n")[0] or length is None:
        raise SystemExit(f"an answer that is none: {head}")
    return reader, writer, length


async def fetch(answer, others, is_slow):
    reader, writer, length = answer
    digest, received = hashlib.sha256(), 0
    while piece := await reader.read(SLICE):
        digest.update(piece)
        received += len(piece)
        # Who reads nothing at all is cut off by the server after a while.
        if is_slow and not others.is_set():
            await asyncio.sleep(0.5)
    writer.close()
    return received == length, digest.hexdigest()


async def clients(url, count, wanted, go, slow):
    url = urllib.parse.urlsplit(url)
    others = asyncio.Event()
    began = time.monotonic()
    answers = await asyncio.gather(*(ask(url) for _ in range(count)))
    open(go, "w").close()
    tasks = [asyncio.create_task(fetch(answer, others, number < slow)) for number, answer in enumerate(answers)]
    answers = await asyncio.gather(*tasks[slow:])
    took = time.monotonic() - began
    others.set()
    answers += await asyncio.gather(*tasks[:slow])
    whole = sum(1 for is_whole, digest in answers if is_whole and digest == wanted)
    print(f"{whole} of {count} got the right bytes, all but {slow} slow ones within {took:.1f} s")
    sys.exit(0 if whole == count else 1)


if sys.argv[1] == "upstream":
    upstream(*sys.argv[2:])
else:
    asyncio.run(clients(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5], int(sys.argv[6]) if len(sys.argv) > 6 else 0))
