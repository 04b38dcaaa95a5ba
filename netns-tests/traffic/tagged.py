"""tagged.py DEVICE MAC SOURCE SOURCE-PORT DESTINATION PORT N: sends N datagrams over IPv4 from this
device to that MAC address, each with the tag of VLAN 7."""

import socket
import struct
import sys

device, mac, source, source_port, destination, port, n = sys.argv[1:]
PAYLOAD = b"tagged"
udp = struct.pack("!HHHH", int(source_port), int(port), 8 + len(PAYLOAD), 0) + PAYLOAD
ends = socket.inet_aton(source) + socket.inet_aton(destination)
header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + ends
total = sum(struct.unpack("!10H", header))
total = (total & 0xFFFF) + (total >> 16)
header = header[:10] + struct.pack("!H", 0xFFFF - ((total & 0xFFFF) + (total >> 16))) + header[12:]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((device, 0))
own = wire.getsockname()[4]
tag = struct.pack("!HHH", 0x8100, 7, 0x0800)
for _ in range(int(n)):
    wire.send(bytes.fromhex(mac.replace(":", "")) + own + tag + header + udp)
