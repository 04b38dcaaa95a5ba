"""strangers.py SOURCE REAL CLIENT DESTINATION RATE [GUE-PORT]: sends tunnelled datagrams from
SOURCE to REAL, RATE a second, until its standard input ends; in GUE to that port."""

import select
import socket
import sys
import time

import frames

source, real, client, destination, rate = sys.argv[1:5] + [int(sys.argv[5])]
inner = frames.udp(client, 40000, destination, 9000, b"stranger")
packet = frames.tunnelled(source, real, inner)
if len(sys.argv) > 6:
    gue = bytes([0, frames.ENCAPSULATED[frames.version(inner)], 0, 0])
    packet = frames.udp(source, 61440, real, int(sys.argv[6]), gue + inner)
kind = socket.AF_INET6 if frames.family(real) == 6 else socket.AF_INET
raw = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
begun, sent = time.monotonic(), 0
while not select.select([sys.stdin], [], [], 0.005)[0]:
    due = (time.monotonic() - begun) * rate
    while sent < due:
        raw.sendto(packet, (real, 0))
        sent += 1
print(sent)
