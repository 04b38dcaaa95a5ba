"""forged_refusals.py DIRECTOR REAL SECONDS made-up CLIENT VIP
forged_refusals.py DIRECTOR REAL SECONDS open CLIENT VIP PORT
forged_refusals.py DIRECTOR REAL SECONDS guessed SOURCE PORT VIP
    protocol, port and host unreachable to DIRECTOR, each kind 200 times a second. They quote
    tunnelled packets to REAL: of flows that do not exist, of the datagrams of an open flow from
    the client's PORT, and of the director's probes from SOURCE and PORT, whose sequence numbers are
    guessed.
forged_refusals.py DIRECTOR REAL SECONDS nobody CLIENT VIP
    the same about tunnelled packets to hosts that are no real servers, each error about another
    one, on a busy machine for longer: until there are more than the director's log remembers
forged_refusals.py REAL VIP seen DEVICE
    waits for a SYN to port 80 of VIP in a tunnel to REAL and prints its source and port

The errors' sources are REAL itself and hosts beside it. Prints how many were sent.
"""

import random
import socket
import struct
import sys
import time

import frames

RATE = 200
# More than the director's log remembers.
HOSTS = 1_100
KINDS = {4: [(3, 2), (3, 3), (3, 1)], 6: [(4, 1), (1, 4), (1, 3)]}
# Where the next header is: what a parameter problem points at (RFC 4443 section 3.4).
NEXT_HEADER = 6
HEADER = {4: 20, 6: 40}
SYN = 2


def seen(real, vip, device):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    link.bind((device, 3))
    while True:
        packet = link.recv(2048)
        inside = packet[HEADER[frames.family(real)] :]
        if not goes_to(packet, real) or not goes_to(inside, vip):
            continue
        segment = inside[HEADER[frames.family(vip)] :]
        port, destination = struct.unpack("!HH", segment[:4])
        if segment[13] == SYN and destination == 80:
            source = inside[12:16] if frames.family(vip) == 4 else inside[8:24]
            return f"{socket.inet_ntop(frames.address_family(vip), source)} {port}"


def goes_to(packet, address):
    end = 20 if frames.family(address) == 4 else 40
    own = frames.packed(address)
    return frames.version(packet) == frames.family(address) and packet[end - len(own) : end] == own


def quotes(mode, director, arguments):
    """Packets as they are in the tunnel, without end."""
    while True:
        if mode in ("made-up", "nobody"):
            client, vip = arguments
            port = random.randrange(1024, 65536)
            yield frames.tcp(client, port, vip, 80, SYN, sequence=random.getrandbits(32))
            yield frames.udp(client, port, vip, 9000, b"made up")
        elif mode == "open":
            client, vip, port = arguments
            yield frames.udp(client, int(port), vip, 9000, b"ping")
        else:
            source, port, vip = arguments
            number = random.getrandbits(32)
            yield frames.tcp(source, int(port), vip, 80, SYN, sequence=number)


def forged(director, real, inside, number, nobody):
    kind, code = KINDS[frames.family(real)][number % 3]
    about = stranger(real, number) if nobody else real
    sender = real if number % 2 else neighbour(real, number)
    pointer = NEXT_HEADER if (kind, code) == (4, 1) else 0
    quote = frames.tunnelled(director, about, inside)
    return frames.icmp(sender, director, kind, code, pointer, quote)


def stranger(real, number):
    """An address of the ranges for benchmarks and documentation."""
    if frames.family(real) == 4:
        return f"198.18.{number >> 8}.{number & 255}"
    return f"2001:db8:ffff::{number:x}"


def neighbour(real, number):
    """Another host of its subnet, which need not exist."""
    return f"{real[:-2]}{20 + number % 60}"


if sys.argv[3] == "seen":
    print(seen(sys.argv[1], sys.argv[2], sys.argv[4]))
    sys.exit()
director, real, seconds, mode = sys.argv[1:5]
inside = quotes(mode, director, sys.argv[5:])
sent, end = 0, time.monotonic() + float(seconds)
while time.monotonic() < end or (mode == "nobody" and sent < HOSTS):
    for _ in KINDS[frames.family(real)]:
        frames.send(forged(director, real, next(inside), sent, mode == "nobody"))
        sent += 1
    time.sleep(1 / RATE)
print(sent)
