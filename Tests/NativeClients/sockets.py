"""Requests that no well-behaved client sends; exits 0 when the server answers as it should.

sockets.py truncated HOST:PORT METHOD PATH USER:PASSWORD FILE [CONTENT-TYPE]   declares FILE's length, sends half of it, hangs up: no 2xx
sockets.py early HOST:PORT METHOD PATH                                        sends the head of a huge body: 401 before any of it
"""
import base64
import socket
import sys


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def head(method, path, address, length, *fields):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", f"Content-Length: {length}", *fields]
    return "".join(line + "\r\n" for line in [*lines, ""]).encode()


def truncated(address, method, path, credentials, file, content_type="application/octet-stream"):
    with open(file, "rb") as f:
        body = f.read()
    basic = base64.b64encode(credentials.encode()).decode()
    with connect(address) as s:
        s.sendall(head(method, path, address, len(body), f"Authorization: Basic {basic}", f"Content-Type: {content_type}"))
        s.sendall(body[: len(body) // 2])
        s.shutdown(socket.SHUT_WR)
        try:
            return not s.recv(4096).startswith(b"HTTP/1.1 2")
        except ConnectionError:
            return True


def early(address, method, path):
    with connect(address) as s:
        s.sendall(head(method, path, address, 10_000_000_000))
        return s.recv(4096).startswith(b"HTTP/1.1 401")


sys.exit(0 if {"truncated": truncated, "early": early}[sys.argv[1]](*sys.argv[2:]) else 1)
