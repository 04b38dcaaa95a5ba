"""Sends one UDP datagram that no server takes, and prints who answered with what ICMP error: type
code address.

Usage: offender.py ADDRESS PORT HOPS LENGTH [WAIT-SECONDS]
HOPS: the TTL or hop limit; LENGTH: of the payload. Fragmentation is forbidden."""

import socket
import struct
import sys

address, port, hops, length = sys.argv[1], *map(int, sys.argv[2:5])
wait = float(sys.argv[5]) if len(sys.argv) > 5 else 30
family = socket.AF_INET6 if ":" in address else socket.AF_INET
RECVERR, MTU_DISCOVER, PROBE = (25, 23, 3) if family == socket.AF_INET6 else (11, 10, 3)
level = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IP
HOPS = socket.IPV6_UNICAST_HOPS if family == socket.AF_INET6 else socket.IP_TTL

sock = socket.socket(family, socket.SOCK_DGRAM)
sock.setsockopt(level, RECVERR, 1)
sock.setsockopt(level, MTU_DISCOVER, PROBE)  # Forbidden, whatever path MTU is known.
sock.setsockopt(level, HOPS, hops)
sock.settimeout(wait)
sock.sendto(b"x" * length, (address, port))
try:
    sock.recv(1)
except TimeoutError:
    sys.exit("no error has come")
except OSError:
    pass
_, control, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
# struct sock_extended_err of ip(7), then the offender's socket address.
data = control[0][2]
kind, code = data[5], data[6]
offender = data[16:]
found = offender[8:24] if family == socket.AF_INET6 else offender[4:8]
print(kind, code, socket.inet_ntop(family, found))
