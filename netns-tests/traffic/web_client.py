"""A persistent connection to a web server, for the other scripts in this folder. http.client takes
five times as long for a request, too long for thousands of connections in turn."""

import re
import socket
import struct

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection:
    """Opens it. The timeout of each answer in seconds is the kernel's: Python's would ask poll(2)
    before each call."""

    def __init__(self, address, port, timeout=30):
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", timeout, 0))

    def ask(self):
        """The body of `/`: the server's name. An OSError where the connection was reset, closed or
        is silent."""
        self.send()
        return self.answer()

    def send(self):
        """Sends a request only."""
        self.socket.sendall(REQUEST)

    def answer(self):
        """The same of a request that has been sent."""
        answer = b""
        while True:
            part = self.socket.recv(65536)
            if not part:
                raise ConnectionError("closed by the server")
            answer += part
            head, complete, body = answer.partition(b"\r\n\r\n")
            if complete and len(body) >= int(LENGTH.search(head)[1]):
                return body.decode().strip()

    def close(self):
        self.socket.close()
