"""forged_too_big.py FORGER DIRECTOR REAL MTU: a "fragmentation needed" or "packet too big" from
FORGER that quotes an echo reply from DIRECTOR to REAL, which was never sent. Linux accepts it."""

import sys

import frames

forger, director, real, mtu = *sys.argv[1:4], int(sys.argv[4])
REPLY = {4: 0, 6: 129}[frames.family(real)]
quote = frames.icmp(director, real, REPLY, 0, 1, bytes(64))
frames.send(frames.too_big(forger, director, mtu, quote))
