"""claimed_path.py CLIENT VIP FORGER DIRECTOR REAL MTU: a client that forges the path MTU to its
server. It sends a datagram to port 9000 of the VIP, waits for the answer, and sends the director
errors of that MTU in the name of FORGER: some quote the datagram in its tunnel, and some guess a
probe of the director."""

import random
import socket
import sys

import frames

CLAIMS = 50

client, vip, forger, director, real, mtu = *sys.argv[1:6], int(sys.argv[6])
flow = socket.socket(frames.address_family(vip), socket.SOCK_DGRAM)
flow.settimeout(10)
flow.bind((client, 0))
flow.connect((vip, 9000))
flow.send(bytes(1000))
flow.recv(2000)
port = flow.getsockname()[1]
genuine = frames.udp(client, port, vip, 9000, bytes(1000))
REPLY = {4: 0, 6: 129}[frames.family(vip)]
for _ in range(CLAIMS):
    guess = frames.icmp(client, vip, REPLY, 0, random.getrandbits(32), bytes(1000))
    for quoted in genuine, guess:
        quote = frames.tunnelled(director, real, quoted)[:500]
        frames.send(frames.too_big(forger, director, mtu, quote))
print("sent")
