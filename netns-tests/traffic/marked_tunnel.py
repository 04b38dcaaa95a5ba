"""marked_tunnel.py SOURCE REAL CLIENT VIP: sends a tunnelled datagram to VIP:9000 for each
combination of inner and outer ECN field, with the combination as text; the DSCPs differ."""

import sys

import frames
from udp_classes import DSCP, ECN

OTHER_DSCP = 0x48

source, real, client, vip = sys.argv[1:5]
for inner, inner_name in enumerate(ECN):
    for outer, outer_name in enumerate(ECN):
        text = f"{inner_name} {outer_name}".encode()
        packet = frames.udp(client, 40000, vip, 9000, text, traffic_class=DSCP | inner)
        frames.send(frames.tunnelled(source, real, packet, traffic_class=OTHER_DSCP | outer))
