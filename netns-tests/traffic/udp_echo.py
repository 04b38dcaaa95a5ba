"""udp_echo.py NAME ADDRESS PORT [gro]: answers each datagram with `NAME datagram`, from ADDRESS.

With `gro` the socket takes merged datagrams (UDP_GRO), and each merged one is reported on standard
output. So is one that starts with "unfinished".
"""

import socket
import sys

import frames

UDP_GRO = 104  # linux/udp.h

name, address, port = sys.argv[1].encode(), sys.argv[2], int(sys.argv[3])
server = socket.socket(frames.address_family(address), socket.SOCK_DGRAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
server.bind((address, port))
if "gro" in sys.argv:
    server.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
print("ready", flush=True)
while True:
    data, ancillary, _, client = server.recvmsg(65535, 64)
    if any(kind == UDP_GRO for _, kind, _ in ancillary):
        print("merged", len(data), flush=True)
    if data.startswith(b"unfinished"):
        print("unfinished", flush=True)
    server.sendto(name + b" " + data[:64], client)
