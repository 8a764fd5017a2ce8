"""Requests in flight on one socket, answered in their order."""
import re
import socket
from collections import deque

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Pipeline:
    """`judge(status, body, *about)` of the subclass hears of every answer, with what was said about its request."""

    def connect(self, port):
        self.flying, self.incoming, self.outgoing = deque(), bytearray(), bytearray()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def send(self, request, *about):
        self.outgoing += request
        self.flying.append(about)

    def write(self):
        while self.outgoing:
            try:
                del self.outgoing[:self.socket.send(memoryview(self.outgoing)[:1 << 18].tobytes())]
            except BlockingIOError:
                return

    def read(self):
        """Takes what has come, and has every whole answer judged."""
        try:
            received = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not received:
            raise OSError("the server closed the connection")
        self.incoming += received
        while self.flying:
            end = self.incoming.find(b"\r\n\r\n")
            if end < 0:
                return
            length = LENGTH.search(self.incoming, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.incoming) < whole:
                return
            status, body = int(self.incoming[9:12]), bytes(self.incoming[end + 4:whole])
            del self.incoming[:whole]
            self.judge(status, body, *self.flying.popleft())
