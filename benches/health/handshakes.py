"""handshakes.py VIP SERVICES EACH: as many connections to each service's port, from raw packets of
the client alone: a SYN, the handshake's end, a request, and the acknowledgement of its response.
The real servers need not exist."""

import errno
import random
import socket
import struct
import sys
import time

SOURCE = "10.1.0.1"
# Packets between two pauses, so that the TUN's queue of 500 suffices.
BURST, PAUSE = 200, 0.01
SYN, ACK, PUSH = 0x02, 0x10, 0x08


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def segment(addresses, port, to, sequence, acknowledged, flags, data=b""):
    """A TCP segment with its checksum."""
    head = struct.pack("!HHIIBB", port, to, sequence, acknowledged, 5 << 4, flags)
    window, urgent = struct.pack("!H", 65_535), b"\0\0"
    length = len(head) + 6 + len(data)
    pseudo = addresses + struct.pack("!BBH", 0, socket.IPPROTO_TCP, length)
    total = checksum(pseudo + head + window + b"\0\0" + urgent + data)
    return head + window + struct.pack("!H", total) + urgent + data


def send(client, segment, vip):
    while True:
        try:
            client.sendto(segment, (vip, 0))
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            time.sleep(PAUSE)


def main(vip, services, each):
    client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    client.bind((SOURCE, 0))
    addresses = socket.inet_aton(SOURCE) + socket.inet_aton(vip)
    ports = range(1000, 1000 + services)
    sent, own = 0, random.randrange(10_000, 60_000 - each)
    steps = [(1, 0, SYN, b""), (2, 1, ACK, b""), (2, 1, ACK | PUSH, b"request!"), (10, 9, ACK, b"")]
    for to in ports:
        for port in range(own, own + each):
            for step in steps:
                send(client, segment(addresses, port, to, *step), vip)
                sent += 1
                if sent % BURST == 0:
                    time.sleep(PAUSE)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
