"""hostile.py device NAME SOURCE VIP N   puts N bad frames straight into a device's queue, any bytes at all
hostile.py raw SOURCE ADDRESS N         sends N IP packets whose inside is bad, over the network
hostile.py tunnel SOURCE REAL VIP N     the same, tunnelled

The frames are the same in each run. Prints how many were sent.
"""

import random
import socket
import struct
import sys

import frames

random.seed(1)
IPV4 = 0x0800


def good(source, destination):
    port, data = random.randrange(1, 65536), random.randbytes(random.randrange(60))
    quote = frames.tcp(destination, 80, source, port, 0x10)[: random.randrange(64)]
    return random.choice([
        frames.tcp(source, port, destination, 80, random.randrange(256), data=data),
        frames.udp(source, port, destination, 9000, data),
        frames.icmp(source, destination, random.choice([3, 8, 11, 12, random.randrange(256)]), random.randrange(16),
                    random.getrandbits(32), quote),
    ])


def bad_inside(packet):
    """The IP header stays right, so that routers forward it."""
    body = bytearray(packet[20:])
    for _ in range(random.randrange(1, 4)):
        if body:
            body[random.randrange(min(len(body), 24))] = random.randrange(256)
    protocol = random.choice([packet[9], packet[9], packet[9], random.randrange(256)])
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return frames.ipv4(source, destination, protocol, bytes(body[: random.randrange(len(body) + 1)]))


def bad(packet):
    """Anything may be wrong: lengths, options, fragments, versions, or all of it."""
    how = random.randrange(6)
    if how == 0:
        return random.randbytes(random.randrange(1, 200))
    if how == 1:
        return packet[: random.randrange(1, len(packet))]
    frame = bytearray(packet)
    if how == 2:
        frame[2:4] = struct.pack("!H", random.randrange(65536))
    elif how == 3:
        frame[0] = random.randrange(256)
    elif how == 4:
        frame[6:8] = struct.pack("!H", random.randrange(65536))
    else:
        for _ in range(8):
            frame[random.randrange(len(frame))] = random.randrange(256)
    return bytes(frame)


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
    link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    link.bind((device, IPV4))
    to = (device, IPV4)
    send_each(lambda frame: link.sendto(frame, to), (bad(good(source, vip)) for _ in range(count)))
elif mode == "raw":
    source, address = sys.argv[2:4]
    raw = frames.raw_socket()
    send_each(lambda packet: raw.sendto(packet, (address, 0)), (bad_inside(good(source, address)) for _ in range(count)))
elif mode == "tunnel":
    source, real, vip = sys.argv[2:5]
    raw = frames.raw_socket()
    inner = (bad(good("198.51.100.10", vip)) for _ in range(count))
    send_each(lambda packet: raw.sendto(frames.ipv4(source, real, 4, packet), (real, 0)), inner)
