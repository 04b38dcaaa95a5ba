"""Packets made by hand: headers with right checksums, for the scripts beside this one."""

import socket
import struct


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload, identification=0, dont_fragment=True):
    fields = (0x45, 0, 20 + len(payload), identification, 0x4000 if dont_fragment else 0, 64, protocol)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBB", *fields)
    return head + struct.pack("!H", checksum(head + b"\0\0" + addresses)) + addresses + payload


def with_checksum(source, destination, protocol, segment, at):
    """The TCP or UDP segment with its checksum, at byte `at`, filled in."""
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", protocol, len(segment))
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def udp(source, source_port, destination, port, data, **header):
    segment = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    return ipv4(source, destination, 17, with_checksum(source, destination, 17, segment, 6), **header)


def tcp(source, source_port, destination, port, flags, sequence=1000, acknowledgement=0, data=b""):
    fields = (source_port, port, sequence, acknowledgement, 5 << 4, flags, 65535, 0, 0)
    segment = struct.pack("!HHIIBBHHH", *fields) + data
    return ipv4(source, destination, 6, with_checksum(source, destination, 6, segment, 16))


def icmp(source, destination, kind, code, rest, body):
    message = struct.pack("!BBHI", kind, code, 0, rest) + body
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ipv4(source, destination, 1, message)


def raw_socket():
    """Sends whole IPv4 packets; the kernel fills in total length and header checksum."""
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
