"""udp_refused.py ADDRESS PORT: sends a datagram and prints `refused` where ICMP port unreachable
comes back."""

import socket
import sys

import frames

address, port = sys.argv[1], int(sys.argv[2])
client = socket.socket(frames.address_family(address), socket.SOCK_DGRAM)
client.settimeout(20)
client.connect((address, port))
client.send(b"anybody there")
try:
    client.recv(100)
    print("answered")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("silence")
