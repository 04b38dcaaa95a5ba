"""gue.py SOURCE REAL lone HEX...: sends each payload to REAL's GUE port, from a port of a director.

gue.py SOURCE REAL unsummed HEX...: the same, with a UDP checksum of zero.

gue.py SOURCE REAL merged CLIENT VIP PORT COUNT: sends COUNT segments of a stream from CLIENT to VIP
and between them as many UDP datagrams, padded to one length, in GUE by one call (UDP_SEGMENT)."""

import socket
import struct
import sys

import frames

GUE, SOURCE_PORT = 6080, 61440
UDP_SEGMENT = 103
ACK = 0x10


def payload(packet, length=0):
    """GUE variant 0 and the packet, padded with zeros."""
    header = bytes([0, frames.ENCAPSULATED[frames.version(packet)], 0, 0])
    return (header + packet).ljust(length, b"\0")


def stream(client, vip, port, count):
    for i in range(count):
        data = bytes([i % 256]) * 1000
        place = {"sequence": 1000 + i * 1000, "acknowledgement": 1}
        yield payload(frames.tcp(client, 40000, vip, port, ACK, data=data, **place))
        yield payload(frames.udp(client, 40000, vip, port, b"%d" % i))


source, real, what = sys.argv[1:4]
if what == "unsummed":
    raw = socket.socket(frames.address_family(real), socket.SOCK_RAW, socket.IPPROTO_RAW)
    for inside in map(bytes.fromhex, sys.argv[4:]):
        header = struct.pack("!HHHH", SOURCE_PORT, GUE, 8 + len(inside), 0)
        raw.sendto(frames.ip(source, real, frames.UDP, header + inside), (real, 0))
    sys.exit()
end = socket.socket(frames.address_family(real), socket.SOCK_DGRAM)
end.bind((source, SOURCE_PORT))
if what == "lone":
    for text in sys.argv[4:]:
        end.sendto(bytes.fromhex(text), (real, GUE))
else:
    client, vip, port, count = sys.argv[4], sys.argv[5], int(sys.argv[6]), int(sys.argv[7])
    payloads = list(stream(client, vip, port, count))
    length = max(map(len, payloads))
    end.setsockopt(socket.SOL_UDP, UDP_SEGMENT, length)
    end.sendto(b"".join(one.ljust(length, b"\0") for one in payloads), (real, GUE))
