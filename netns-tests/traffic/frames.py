"""Builds packets of both families, headers with valid checksums, for the other scripts in this
folder. The family of a packet follows from its addresses."""

import socket
import struct

IPV4, IPV6 = 0x0800, 0x86DD  # EtherTypes
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
ENCAPSULATED = {4: 4, 6: 41}  # the protocol that a tunnelled packet is, by its family


def family(address):
    """4 or 6."""
    return 6 if ":" in address else 4


def address_family(address):
    return socket.AF_INET6 if family(address) == 6 else socket.AF_INET


def packed(address):
    return socket.inet_pton(address_family(address), address)


def version(packet):
    return packet[0] >> 4


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    source,
    destination,
    protocol,
    payload,
    traffic_class=0,
    hop_limit=64,
    identification=0,
    dont_fragment=True,
):
    total = 20 + len(payload)
    fields = (
        0x45,
        traffic_class,
        total,
        identification,
        0x4000 if dont_fragment else 0,
        hop_limit,
        protocol,
    )
    head = struct.pack("!BBHHHBB", *fields)
    addresses = packed(source) + packed(destination)
    return head + struct.pack("!H", checksum(head + b"\0\0" + addresses)) + addresses + payload


def ipv6(source, destination, protocol, payload, traffic_class=0, hop_limit=64, flow_label=0):
    """`payload` begins with the extension headers, if any, and `protocol` names the first of
    them."""
    first = 6 << 28 | traffic_class << 20 | flow_label
    head = struct.pack("!IHBB", first, len(payload), protocol, hop_limit)
    return head + packed(source) + packed(destination) + payload


def ip(source, destination, protocol, payload, **header):
    return (ipv6 if family(source) == 6 else ipv4)(source, destination, protocol, payload, **header)


def pseudo_header_and(source, destination, protocol, segment):
    """What the checksum of TCP, UDP and ICMPv6 covers (RFC 9293 section 3.1, RFC 8200 section
    8.1)."""
    return (
        packed(source) + packed(destination) + struct.pack("!II", len(segment), protocol) + segment
    )


def with_checksum(source, destination, protocol, segment, at):
    """The segment with its checksum, at byte `at`, filled in."""
    zeroed = segment[:at] + b"\0\0" + segment[at + 2 :]
    covered = (
        zeroed if protocol == ICMP else pseudo_header_and(source, destination, protocol, zeroed)
    )
    total = checksum(covered)
    if total == 0 and protocol == UDP:  # 0 would say that there is none (RFC 768)
        total = 0xFFFF
    return segment[:at] + struct.pack("!H", total) + segment[at + 2 :]


def udp(source, source_port, destination, port, data, **header):
    segment = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    return ip(
        source, destination, UDP, with_checksum(source, destination, UDP, segment, 6), **header
    )


def udp_unfinished(source, source_port, destination, port, data):
    """A datagram whose checksum field holds the sum of the pseudo-header alone
    (CHECKSUM_PARTIAL)."""
    length = 8 + len(data)
    covered = packed(source) + packed(destination) + struct.pack("!II", length, UDP)
    segment = struct.pack("!HHHH", source_port, port, length, ~checksum(covered) & 0xFFFF) + data
    return ip(source, destination, UDP, segment)


def tcp(source, source_port, destination, port, flags, sequence=1000, acknowledgement=0, data=b""):
    fields = (source_port, port, sequence, acknowledgement, 5 << 4, flags, 65535, 0, 0)
    segment = struct.pack("!HHIIBBHHH", *fields) + data
    return ip(source, destination, TCP, with_checksum(source, destination, TCP, segment, 16))


def icmp(source, destination, kind, code, rest, body, **header):
    """ICMP or ICMPv6, whose types and codes differ."""
    protocol = ICMPV6 if family(source) == 6 else ICMP
    message = struct.pack("!BBHI", kind, code, 0, rest) + body
    return ip(
        source,
        destination,
        protocol,
        with_checksum(source, destination, protocol, message, 2),
        **header
    )


def too_big(source, destination, mtu, quote):
    """Fragmentation needed (RFC 1191) or packet too big (RFC 4443)."""
    kind, code = (2, 0) if family(source) == 6 else (3, 4)
    return icmp(source, destination, kind, code, mtu, quote)


def tunnelled(source, destination, packet, **header):
    return ip(source, destination, ENCAPSULATED[version(packet)], packet, **header)


_senders = {}


def send(packet):
    """Sends a whole packet by the routing table. The kernel fills in total length and checksum of
    an IPv4 header, and nothing of an IPv6 one."""
    kind = socket.AF_INET6 if version(packet) == 6 else socket.AF_INET
    if kind not in _senders:
        _senders[kind] = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
    destination = packet[24:40] if kind == socket.AF_INET6 else packet[16:20]
    _senders[kind].sendto(packet, (socket.inet_ntop(kind, destination), 0))
