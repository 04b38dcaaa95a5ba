"""captured.py DEVICE: prints each IPv4 packet of GRE or of UDP to GUE's port that DEVICE receives,
in hexadecimal. Begins with `ready`; runs until it is stopped.

captured.py compare FILE NAME HEX: whether this packet is the one of that name in FILE, whose lines
are `NAME HEX`, but for what differs from packet to packet: outer identification, UDP source port,
and the checksums, which must be right in both or zero in both."""

import socket
import struct
import sys

import frames

GRE, GUE_PORT = 47, 6080


def constant(packet):
    """The packet without what differs from packet to packet."""
    packet = bytearray(packet)
    assert frames.checksum(bytes(packet[:20])) == 0, "the outer header's checksum"
    packet[4:6] = packet[10:12] = b"\0\0"
    if packet[9] == frames.UDP:
        if packet[26:28] != b"\0\0":
            pseudo = packet[12:20] + struct.pack("!HH", frames.UDP, len(packet) - 20)
            assert frames.checksum(bytes(pseudo + packet[20:])) == 0, "the UDP checksum"
            packet[26:28] = b"\xff\xff"
        packet[20:22] = b"\0\0"
    return bytes(packet)


def is_tunnelled(packet):
    return packet[9] == GRE or packet[9] == frames.UDP and packet[22:24] == GUE_PORT.to_bytes(2)


if sys.argv[1] == "compare":
    path, name, text = sys.argv[2:]
    with open(path) as file:
        known = dict(line.split() for line in file if line.strip() and line[0] != "#")
    ours, theirs = constant(bytes.fromhex(known[name])), constant(bytes.fromhex(text))
    sys.exit(ours != theirs and f"{name}:\nhere  {ours.hex()}\nthere {theirs.hex()}")

link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(frames.IPV4))
link.bind((sys.argv[1], frames.IPV4))
print("ready", flush=True)
while True:
    packet, (_, _, direction, *_) = link.recvfrom(65535)
    if direction != socket.PACKET_OUTGOING and is_tunnelled(packet):
        print(packet[: int.from_bytes(packet[2:4])].hex(), flush=True)
