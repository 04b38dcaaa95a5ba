"""Sends fragmented datagrams.

fragments.py kernel VIP PORT FLOWS DATAGRAMS LENGTH
    Datagrams that the client's kernel fragments.
fragments.py by-hand CLIENT VIP PORT ROUNDS ID
    Datagrams fragmented by the script: backwards, the first last, shuffled, repeated.
fragments.py hostile CLIENT VIP PORT N ID
    N datagrams of each kind that must not arrive, and a ping in fragments.
fragments.py lone CLIENT VIP PORT
    Later fragments without a first one, until it is stopped.

The identifications of datagrams fragmented by the script begin at ID: they must differ from those
of earlier datagrams whose fragments may still be held. Each datagram must be answered with its
digest (udp_digest.py), and all datagrams of a flow by the same server. Prints `COUNT NAME` for each
server that answered, or how many datagrams were sent that must not be answered."""

import collections
import hashlib
import itertools
import random
import socket
import struct
import sys

import frames

FRAGMENT = 44
SIZE = 1000  # of a fragment's data: with every header it passes any TUN here
random.seed(1)
servers = collections.Counter()
opened = []  # open until the end: a port that is free again may be another flow's
seen = set()  # digests of datagrams that were answered


def piece(packet, identification, start, end, more):
    """The fragment with these bytes of the packet's data, zeros past its end."""
    is_ipv6 = frames.version(packet) == 6
    header = 40 if is_ipv6 else 20
    data = packet[header:][start:end].ljust(end - start, b"\0")
    if is_ipv6:
        fragment = struct.pack("!BBHI", packet[6], 0, start | more, identification) + data
        return packet[:4] + struct.pack("!HB", len(fragment), FRAGMENT) + packet[7:40] + fragment
    fields = struct.pack("!HHH", header + len(data), identification, start >> 3 | more << 13)
    head = packet[:2] + fields + packet[8:10]
    return (
        head
        + struct.pack("!H", frames.checksum(head + b"\0\0" + packet[12:20]))
        + packet[12:20]
        + data
    )


def cut(packet, identification):
    length = len(packet) - (40 if frames.version(packet) == 6 else 20)
    ends = [*range(SIZE, length, SIZE), length]
    return [
        piece(packet, identification, max(0, (end - 1) // SIZE * SIZE), end, end < length)
        for end in ends
    ]


def flow(vip, port):
    client = socket.socket(frames.address_family(vip), socket.SOCK_DGRAM)
    client.settimeout(2)
    client.connect((vip, port))
    opened.append(client)
    return client


def received(client):
    name, _, digest = client.recv(200).decode().partition(" ")
    return name, digest


def answer(client, data, send):
    """The name of the server that answers with the right digest. Until the client's kernel knows
    the path MTU, a datagram may be lost. One that is answered late has two answers."""
    expected = hashlib.sha256(data).hexdigest()
    for _ in range(3):
        send()
        try:
            name, digest = received(client)
            while digest != expected and digest in seen:
                name, digest = received(client)
        except (TimeoutError, OSError):  # or what it has just learnt
            continue
        if digest != expected:
            sys.exit("a datagram arrived changed")
        seen.add(expected)
        return name
    sys.exit("no answer to a datagram")


def kernel(vip, port, flows, datagrams, length):
    for _ in range(flows):
        client, names = flow(vip, port), set()
        for _ in range(datagrams):
            data = random.randbytes(length)
            names.add(answer(client, data, lambda: client.send(data)))
        if len(names) != 1:
            sys.exit(f"a flow was answered by {sorted(names)}")
        servers.update(names)


def orders(count):
    """Orders in which a datagram's fragments come; some of them twice."""
    places = list(range(count))
    yield places[::-1]
    yield [*places[1:], 0]
    yield [places[-1], *places[:-1]]
    yield random.sample(places * 2, 2 * count)


def by_hand(source, vip, port, rounds, identification):
    identifications = itertools.count(identification)
    for _ in range(rounds):
        client, names = flow(vip, port), set()
        data = random.randbytes(4000)
        packet = frames.udp(source, client.getsockname()[1], vip, port, data)
        pieces = cut(packet, 0)
        for order in orders(len(pieces)):
            def send():
                cuts = cut(packet, next(identifications))
                for place in order:
                    frames.send(cuts[place])
            names.add(answer(client, data, send))
        if len(names) != 1:
            sys.exit(f"a flow was answered by {sorted(names)}")
        servers.update(names)


def hostile(source, vip, port, count, identification):
    identifications = itertools.count(identification)
    client = flow(vip, port)
    client_port = client.getsockname()[1]
    for _ in range(count):
        packet = frames.udp(source, client_port, vip, port, random.randbytes(4000))
        first, *others, last = cut(packet, number := next(identifications))
        overlap = piece(packet, number, SIZE - 8, SIZE + 800, 1)  # with both
        for bad in (overlap, last, first, *others):
            frames.send(bad)
        number = next(identifications)
        tiny = range(0, 200 * 8, 8)
        for start in reversed(tiny):  # too many fragments
            frames.send(piece(packet, number, start, start + 8, 1))
        syn = frames.tcp(source, client_port, vip, port, 2, data=bytes(40))
        frames.send(piece(syn, next(identifications), 0, 16, 1))  # no whole TCP header
        frames.send(piece(syn, next(identifications), 8, 24, 1))  # what would rewrite one
        ping = frames.icmp(source, vip, 128 if frames.family(vip) == 6 else 8, 0, 1, bytes(2000))
        for part in cut(ping, next(identifications)):
            frames.send(part)
    try:
        sys.exit(f"answered: {client.recv(200)}")
    except TimeoutError:
        print(count)


def lone(source, vip, port):
    packet = frames.udp(source, 1024, vip, port, bytes(4000))
    for number in itertools.cycle(range(1 << 16)):
        frames.send(piece(packet, number, SIZE, 2 * SIZE, 1))


mode, *arguments = sys.argv[1:]
arguments = [int(argument) if argument.isdigit() else argument for argument in arguments]
{"kernel": kernel, "by-hand": by_hand, "hostile": hostile, "lone": lone}[mode](*arguments)
for name, count in sorted(servers.items()):
    print(count, name)
