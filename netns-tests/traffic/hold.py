"""hold.py ADDRESS PORT N: opens N HTTP connections, keeps them open until its standard input ends,
and prints `COUNT NAME` for each server that answered, then `held`. At the end each connection is
used once more: `alive N`."""

import collections
import sys

from web_client import Connection

address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections, names = [], []
for _ in range(n):  # an answer before the next one: each counts as open when the next is placed
    connections.append(Connection(address, port))
    names.append(connections[-1].ask())
for name, count in sorted(collections.Counter(names).items()):
    print(count, name)
print("held", flush=True)
sys.stdin.read()
print(
    "alive",
    sum(connection.ask() == name for connection, name in zip(connections, names)),
    flush=True,
)
