"""keepalive.py ADDRESS PORT N: opens N HTTP connections and asks on one after the other, over and over, until its standard
input ends and every one was asked once more. Prints `open` when all are open, and at the end `requests N`, `broken N`: those
that failed, or were answered by another server than the one that they began with."""

import http.client
import os
import select
import sys


def ask(connection):
    connection.request("GET", "/")
    return connection.getresponse().read().decode().strip()


def is_over():
    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and os.read(0, 4096) == b""


address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections = [http.client.HTTPConnection(address, port, timeout=10) for _ in range(n)]
names = [ask(connection) for connection in connections]
print("open", flush=True)
requests = broken = 0
over = False
while True:
    last, over = over, over or is_over()
    for index, connection in enumerate(connections):
        if connection is None:
            continue
        try:
            right = ask(connection) == names[index]
        except (OSError, http.client.HTTPException) as error:
            print("connection", index, "to", names[index], "failed:", error, flush=True)
            right = False
        requests += 1
        if not right:
            broken += 1
            # http.client would open another one in its place.
            connections[index] = None
        over = over or (index % 64 == 0 and is_over())
    if last:
        break
print("requests", requests)
print("broken", broken, flush=True)
