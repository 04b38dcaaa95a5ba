"""liars.py VIP: broken servers at the VIP, and ones that send false answers, each at its own port
(PORTS)."""

import socket
import socketserver
import struct
import sys
import threading
import time

import frames

HEAD = b"HTTP/1.1 200 OK\r\n"


def ask(peer):
    peer.recv(4096)


def wrong_body(peer):
    ask(peer)
    peer.sendall(HEAD + b"Content-Length: 7\r\n\r\nsorry!\n")


def resets(peer):
    """Says 200 and announces a body, then resets."""
    ask(peer)
    peer.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def too_long(peer):
    """Announces more than it sends."""
    ask(peer)
    peer.sendall(HEAD + b"Content-Length: 1000\r\n\r\nnot it")


def too_short(peer):
    """Sends more than it announces: the rest is none of the body."""
    ask(peer)
    peer.sendall(HEAD + b"Content-Length: 3\r\n\r\nnot well")


def mute(peer):
    """Takes the request and never answers."""
    while peer.recv(4096):
        pass


def drips(peer):
    """One byte a second."""
    ask(peer)
    for byte in HEAD + b"Content-Length: 4\r\n\r\nwell":
        peer.sendall(bytes([byte]))
        time.sleep(1)


def endless(peer):
    """A body without end, as fast as it is taken."""
    ask(peer)
    peer.sendall(HEAD + b"\r\n")
    while True:
        peer.sendall(b"never " * 10_000)


def endless_head(peer):
    """Headers without end."""
    ask(peer)
    peer.sendall(HEAD)
    while True:
        peer.sendall(b"X-More: and more\r\n" * 1_000)


def closes(peer):
    ask(peer)


def other_protocol(peer):
    """Greets like SSH."""
    peer.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    ask(peer)


def slow(peer):
    """Answers late, within the timeout."""
    ask(peer)
    time.sleep(0.3)
    peer.sendall(HEAD + b"Content-Length: 4\r\n\r\nwell")


turns = iter(range(1 << 30))


def flaps(peer):
    """Every other answer is an error."""
    ask(peer)
    status = b"200 OK" if next(turns) % 2 else b"503 Busy"
    peer.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nwell")


PORTS = {
    9101: wrong_body,
    9102: resets,
    9103: too_long,
    9104: too_short,
    9105: mute,
    9106: drips,
    9107: endless,
    9108: endless_head,
    9109: closes,
    9110: other_protocol,
    9111: slow,
    9112: flaps,
}


def serve(behave):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                behave(self.request)
            except OSError:  # the probe is over
                pass

    class Server(socketserver.ThreadingTCPServer):
        address_family = frames.address_family(sys.argv[1])
        allow_reuse_address = daemon_threads = True

        def shutdown_request(self, request):
            request.close()

    return Server, Handler


for port, behave in PORTS.items():
    Server, Handler = serve(behave)
    server = Server((sys.argv[1], port), Handler)
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
