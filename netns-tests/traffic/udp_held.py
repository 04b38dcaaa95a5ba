"""udp_held.py ADDRESS PORT FLOWS DATAGRAMS ANSWERS [LENGTH...]: sends a datagram on each of FLOWS
sockets and prints `held` when all are answered. After a line on standard input it sends DATAGRAMS
more on each, in turn and without waiting, of each LENGTH in turn, and prints `sent`; after ANSWERS
answers it prints `COUNT NAME` for each server."""

import collections
import select
import socket
import sys

import frames

address, port, flows, datagrams, wanted = sys.argv[1], *map(int, sys.argv[2:6])
lengths = [int(text) for text in sys.argv[6:]] or [0]
clients = [socket.socket(frames.address_family(address), socket.SOCK_DGRAM) for _ in range(flows)]
for client in clients:
    client.settimeout(20)
    client.connect((address, port))
    client.send(b"first")
    client.recv(100)
print("held", flush=True)
sys.stdin.readline()
for i in range(datagrams):
    for client in clients:
        client.send((b"%d" % i).ljust(lengths[i % len(lengths)], b"."))
print("sent", flush=True)
answers = set()
while len(answers) < wanted:
    ready, _, _ = select.select(clients, [], [], 20)
    if not ready:
        sys.exit(f"{len(answers)} of {wanted} datagrams were answered")
    answers.update((client, client.recv(100)) for client in ready)
servers = collections.Counter(answer.split()[0].decode() for _, answer in answers)
for name, count in sorted(servers.items()):
    print(count, name)
