"""steps.py ADDRESS PORT N: opens N HTTP connections and prints `COUNT NAME` for each server that
answered, then `open`. For each line of its standard input it sends a request on every open
connection and prints how many answered as before, how many were reset, the longest time of both and
the shortest time of a reset (-1 without one): `STEP alive N reset N milliseconds N N`."""

import collections
import http.client
import sys
import time


def ask(connection):
    connection.request("GET", "/")
    return connection.getresponse().read().decode().strip()


def use(connection, name):
    try:
        return "alive" if ask(connection) == name else "moved"
    except ConnectionResetError:
        return "reset"


address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections = [http.client.HTTPConnection(address, port, timeout=30) for _ in range(n)]
served = [(connection, ask(connection)) for connection in connections]
for name, count in sorted(collections.Counter(name for _, name in served).items()):
    print(count, name)
print("open", flush=True)
for line in sys.stdin:
    slowest, resets, outcomes = 0, [], []
    for connection, name in served:
        start = time.monotonic()
        outcomes.append(use(connection, name))
        took = round((time.monotonic() - start) * 1000)
        slowest = max(slowest, took)
        if outcomes[-1] == "reset":
            resets.append(took)
    counts = collections.Counter(outcomes)
    alive, reset, quickest = counts["alive"], counts["reset"], min(resets, default=-1)
    step = line.strip()
    print(f"{step} alive {alive} reset {reset} milliseconds {slowest} {quickest}", flush=True)
    served = [pair for pair, outcome in zip(served, outcomes) if outcome == "alive"]
