"""busy.py ADDRESS PORT N: opens N HTTP connections and sends a request on each in turn until a line
or the end of its standard input comes, and once more after that. Prints `COUNT NAME` for each
server that answered first and `held`; after each turn `turn K`; at the end `broken B`, the
connections that were reset, closed, silent, or answered by another server than before."""

import collections
import resource
import select
import sys

from web_client import Connection

address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(n + 100, most), most))
alive = {}
for _ in range(n):
    connection = Connection(address, port)
    alive[connection] = connection.ask()
for name, count in sorted(collections.Counter(alive.values()).items()):
    print(count, name)
print("held", flush=True)
turn, last = 0, False
while not last:
    last = bool(select.select([sys.stdin], [], [], 0)[0])
    for connection, name in list(alive.items()):
        try:
            same = connection.ask() == name
        except OSError as error:
            print("broken:", repr(error), flush=True)
            same = False
        if not same:
            del alive[connection]
    turn += 1
    print("turn", turn, flush=True)
print("broken", n - len(alive), flush=True)
