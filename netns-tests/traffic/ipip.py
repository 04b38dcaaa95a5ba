"""ipip.py SOURCE REAL CLIENT DESTINATION N [merge]: sends N tunnelled UDP datagrams to DESTINATION:9000, from SOURCE to REAL.

With `merge` the outer headers are alike (DF, identification 0), so that a NIC may merge the datagrams.
"""

import random
import sys

import frames

source, real, client, destination, n = sys.argv[1:5] + [int(sys.argv[5])]
merge = "merge" in sys.argv
sender = frames.raw_socket()
for i in range(n):
    inner = frames.udp(client, 40000, destination, 9000, b"%d" % i + b"." * 1000)
    outer = frames.ipv4(source, real, 4, inner, identification=0 if merge else random.randrange(1, 65536))
    sender.sendto(outer, (real, 0))
