"""arp.py DEVICE ADDRESS: asks who has ADDRESS on DEVICE as RFC 5227 section 2.1.1 probes, three times, and prints the
hardware address of each host that answers; nothing where nobody does."""

import socket
import struct
import sys
import time

device, address = sys.argv[1], socket.inet_aton(sys.argv[2])
REQUEST, REPLY, ARP = 1, 2, 0x0806
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
link.bind((device, ARP))
own = link.getsockname()[4]
body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, REQUEST) + own + bytes(4) + bytes(6) + address
answers = set()
for _ in range(3):
    link.send(b"\xff" * 6 + own + struct.pack("!H", ARP) + body)
    end = time.monotonic() + 0.3
    while (left := end - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            frame = link.recv(2048)
        except TimeoutError:
            break
        kind, hardware, sender = struct.unpack("!H6s4s", frame[20:32])
        if kind == REPLY and sender == address:
            answers.add(hardware.hex(":"))
print(*sorted(answers), sep="\n", end="\n" if answers else "")
