"""tagged.py DEVICE MAC SOURCE SOURCE-PORT DESTINATION PORT N [FROM TO]: sends N datagrams from this
device to that MAC address, each with the tag of VLAN 7, tunnelled from FROM to TO if these are
given."""

import socket
import struct
import sys

import frames

device, mac, source, source_port, destination, port, n = sys.argv[1:8]
packet = frames.udp(source, int(source_port), destination, int(port), b"tagged")
if len(sys.argv) > 8:
    packet = frames.tunnelled(*sys.argv[8:10], packet)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((device, 0))
own = wire.getsockname()[4]
kind = frames.IPV6 if frames.version(packet) == 6 else frames.IPV4
tag = struct.pack("!HHH", 0x8100, 7, kind)
for _ in range(int(n)):
    wire.send(bytes.fromhex(mac.replace(":", "")) + own + tag + packet)
