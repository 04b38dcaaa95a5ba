"""keepalive.py ADDRESS PORT N: opens N HTTP connections and sends a request on one after the other,
about a thousand a second, until its standard input ends, and then one more on each. Prints `open`
when all are open, and at the end `requests N`, `broken N`: those that failed, or were answered by
another server than at first."""

import os
import select
import sys
import time

from web_client import Connection


def is_over():
    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and os.read(0, 4096) == b""


address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections = [Connection(address, port) for _ in range(n)]
names = [connection.ask() for connection in connections]
print("open", flush=True)
requests = broken = 0
over = False
while True:
    last, over = over, over or is_over()
    for index, connection in enumerate(connections):
        if connection is None:
            continue
        try:
            right = connection.ask() == names[index]
        except OSError as error:
            print("connection", index, "to", names[index], "failed:", error, flush=True)
            right = False
        requests += 1
        time.sleep(0.0005)
        if not right:
            broken += 1
            connections[index] = None
        over = over or (index % 64 == 0 and is_over())
    if last:
        break
print("requests", requests)
print("broken", broken, flush=True)
