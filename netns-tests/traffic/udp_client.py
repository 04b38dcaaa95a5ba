"""udp_client.py ADDRESS PORT FLOWS DATAGRAMS [LENGTH]: sends DATAGRAMS on each of FLOWS sockets, a
flow at a time and without waiting in between. LENGTH may be a range, such as 18-120: the lengths
differ from datagram to datagram. Prints `COUNT NAME` for each server that
answered, then `answers N`.

A flow answered by two servers is an error: one connection has one real server.
"""

import collections
import socket
import sys

import frames

address, port, flows, datagrams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
least, _, most = (sys.argv[5] if len(sys.argv) > 5 else "100").partition("-")
least, spread = int(least), int(most or least) - int(least) + 1
servers, answers = collections.Counter(), 0
# Open until the end: a port that is free again may be another flow's.
clients = [socket.socket(frames.address_family(address), socket.SOCK_DGRAM) for _ in range(flows)]
for flow, client in enumerate(clients):
    client.settimeout(20)
    client.connect((address, port))
    sent = [b"%d-%d" % (flow, i) for i in range(datagrams)]
    for number, tag in enumerate(sent):
        client.send(tag.ljust(least + 37 * number % spread, b"."))
    missing, names = set(sent), set()
    while missing:
        try:
            name, _, tag = client.recv(65535).partition(b" ")
        except TimeoutError:
            sys.exit(f"flow {flow}: no answer to {len(missing)} of {datagrams} datagrams")
        names.add(name.decode())
        missing.discard(tag.rstrip(b"."))
        answers += 1
    if len(names) != 1:
        sys.exit(f"flow {flow}: answered by {sorted(names)}")
    servers.update(names)
for name, count in sorted(servers.items()):
    print(count, name)
print("answers", answers)
