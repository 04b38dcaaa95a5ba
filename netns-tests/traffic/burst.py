"""burst.py SOURCE REAL CLIENT DESTINATION N: sends one tunnelled datagram of 1,000 bytes N times,
as fast as it can, from SOURCE to REAL; inside it is the client's to DESTINATION:9000."""

import socket
import sys

import frames

source, real, client, destination, n = sys.argv[1:5] + [int(sys.argv[5])]
inner = frames.udp(client, 40000, destination, 9000, b"." * 1000)
packet = frames.tunnelled(source, real, inner)
kind = socket.AF_INET6 if frames.family(real) == 6 else socket.AF_INET
raw = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _ in range(n):
    raw.sendto(packet, (real, 0))
