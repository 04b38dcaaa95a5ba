"""claim.py DEVICE ADDRESS N [after]: announces N times on DEVICE that this host has ADDRESS, by ARP
or by neighbour discovery. With `after` it prints `ready` and waits for another host's announcement
first."""

import socket
import struct
import sys

import frames

device, address, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
ARP, REQUEST, ADVERTISEMENT, TARGET_LINK, OVERRIDE = 0x0806, 1, 136, 2, 1 << 29
ALL_FRAMES = 3


def arp():
    packed = frames.packed(address)
    body = struct.pack("!HHBBH", 1, frames.IPV4, 6, 4, REQUEST) + own + packed + bytes(6) + packed
    return b"\xff" * 6 + own + struct.pack("!H", ARP) + body


def advertisement():
    """Unsolicited, to all nodes (RFC 4861 section 7.2.6)."""
    target = frames.packed(address) + bytes([TARGET_LINK, 1]) + own
    packet = frames.icmp(address, "ff02::1", ADVERTISEMENT, 0, OVERRIDE, target, hop_limit=255)
    return b"\x33\x33\x00\x00\x00\x01" + own + struct.pack("!H", frames.IPV6) + packet


def announces(frame):
    """Whether a frame says that its sender has the address: ARP's sender address, or the target of
    an advertisement."""
    packed = frames.packed(address)
    if frames.family(address) == 4:
        return frame[12:14] == struct.pack("!H", ARP) and frame[28:32] == packed
    return frame[54:55] == bytes([ADVERTISEMENT]) and frame[62:78] == packed


link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
waits = "after" in sys.argv
link.bind((device, ALL_FRAMES if waits else 0))
own = link.getsockname()[4]
frame = arp() if frames.family(address) == 4 else advertisement()
if waits:
    print("ready", flush=True)
    while not announces(link.recv(2048)):
        pass
for _ in range(times):
    link.send(frame)
