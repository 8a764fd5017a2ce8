"""framing.py LOG FRONT NAME PORT [PORT2]: sends requests that two servers in a row could cut differently, each with another inside.

LOG is Granary's, FRONT the proxy's, which names each request that it took for one. The requests come to PORT as HTTP/1, or to PORT2 as HTTP/2;
another client, whose answers must be its own, always comes to PORT. NAME stands in the targets, so that runs with one LOG stay apart.
"""
import json
import pathlib
import socket
import struct
import sys
import time

log, front, name, port = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
outer, smuggled = f"/general/open/{name}-outer-{{n}}", f"/general/open/{name}-smuggled-{{n}}"
inner = f"GET {smuggled} HTTP/1.1\r\nHost: x\r\n\r\n"
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


def in_http1():
    """The bytes of each request."""
    for field in fields:
        for method in ("PUT", "GET"):
            yield f"{method} {outer} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n", chunks + inner
    for body in bodies:
        yield f"PUT {outer} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", body + inner


# Of HTTP/2, fields that a proxy which writes them out as HTTP/1 must not: (name, value) to be added, or to take the place of a field of that name.
whole = f"{outer} HTTP/1.1\r\nHost: x\r\n\r\n{inner}"
framed = [
    [("transfer-encoding", "chunked")], [("content-length", "5")], [("content-length", "0")],
    [("content-length", "{length}"), ("content-length", "5")],
    [("content-length", "5"), ("content-length", "{length}")], [("content-length", "+{length}")], [("content-length", "{length}, 5")],
    [("content-length", "0x{length:x}")], [("content-length", "9{length}")], [("content-length", " {length}")], [("content-length", "")],
    [("content-length", "{length}"), ("transfer-encoding", "chunked")], [("transfer-encoding", "identity"), ("content-length", "0")],
    [("x", "y\r\ntransfer-encoding: chunked")], [("x", "y\ntransfer-encoding: chunked")], [("x", "y\rtransfer-encoding: chunked")],
    [("x", f"y\r\n\r\n{inner}")], [("x", "y\x00\r\ncontent-length: 0")], [("x\r\ntransfer-encoding", "chunked")],
    [("x: y\r\ntransfer-encoding", "chunked")],
    [("x:transfer-encoding", "chunked")], [("transfer-encoding ", "chunked")], [("Transfer-Encoding", "chunked")], [("transfer_encoding", "chunked")],
    [("", "y\r\ntransfer-encoding: chunked")], [("\r\n\r\nGET", smuggled)], [("connection", "content-length")], [("connection", "keep-alive")],
    [("te", "chunked")], [("upgrade", "h2c"), ("connection", "upgrade, http2-settings"), ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA")],
    [("proxy-connection", "keep-alive")], [("keep-alive", "timeout=5")], [("expect", "100-continue")], [("host", "y")],
    [("host", "x\r\ntransfer-encoding: chunked")],
    [(":path", whole)], [(":path", f"{outer} HTTP/1.1\r\nX: y")], [(":path", f"{outer} HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: y")],
    [(":path", f"{outer}\x00")], [(":path", f"{outer} x")], [(":path", f"http://y{outer}")], [(":path", "*")], [(":path", "")],
    [(":path", f"{outer}#{{n}}")],
    [(":method", f"PUT {whole}GET")], [(":method", f"PUT {outer} HTTP/1.1\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\nGET")],
    [(":method", "PUT ")], [(":method", "")], [(":method", "CONNECT")], [(":method", "CONNECT"), (":protocol", "websocket")],
    [(":authority", "x\r\ntransfer-encoding: chunked")], [(":authority", f"x\r\n\r\n{inner}")], [(":authority", "u@x")], [(":authority", f"x{outer}")],
    [(":scheme", f"http://x{smuggled} HTTP/1.1\r\nhost: x\r\n\r\n")], [(":scheme", "")], [(":scheme", f"http://x{outer}?")], [(":other", "y")],
]
trailers = [
    [("content-length", "0")], [("transfer-encoding", "chunked")], [(":path", smuggled)], [("x", f"y\r\n\r\n{inner}")], [("host", "y")],
    [("x\r\n\r\nGET", smuggled)],
]


def frame(kind, flags, stream, content):
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def block(rows):
    """RFC 7541 section 6.2.3: literals that are never indexed, nothing compressed."""
    def text(value):
        value, number = value.encode("latin-1"), b""
        if len(value) < 127:
            return bytes([len(value)]) + value
        rest = len(value) - 127
        while rest > 127:
            number, rest = number + bytes([rest & 127 | 128]), rest >> 7
        return b"\x7f" + number + bytes([rest]) + value
    return b"".join(b"\x10" + text(key) + text(value) for key, value in rows)


def in_http2():
    """The connection's bytes for each request, with its number and length to be filled in."""
    def request(method, changed, body, last=None):
        def filled(number):
            def fill(text):
                return text.format(n=number, length=len(body.format(n=number)))
            keys = {key for key, _ in changed if key.startswith(":")}
            usual = ((":method", method), (":scheme", "http"), (":path", outer), (":authority", "x"))
            rows = [(key, fill(value)) for key, value in usual if key not in keys]
            added = [(key.format(n=number) if "{" in key else key, fill(value)) for key, value in changed]
            rows = [row for row in added if row[0].startswith(":")] + rows + [row for row in added if not row[0].startswith(":")]
            content = body.format(n=number).encode()
            bytes_ = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block(rows))
            bytes_ += frame(0, 0 if last else 1, 1, content)
            if last:
                bytes_ += frame(1, 5, 1, block([(key, fill(value)) for key, value in last]))
            return bytes_
        return filled
    for changed in framed:
        for method in ("PUT", "GET"):
            yield request(method, changed, chunks + inner)
    yield request("PUT", [("x", "y"), (":path", smuggled)], inner)
    for last in trailers:
        yield request("PUT", [], inner, last)


def talk(to, bytes_, seconds):
    """What comes back until the other side ends or says nothing more."""
    with socket.create_connection(("127.0.0.1", to), timeout=seconds) as client:
        said = b""
        try:
            client.sendall(bytes_)
            while more := client.recv(65536):
                said += more
        except (TimeoutError, ConnectionError):
            pass
        return said


wrong, count, answered = [], 0, 0


def attack(to, number, bytes_):
    global count, answered
    count += 1
    answered += bool(talk(to, bytes_, 0.3))
    # Another client, over the connections that the proxy keeps.
    for turn in range(2):
        said = talk(port, f"GET /general/open/a/public.txt?{name}.{number}.{turn} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), 30)
        if not said.startswith(b"HTTP/1.1 200") or not said.endswith(b"for everybody"):
            wrong.append((number, "another client's answer", said[:200]))


if len(sys.argv) > 5:
    for number, request in enumerate(in_http2()):
        attack(int(sys.argv[5]), number, request(number))
else:
    for number, (head, body) in enumerate(in_http1()):
        body = body.format(n=number)
        attack(port, number, (head.format(n=number, length=len(body)) + body).encode("latin-1"))
time.sleep(1)
# What the proxy took for a request of its own is one; what only Granary took for one came out of another.
own, seen = front.read_text(errors="replace"), set()
for line in log.read_text().splitlines():
    target = json.loads(line).get("target", "") if line.startswith("{") else ""
    seen |= {target} if f"/{name}-outer-" in target else set()
    if f"/{name}-smuggled-" in target and f" {target} " not in own:
        wrong.append((target, "a request from inside another"))
print(count, "requests,", answered, "of them answered,", len(seen), "came through the proxy;", len(wrong), "wrong:", wrong[:20])
sys.exit(1 if wrong or not seen or not answered else 0)
