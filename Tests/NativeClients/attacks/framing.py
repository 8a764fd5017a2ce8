"""framing.py PORT LOG FRONT: sends requests that two servers in a row could cut differently, each with another inside; LOG is Granary's, FRONT the proxy's."""
import json
import pathlib
import socket
import sys
import time

port, log, front = int(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
inner = "GET /general/open/smuggled-{n} HTTP/1.1\r\nHost: x\r\n\r\n"
chunks = "0\r\n\r\n"
# Each field or two that may be read in two ways; the body ends at once for who reads one way, and has the other request in it for who reads the other.
fields = [
    "Content-Length: {length}\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: {length}",
    "Content-Length: {length}\r\nTransfer-Encoding : chunked", "Content-Length: {length}\r\nTransfer-Encoding:\x0bchunked",
    "Content-Length: {length}\r\nTransfer-Encoding: xchunked", "Content-Length: {length}\r\nTransfer-Encoding: chunked, identity",
    "Content-Length: {length}\r\nTransfer-Encoding: identity, chunked", "Content-Length: {length}\r\nTransfer-Encoding: \"chunked\"",
    "Content-Length: {length}\r\nTransfer-Encoding:\r\n chunked", "Content-Length: {length}\r\n Transfer-Encoding: chunked",
    "Content-Length: {length}\r\nX: y\nTransfer-Encoding: chunked", "Content-Length: {length}\r\nX: y\rTransfer-Encoding: chunked",
    "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x", "Content-Length: {length}\r\nTransfer_Encoding: chunked",
    "Content-Length: {length}\r\ntransfer-encoding\x00: chunked", "Content-Length: {length}\r\nTransfer-Encoding: \x00chunked",
    "Content-Length: {length}\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: {length}", "Content-Length: +{length}",
    "Content-Length: {length}, 5", "Content-Length: 5, {length}", "Content-Length: 0x{length:x}", "Content-Length: {length} ",
    "Content-Length : {length}", "Content-Length:\r\n {length}", "Content-Length: 0{length}", "Content-Length: {length}\r\nContent_Length: 5",
    "Content-Length: {length}\r\nConnection: Content-Length", "Content-Length: {length}\r\nConnection: close, Content-Length",
    "Content-Length: {length}\r\nExpect: 100-continue\r\nTransfer-Encoding: x",
]
# Chunks that may be read in two ways, with a request where one reader sees data.
bodies = [
    "1;\n\r\nx\r\n0\r\n\r\n", "1;a=\"\r\n\"\r\nx\r\n0\r\n\r\n", "1\nx\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n", "-1\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX\r\n0\r\n\r\n", "0\r\nX: y\r\n\r\n", "0\n\n",
    "0\r\n\r", "00\r\n\r\n", "5\r\nhello\r\n0;a\n\r\n",
]
vectors = []
for field in fields:
    for method in ("PUT", "GET"):
        vectors.append((f"{method} /general/open/outer-{{n}} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n", chunks + inner))
for body in bodies:
    vectors.append(("PUT /general/open/outer-{n} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", body + inner))


def talk(bytes_, seconds):
    """What comes back until the other side ends or says nothing more."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        client.sendall(bytes_)
        said = b""
        try:
            while more := client.recv(65536):
                said += more
        except (TimeoutError, ConnectionError):
            pass
        return said


wrong = []
for number, (head, body) in enumerate(vectors):
    body = body.format(n=number)
    talk((head.format(n=number, length=len(body)) + body).encode("latin-1"), 0.3)
    # Another client, over the connections that the proxy keeps.
    for turn in range(2):
        said = talk(f"GET /general/open/a/public.txt?{number}.{turn} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), 30)
        if not said.startswith(b"HTTP/1.1 200") or not said.endswith(b"for everybody"):
            wrong.append((number, "another client's answer", said[:200]))
time.sleep(1)
# What the proxy took for a request of its own is one; what only Granary took for one came out of another.
own, seen = front.read_text(), set()
for line in log.read_text().splitlines():
    target = json.loads(line).get("target", "") if line.startswith("{") else ""
    seen |= {target} if "/outer-" in target else set()
    if "/smuggled-" in target and f" {target} " not in own:
        wrong.append((target, "a request from inside another"))
print(len(vectors), "requests,", len(seen), "of them came through nginx;", len(wrong), "wrong:", wrong[:20])
sys.exit(1 if wrong or not seen else 0)
