"""arp.py DEVICE OWN ADDRESS: asks three times on DEVICE who has ADDRESS, as the host with the address OWN, and prints the
hardware address of each host that answers; nothing where nobody does.

A probe as of RFC 5227, from 0.0.0.0, would not do: the kernel answers it for its own addresses only, not as a proxy."""

import socket
import struct
import sys
import time

device = sys.argv[1]
sender, address = (socket.inet_aton(text) for text in sys.argv[2:4])
REQUEST, REPLY, ARP = 1, 2, 0x0806
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
link.bind((device, ARP))
own = link.getsockname()[4]
body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, REQUEST) + own + sender + bytes(6) + address
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
        kind, hardware, owner = struct.unpack("!H6s4s", frame[20:32])
        if kind == REPLY and owner == address:
            answers.add(hardware.hex(":"))
print(*sorted(answers), sep="\n", end="\n" if answers else "")
