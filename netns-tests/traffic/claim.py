"""claim.py DEVICE ADDRESS N: announces N times on DEVICE that this host has ADDRESS, by ARP or by
neighbour discovery."""

import socket
import struct
import sys

import frames

device, address, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
ARP, REQUEST, ADVERTISEMENT, TARGET_LINK, OVERRIDE = 0x0806, 1, 136, 2, 1 << 29


def arp():
    packed = frames.packed(address)
    body = struct.pack("!HHBBH", 1, frames.IPV4, 6, 4, REQUEST) + own + packed + bytes(6) + packed
    return b"\xff" * 6 + own + struct.pack("!H", ARP) + body


def advertisement():
    """Unsolicited, to all nodes (RFC 4861 section 7.2.6)."""
    target = frames.packed(address) + bytes([TARGET_LINK, 1]) + own
    packet = frames.icmp(address, "ff02::1", ADVERTISEMENT, 0, OVERRIDE, target, hop_limit=255)
    return b"\x33\x33\x00\x00\x00\x01" + own + struct.pack("!H", frames.IPV6) + packet


link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((device, 0))
own = link.getsockname()[4]
frame = arp() if frames.family(address) == 4 else advertisement()
for _ in range(times):
    link.send(frame)
