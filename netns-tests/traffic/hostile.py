"""hostile.py device NAME SOURCE VIP N
    puts N bad frames of arbitrary bytes directly into the queue of a device
hostile.py raw SOURCE ADDRESS N
    sends N IP packets with a bad payload over the network
hostile.py tunnel SOURCE REAL CLIENT VIP N
    the same, tunnelled

The frames are the same in each run. Prints how many were sent.
"""

import random
import socket
import struct
import sys

import frames

random.seed(1)
import chains  # noqa: E402  its headers are random too

ERRORS_AND_ECHO = {4: [3, 8, 11, 12], 6: [1, 2, 3, 4, 128]}


def good(source, destination):
    port, data = random.randrange(1, 65536), random.randbytes(random.randrange(60))
    quote = frames.tcp(destination, 80, source, port, 0x10)[: random.randrange(64)]
    kind = random.choice([*ERRORS_AND_ECHO[frames.family(source)], random.randrange(256)])
    return random.choice([
        frames.tcp(source, port, destination, 80, random.randrange(256), data=data),
        frames.udp(source, port, destination, 9000, data),
        frames.icmp(source, destination, kind, random.randrange(16), random.getrandbits(32), quote),
    ])


def bad_inside(packet):
    """The IP header stays right, so that routers forward it."""
    header = 40 if frames.version(packet) == 6 else 20
    if header == 40 and random.randrange(2):
        return chained(packet)
    body = bytearray(packet[header:])
    for _ in range(random.randrange(1, 4)):
        if body:
            body[random.randrange(min(len(body), 24))] = random.randrange(256)
    own = packet[6] if header == 40 else packet[9]
    protocol = random.choice([own, own, own, random.randrange(256)])
    body = bytes(body[: random.randrange(len(body) + 1)])
    if header == 40:
        return packet[:4] + struct.pack("!HB", len(body), protocol) + packet[7:40] + body
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return frames.ipv4(source, destination, protocol, body)


def bad(packet):
    """Anything may be wrong: lengths, options, fragments, versions, or all of it."""
    how = random.randrange(7)
    if how == 0:
        return random.randbytes(random.randrange(1, 200))
    if how == 1:
        return packet[: random.randrange(1, len(packet))]
    frame = bytearray(packet)
    is_ipv6 = frames.version(packet) == 6
    if how == 2:
        at = 4 if is_ipv6 else 2
        frame[at : at + 2] = struct.pack("!H", random.randrange(65536))
    elif how == 3:
        frame[0] = random.randrange(256)
    elif how == 4:
        return chained(packet) if is_ipv6 else with_options(packet)
    elif how == 5 and not is_ipv6:
        frame[6:8] = struct.pack("!H", random.randrange(65536))
    else:
        for _ in range(8):
            frame[random.randrange(len(frame))] = random.randrange(256)
    return bytes(frame)


def with_options(packet):
    """IPv4 options: source routes, others, or a length that leads out of the header."""
    loose, strict, record = (bytes([kind, 7, 4]) + bytes(4) + b"\0" for kind in (131, 137, 7))
    options = random.choice(
        [
            loose,
            strict,
            record,
            b"\1" * 40,
            bytes([131, 255, 4, 0]),
            random.randbytes(4 * random.randrange(1, 11)),
        ]
    )
    head = (
        bytes([0x40 | 5 + len(options) // 4, packet[1]])
        + struct.pack("!H", len(packet) + len(options))
        + packet[4:10]
    )
    summed = frames.checksum(head + b"\0\0" + packet[12:20] + options)
    return head + struct.pack("!H", summed) + packet[12:20] + options + packet[20:]


def chained(packet, remaining=list(chains.CASES)):
    """Every case of the list once, then random ones, and now and then cut off."""
    packet = chains.with_chain(packet, remaining.pop() if remaining else chains.random_chain())
    return packet[: random.randrange(41, len(packet) + 1)] if random.randrange(4) == 0 else packet


def in_a_tunnel(source, real, packet):
    """Now and then the outer header is bad as well: another protocol than the inside is, or headers
    before it."""
    how = random.randrange(8)
    if how == 0:
        return frames.ip(source, real, random.choice([4, 41]), packet)
    outer = frames.ip(source, real, frames.ENCAPSULATED.get(packet[0] >> 4, 4), packet)
    if how == 1 and frames.version(outer) == 6:
        return chains.with_chain(outer, chains.random_chain())
    return outer


def send_each(send, packets):
    sent = 0
    for packet in packets:
        try:
            send(packet)
            sent += 1
        except OSError:  # a frame that the kernel itself refuses is not one for the program
            pass
    print(sent)


mode, count = sys.argv[1], int(sys.argv[-1])
if mode == "device":
    device, source, vip = sys.argv[2:5]
    to = (device, frames.IPV6 if frames.family(vip) == 6 else frames.IPV4)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    link.bind(to)
    send_each(lambda frame: link.sendto(frame, to), (bad(good(source, vip)) for _ in range(count)))
elif mode == "raw":
    source, address = sys.argv[2:4]
    send_each(frames.send, (bad_inside(good(source, address)) for _ in range(count)))
elif mode == "tunnel":
    source, real, client, vip = sys.argv[2:6]
    send_each(
        frames.send, (in_a_tunnel(source, real, bad(good(client, vip))) for _ in range(count))
    )
