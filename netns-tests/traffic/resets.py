"""resets.py DEVICE VIP: prints a line for each TCP reset that DEVICE sees of a connection with VIP:
its sender, `vip` or `client`, `right` or `wrong`, and the client's port. It is right if its
sequence number is the next one that the receiver expects. For the VIP that is the number that the
client's last segment acknowledged, for the client the end of its last segment. Begins with `ready`;
goes on until it is stopped."""

import socket
import struct
import sys

import frames

ETH_P_ALL = 3
FIN, SYN, RST = 0x01, 0x02, 0x04


def parts(packet):
    """Source, destination and segment of an IP packet without options or extension headers; None:
    not TCP."""
    if frames.version(packet) == 6:
        length, protocol = struct.unpack("!HB", packet[4:7])
        source, destination, segment = packet[8:24], packet[24:40], packet[40 : 40 + length]
    else:
        (length,), protocol = struct.unpack("!H", packet[2:4]), packet[9]
        source, destination, segment = packet[12:16], packet[16:20], packet[20:length]
    return (source, destination, segment) if protocol == frames.TCP else None


device, vip = sys.argv[1], frames.packed(sys.argv[2])
link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
link.bind((device, ETH_P_ALL))
print("ready", flush=True)
last = {}  # of each client's port: where its last segment ended, and what that acknowledged
while True:
    packet, (_, ethertype, *_) = link.recvfrom(65535)
    if (
        ethertype not in (frames.IPV4, frames.IPV6)
        or not (found := parts(packet))
        or vip not in found[:2]
    ):
        continue
    source, _, segment = found
    source_port, port, sequence, acknowledgement, offset, flags = struct.unpack(
        "!HHIIBB", segment[:14]
    )
    if source == vip:
        if flags & RST and port in last:
            print("vip", "right" if sequence == last[port][1] else "wrong", port, flush=True)
    elif flags & RST:
        if source_port in last:
            right = "right" if sequence == last[source_port][0] else "wrong"
            print("client", right, source_port, flush=True)
    else:
        length = len(segment) - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        last[source_port] = (sequence + length) & 0xFFFFFFFF, acknowledgement
