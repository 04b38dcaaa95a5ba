"""super_frame.py DEVICE MAC CLIENT CLIENT-PORT VIP PORT LENGTH: sends one TCP super-frame from this
device to that MAC address, whose IP packet has LENGTH bytes."""

import socket
import struct
import sys

import frames

SOL_PACKET, PACKET_VNET_HDR = 263, 15  # linux/if_packet.h
NEEDS_CSUM, TCPV4, TCPV6 = 1, 1, 4  # linux/virtio_net.h
ETHERNET, TCP_HEADER, SEGMENT, ACK = 14, 20, 1000, 0x10

device, mac, client, client_port, vip, port, length = sys.argv[1:]
header, kind, gso = (40, frames.IPV6, TCPV6) if ":" in vip else (20, frames.IPV4, TCPV4)
data = bytes(int(length) - header - TCP_HEADER)
packet = frames.tcp(client, int(client_port), vip, int(port), ACK, data=data)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
wire.bind((device, 0))
ethernet = bytes.fromhex(mac.replace(":", "")) + wire.getsockname()[4] + struct.pack("!H", kind)
start = ETHERNET + header
about = struct.pack("=BBHHHH", NEEDS_CSUM, gso, start + TCP_HEADER, SEGMENT, start, 16)
wire.send(about + ethernet + packet)
