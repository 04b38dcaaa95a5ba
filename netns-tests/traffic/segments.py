"""segments.py SOURCE REAL CLIENT VIP PORT COUNT [WRONG]: sends COUNT tunnelled TCP segments of one
stream from CLIENT to VIP, and between them as many UDP datagrams to the same port. The segment of
number WRONG has a wrong checksum. The connection was never opened, so the VIP's kernel counts the
segments and resets them."""

import sys

import frames

source, real, client, vip, port, count = *sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6])
wrong = int(sys.argv[7]) if len(sys.argv) > 7 else None
ACK = 0x10
for i in range(count):
    data = bytes([i % 256]) * 1000
    segment = frames.tcp(
        client, 40000, vip, port, ACK, sequence=1000 + i * 1000, acknowledgement=1, data=data
    )
    if i == wrong:
        segment = segment[:-1] + b"\xff"
    datagram = frames.udp(client, 40000, vip, port, b"%d" % i)
    for inner in (segment, datagram):
        frames.send(frames.tunnelled(source, real, inner))
