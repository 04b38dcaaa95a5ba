"""hold.py ADDRESS PORT N: opens N HTTP connections, keeps them open until its standard input ends, and prints
`COUNT NAME` for each server that answered, then `held`. At the end each connection is used once more: `alive N`."""

import collections
import http.client
import sys


def ask(connection):
    connection.request("GET", "/")
    return connection.getresponse().read().decode().strip()


address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections = [http.client.HTTPConnection(address, port, timeout=10) for _ in range(n)]
names = [ask(connection) for connection in connections]
for name, count in sorted(collections.Counter(names).items()):
    print(count, name)
print("held", flush=True)
sys.stdin.read()
print("alive", sum(ask(connection) == name for connection, name in zip(connections, names)), flush=True)
