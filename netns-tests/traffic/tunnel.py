"""tunnel.py SOURCE REAL CLIENT DESTINATION N [merge|short|unfinished]: sends N tunnelled UDP
datagrams to DESTINATION:9000, from SOURCE to REAL.

With `merge` the outer headers are equal (DF, identification 0, one hop limit), so that a NIC may
merge the datagrams. With `short` they are too, and many datagrams fit into one frame. With
`unfinished` the checksums are partial, as a sender leaves them for the checksum offload of its
network card."""

import random
import sys

import frames

source, real, client, destination, n = sys.argv[1:5] + [int(sys.argv[5])]
short = "short" in sys.argv
merge = short or "merge" in sys.argv
for i in range(n):
    if "unfinished" in sys.argv:
        inner = frames.udp_unfinished(client, 40000, destination, 9000, b"unfinished %d" % i)
    else:
        data = b"%03d" % i + b"." * (0 if short else 1000)
        inner = frames.udp(client, 40000, destination, 9000, data)
    apart = (
        {}
        if merge
        else (
            {"identification": random.randrange(1, 65536)}
            if frames.family(real) == 4
            else {"hop_limit": 63 + i % 2}
        )
    )
    frames.send(frames.tunnelled(source, real, inner, **apart))
