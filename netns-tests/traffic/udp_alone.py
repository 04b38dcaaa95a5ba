"""udp_alone.py ADDRESS PORT DATAGRAMS: sends DATAGRAMS from one socket, each after the answer to
the previous one, and prints `COUNT NAME` for each server that answered."""

import collections
import socket
import sys

import frames

address, port, datagrams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
servers = collections.Counter()
with socket.socket(frames.address_family(address), socket.SOCK_DGRAM) as client:
    client.settimeout(20)
    client.connect((address, port))
    for number in range(datagrams):
        client.send(b"%d" % number)
        name, _, tag = client.recv(65535).partition(b" ")
        if tag != b"%d" % number:
            sys.exit(f"datagram {number} was answered with {tag}")
        servers[name.decode()] += 1
for name, count in sorted(servers.items()):
    print(count, name)
