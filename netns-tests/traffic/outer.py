"""outer.py DEVICE: prints the outer header and some inner fields of each tunnelled TCP or UDP
packet that DEVICE receives, GUE included, as a line of JSON. Begins with `ready`; runs until it is
stopped."""

import json
import socket
import struct
import sys

import frames

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
GUE_PORT = (6080).to_bytes(2)
GUE_HEADERS = 12  # UDP's and GUE's


def header(packet):
    """The fields of an IP header without options or extension headers, and what follows it."""
    if frames.version(packet) == 6:
        first, length, protocol, hop_limit = struct.unpack("!IHBB", packet[:8])
        fields = {"class": first >> 20 & 0xFF, "flow_label": first & 0xFFFFF}
        kind, addresses, inside = socket.AF_INET6, packet[8:40], packet[40 : 40 + length]
    else:
        _, traffic_class, length, identification, fragment, hop_limit, protocol = struct.unpack(
            "!BBHHHBB", packet[:10]
        )
        fields = {
            "class": traffic_class,
            "identification": identification,
            "dont_fragment": bool(fragment & 0x4000),
        }
        kind, addresses, inside = socket.AF_INET, packet[12:20], packet[20:length]
    half = len(addresses) // 2
    source, destination = (
        socket.inet_ntop(kind, address) for address in (addresses[:half], addresses[half:])
    )
    fields.update(
        version=frames.version(packet),
        protocol=protocol,
        hop_limit=hop_limit,
        source=source,
        destination=destination,
    )
    return fields, inside


link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
# Room for all that a test sends, however late this program runs; a user namespace may have no more
# than the system's default.
try:
    link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
except PermissionError:
    pass
link.bind((sys.argv[1], ETH_P_ALL))
print("ready", flush=True)
while True:
    packet, (_, ethertype, direction, *_) = link.recvfrom(65535)
    if ethertype not in (frames.IPV4, frames.IPV6) or direction == socket.PACKET_OUTGOING:
        continue
    outer, inside = header(packet)
    if outer["protocol"] == frames.UDP and inside[2:4] == GUE_PORT:
        outer["source_port"] = int.from_bytes(inside[:2])
        outer["datagram"] = len(inside)
        inside = inside[GUE_HEADERS:]
    elif outer["protocol"] not in frames.ENCAPSULATED.values():
        continue
    inner, segment = header(inside)
    # Others are ICMP errors of the client's kernel about late answers.
    if inner["protocol"] not in (frames.TCP, frames.UDP):
        continue
    ports = struct.unpack("!HH", segment[:4])
    outer.update(
        inner_class=inner["class"],
        inner_protocol=inner["protocol"],
        flow="%s %d" % (inner["protocol"], ports[0]),
    )
    print(json.dumps(outer), flush=True)
