"""hostile_http.py ADDRESS PORT CLIENTS: so many clients of an HTTP server that misbehave: silent
ones, ones that send a head byte by byte, ones that send hundreds of requests, some of them to
another host, and read no answer, ones with heads and bodies that never end. Says `held`, and
goes on until its input ends."""

import select
import socket
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
GET = b"GET /api/v1/list HTTP/1.1\r\nHost: localhost\r\n\r\n"
KINDS = [
    ("silent", b""),
    ("slow", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: "),
    ("pipelined", GET * 500),
    ("a head without end", b"GET / HTTP/1.1\r\nX: " + b"x" * (1 << 20)),
    ("a body without end", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"),
    ("another protocol", bytes(range(256)) * 16),
    ("another host", GET.replace(b"localhost", b"rebound.example") * 500),
    ("headers without end", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100_000),
]


def opened(number):
    peer = socket.socket()
    peer.settimeout(10)
    try:
        peer.connect((address, port))
        peer.setblocking(False)
        peer.send(KINDS[number % len(KINDS)][1])
    except OSError:  # a closed or full connection is an answer too
        pass
    return peer


peers = [opened(number) for number in range(count)]
print("held", flush=True)
while True:
    ready, _, _ = select.select([sys.stdin], [], [], 0.5)
    if ready:
        break
    for number, peer in enumerate(peers):
        if KINDS[number % len(KINDS)][0] in ("slow", "a body without end"):
            try:
                peer.send(b"y")
            except OSError:
                peer.close()
                peers[number] = opened(number)
