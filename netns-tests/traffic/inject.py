"""inject.py DEVICE MAC whole|unfinished HEX...: sends these IP packets as frames from DEVICE to
that MAC address. `unfinished`: of TCP without IP options, whose checksum is left to a network card,
as in packets of a container."""

import socket
import struct
import sys

import frames

SOL_PACKET, PACKET_VNET_HDR = 263, 15  # linux/if_packet.h
NEEDS_CSUM = 1  # linux/virtio_net.h
ETHERNET, TCP_CHECKSUM = 14, 16


def unfinished(packet):
    """The packet with the pseudo-header's sum in the checksum field, and where TCP begins."""
    at = 40 if frames.version(packet) == 6 else 20
    addresses = packet[8:40] if at == 40 else packet[12:20]
    pseudo = addresses + struct.pack("!HH", frames.TCP, len(packet) - at)
    sum_of_it = ~frames.checksum(pseudo) & 0xFFFF
    field = at + TCP_CHECKSUM
    return packet[:field] + struct.pack("!H", sum_of_it) + packet[field + 2 :], at


device, mac, how, *packets = sys.argv[1:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
wire.bind((device, 0))
for packet in map(bytes.fromhex, packets):
    kind = frames.IPV6 if frames.version(packet) == 6 else frames.IPV4
    about = bytes(10)
    if how == "unfinished":
        packet, at = unfinished(packet)
        about = struct.pack("=BBHHHH", NEEDS_CSUM, 0, 0, 0, ETHERNET + at, TCP_CHECKSUM)
    ethernet = bytes.fromhex(mac.replace(":", "")) + wire.getsockname()[4]
    wire.send(about + ethernet + struct.pack("!H", kind) + packet)
