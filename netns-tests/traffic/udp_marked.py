"""udp_marked.py ADDRESS PORT CLASS...: sends a datagram of each traffic class, all of one flow, and
waits for no answer."""

import socket
import sys

import frames

address, port = sys.argv[1], int(sys.argv[2])
client = socket.socket(frames.address_family(address), socket.SOCK_DGRAM)
client.connect((address, port))
option = (
    (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    if frames.family(address) == 6
    else (socket.IPPROTO_IP, socket.IP_TOS)
)
for traffic_class in map(int, sys.argv[3:]):
    client.setsockopt(*option, traffic_class)
    client.send(b"datagram")
