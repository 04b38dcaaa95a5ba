"""Chains of valid and invalid IPv6 extension headers (RFC 8200 section 4), for hostile.py.

A link is `(kind, make)`: `make(next)` gives the header's bytes; `next` is the protocol
after it."""

import itertools
import random
import struct

HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AUTHENTICATION, NO_NEXT, DESTINATION = 0, 43, 44, 50, 51, 59, 60
MOBILITY, UNKNOWN = 135, 253
JUMBO = bytes([0xC2, 4]) + struct.pack("!I", 70000)
PAD = bytes([1, 4, 0, 0, 0, 0])


def options(kind, data=PAD):
    data += b"\0" * (-(len(data) + 2) % 8)
    return kind, lambda following: bytes([following, (len(data) + 2) // 8 - 1]) + data


def routing(how, segments_left, addresses=1):
    data = bytes(4) + random.randbytes(16 * addresses)
    return ROUTING, lambda following: bytes([following, 2 * addresses, how, segments_left]) + data


def fragment(offset, more, identification=7):
    return FRAGMENT, lambda following: struct.pack(
        "!BBHI", following, 0, offset << 3 | more, identification
    )


def authentication():
    return AUTHENTICATION, lambda following: bytes([following, 4]) + bytes(22)


def bare(kind, length=8):
    """A header whose inside means nothing here."""
    return kind, lambda following: bytes([following]) + bytes(length - 1)


def lying(kind):
    """Its length leads out of the packet."""
    return kind, lambda following: bytes([following, 255]) + bytes(6)


# Each kind once, for every order of up to three of them.
KINDS = (options(HOP_BY_HOP), routing(4, 0), fragment(0, 0), options(DESTINATION), authentication())
ORDERS = [list(order) for n in (1, 2, 3) for order in itertools.permutations(KINDS, n)]
CASES = ORDERS + [
    [options(HOP_BY_HOP, JUMBO)],
    [options(HOP_BY_HOP), options(HOP_BY_HOP)],
    [options(DESTINATION), options(HOP_BY_HOP)],
    [options(HOP_BY_HOP, random.randbytes(30))],
    [routing(0, 0)], [routing(0, 1)], [routing(0, 255, 80)],
    [routing(2, 1)], [routing(3, 2, 3)], [routing(4, 1)], [routing(253, 0)],
    [options(DESTINATION)] * 3, [options(DESTINATION)] * 40, [options(DESTINATION)] * 150,
    [options(DESTINATION, bytes([1, 255]) + bytes(255) + bytes(900))],
    [fragment(0, 1)], [fragment(1, 1)], [fragment(100, 0)], [fragment(8191, 1)],
    [fragment(0, 0), fragment(0, 0)], [fragment(0, 1), fragment(1, 0)],
    [options(HOP_BY_HOP), fragment(0, 1), options(DESTINATION)],
    [lying(HOP_BY_HOP)], [lying(DESTINATION)], [lying(ROUTING)], [lying(AUTHENTICATION)],
    [options(DESTINATION), lying(DESTINATION)],
    [bare(ESP)], [bare(NO_NEXT)], [bare(MOBILITY)], [bare(UNKNOWN)],
    [options(DESTINATION), bare(UNKNOWN)], [options(DESTINATION), bare(NO_NEXT)],
]


def random_chain():
    """Any headers in any order, one of them perhaps broken."""
    makers = (
        lambda: options(HOP_BY_HOP),
        lambda: options(DESTINATION, random.randbytes(random.randrange(40))),
        lambda: routing(random.randrange(6), random.randrange(3), random.randrange(4)),
        lambda: fragment(random.randrange(8192), random.randrange(2)),
        authentication,
        lambda: bare(random.randrange(256)),
        lambda: lying(random.choice([HOP_BY_HOP, ROUTING, DESTINATION])),
    )
    return [random.choice(makers)() for _ in range(random.choice([1, 2, 3, 5, 12]))]


def with_chain(packet, chain):
    """The packet with these headers between its IPv6 header and the rest."""
    following, rest = packet[6], packet[40:]
    for kind, make in reversed(chain):
        following, rest = kind, make(following) + rest
    jumbo = any(kind == HOP_BY_HOP and JUMBO in make(0) for kind, make in chain)
    return (
        packet[:4] + struct.pack("!HB", 0 if jumbo else len(rest), following) + packet[7:40] + rest
    )
