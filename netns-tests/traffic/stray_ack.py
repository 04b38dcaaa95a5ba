"""stray_ack.py CLIENT ADDRESS PORT: sends a TCP ACK of no connection and prints the flags and
sequence number of the answer, which must be an RST with the ACK's own acknowledgement number
(RFC 9293 section 3.10.7.1). Then an RST, which must not be answered: prints `silence`."""

import socket
import struct
import sys

import frames

RST, ACK = 0x04, 0x10
client, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
receiver = socket.socket(frames.address_family(address), socket.SOCK_RAW, socket.IPPROTO_TCP)
# An IPv6 raw socket hands over what follows the header.
header = 20 if frames.family(address) == 4 else 0


def answer(own_port, flags, seconds):
    receiver.settimeout(seconds)
    frames.send(frames.tcp(client, own_port, address, port, flags, acknowledgement=777))
    while True:
        try:
            packet = receiver.recv(65535)
        except TimeoutError:
            return None
        source, to, sequence, _, _, bits = struct.unpack("!HHIIBB", packet[header : header + 14])
        if (source, to) == (port, own_port):
            return ("rst" if bits & RST else "flags %#x" % bits), sequence


print(*(answer(41000, ACK, 20) or ["silence"]))
print(*(answer(41001, RST, 0.3) or ["silence"]))
