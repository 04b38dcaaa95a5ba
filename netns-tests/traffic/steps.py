"""steps.py ADDRESS PORT N: opens N HTTP connections and prints `COUNT NAME` for each server that
answered, then `open`. For each line of its standard input it sends a request on every open
connection and prints how many answered as before, how many were reset, and the longest time of
both: `STEP alive N reset N milliseconds N`."""

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
    slowest, outcomes = 0, []
    for connection, name in served:
        start = time.monotonic()
        outcomes.append(use(connection, name))
        slowest = max(slowest, time.monotonic() - start)
    counts = collections.Counter(outcomes)
    alive, reset, milliseconds = counts["alive"], counts["reset"], round(slowest * 1000)
    step = line.strip()
    print(f"{step} alive {alive} reset {reset} milliseconds {milliseconds}", flush=True)
    served = [pair for pair, outcome in zip(served, outcomes) if outcome == "alive"]
