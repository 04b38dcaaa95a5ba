"""udp_digest.py NAME ADDRESS PORT: answers each datagram from ADDRESS with `NAME SHA256`, the
digest of its payload."""

import hashlib
import socket
import sys

import frames

name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = socket.socket(frames.address_family(address), socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
server.bind((address, port))
print("ready", flush=True)
while True:
    data, client = server.recvfrom(65535)
    server.sendto(f"{name} {hashlib.sha256(data).hexdigest()}".encode(), client)
