"""liars.py VIP ADDRESS: broken servers at the VIP, and ones that send false answers, each at its
own port (PORTS, DATAGRAM_PORTS), and an agent at the address that talks nonsense (AGENT_PORT)."""

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


def smuggles(peer):
    """A second answer behind the first."""
    ask(peer)
    peer.sendall(HEAD + b"Content-Length: 4\r\n\r\nsick" + HEAD + b"Content-Length: 4\r\n\r\nwell")


def interim(peer):
    """Interim answers without end."""
    ask(peer)
    while True:
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)


def frame(kind, flags, stream, payload=b""):
    """A frame of HTTP/2 (RFC 9113 4.1)."""
    return struct.pack("!HBBBI", 0, len(payload), kind, flags, stream) + payload


def not_serving(peer):
    """gRPC: the status NOT_SERVING, and the end of the connection."""
    ask(peer)
    answer = frame(1, 4, 1, b"\x88") + frame(0, 0, 1, b"\0\0\0\0\x02\x08\x02")
    status = frame(1, 5, 1, b"\0\x0bgrpc-status\x010")
    peer.sendall(frame(4, 0, 0) + answer + status + frame(7, 0, 0, bytes(8)))
    peer.shutdown(socket.SHUT_WR)
    while peer.recv(4096):
        pass


def nonsense(peer):
    """A report of load in a state that there is not."""
    ask(peer)
    peer.sendall(b'{"state": "sideways"}\n')


def dns_answer(query, identifier):
    """www.example is 192.0.2.80 (RFC 1035 4.1)."""
    header = identifier + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton("192.0.2.80")
    return header + query[12:] + record


def another_question(query):
    return dns_answer(query.replace(b"\3www", b"\3ftp"), query[:2])


def another_identifier(query):
    return dns_answer(query, bytes([query[0] ^ 1, query[1]]))


AGENT_PORT = 9181
DATAGRAM_PORTS = {9120: another_question, 9121: another_identifier}
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
    9113: smuggles,
    9114: interim,
    9115: not_serving,
}


def serve(address, behave):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                behave(self.request)
            except OSError:  # the probe is over
                pass

    class Server(socketserver.ThreadingTCPServer):
        address_family = frames.address_family(address)
        allow_reuse_address = daemon_threads = True

        def shutdown_request(self, request):
            request.close()

    return Server, Handler


def answer_datagrams(port, answer):
    with socket.socket(frames.address_family(sys.argv[1]), socket.SOCK_DGRAM) as server:
        server.bind((sys.argv[1], port))
        while True:
            query, client = server.recvfrom(4096)
            server.sendto(answer(query), client)


places = [(sys.argv[1], port, behave) for port, behave in PORTS.items()]
for address, port, behave in [*places, (sys.argv[2], AGENT_PORT, nonsense)]:
    Server, Handler = serve(address, behave)
    server = Server((address, port), Handler)
    threading.Thread(target=server.serve_forever).start()
for place in DATAGRAM_PORTS.items():
    threading.Thread(target=answer_datagrams, args=place).start()
print("ready", flush=True)
