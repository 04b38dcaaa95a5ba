"""checksums.py DEVICE ADDRESS: prints `PROTOCOL KIND right` for each packet from ADDRESS that
DEVICE receives, or `wrong` where a checksum is; KIND is type/code of ICMP or what TCP's flags say.
Begins with `ready`; goes on until it is stopped."""

import socket
import struct
import sys

import frames

NAMES = {frames.ICMP: "icmp", frames.ICMPV6: "icmpv6", frames.TCP: "tcp", frames.UDP: "udp"}
RST = 0x04


def header_length(packet):
    return 40 if frames.version(packet) == 6 else (packet[0] & 15) * 4


def fields(packet):
    """Source, destination, protocol and what follows the header; the director's answers have no
    extension headers."""
    kind, at, protocol = (
        (socket.AF_INET6, 8, packet[6])
        if frames.version(packet) == 6
        else (socket.AF_INET, 12, packet[9])
    )
    size = 16 if kind == socket.AF_INET6 else 4
    source, destination = (socket.inet_ntop(kind, packet[i : i + size]) for i in (at, at + size))
    total = (
        40 + struct.unpack("!H", packet[4:6])[0]
        if kind == socket.AF_INET6
        else struct.unpack("!H", packet[2:4])[0]
    )
    return source, destination, protocol, packet[header_length(packet) : total]


def kind_of(protocol, segment):
    if protocol in (frames.ICMP, frames.ICMPV6):
        return "%d/%d" % (segment[0], segment[1])
    return "rst" if protocol == frames.TCP and segment[13] & RST else "-"


def is_right(packet, source, destination, protocol, segment):
    if frames.version(packet) == 4 and frames.checksum(packet[: header_length(packet)]):
        return False
    # A sum over data with the right checksum in it is 0.
    return (
        frames.checksum(
            segment
            if protocol == frames.ICMP
            else frames.pseudo_header_and(source, destination, protocol, segment)
        )
        == 0
    )


def main(device, address):
    ethertype = frames.IPV6 if frames.family(address) == 6 else frames.IPV4
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype))
    link.bind((device, ethertype))
    print("ready", flush=True)
    while True:
        packet = link.recv(65535)
        source, destination, protocol, segment = fields(packet)
        if source == address:
            verdict = (
                "right" if is_right(packet, source, destination, protocol, segment) else "wrong"
            )
            print(NAMES.get(protocol, protocol), kind_of(protocol, segment), verdict, flush=True)


main(sys.argv[1], sys.argv[2])
