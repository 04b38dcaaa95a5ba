"""busy.py ADDRESS PORT N: opens N HTTP connections and sends a request on each in turn, of a few at
the same time, until a line or the end of its standard input comes, and once more after that. Prints
`COUNT NAME` for each server that answered first and `held`; after each turn `turn K`; at the end
`broken B`, the connections that were reset, closed, silent, or answered by another server than
before."""

import collections
import itertools
import resource
import select
import sys

from web_client import Connection

# Requests under way at the same time. One by one, each would wait for four programs to be run.
BATCH = 32


def ask(batch):
    """Asks all of them: the server's name of each, or the OSError of one that is broken."""
    found = []
    for connection in batch:
        try:
            found.append(connection.send())
        except OSError as error:
            found.append(error)
    for index, connection in enumerate(batch):
        if found[index] is None:
            try:
                found[index] = connection.answer()
            except OSError as error:
                found[index] = error
    return found


def turn(connections):
    """A request on each connection: pairs of it and what was found."""
    connections = iter(connections)
    while batch := list(itertools.islice(connections, BATCH)):
        yield from zip(batch, ask(batch))


address, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(n + 100, most), most))
alive = dict(turn(Connection(address, port) for _ in range(n)))
for error in alive.values():
    if isinstance(error, OSError):
        raise error
for name, count in sorted(collections.Counter(alive.values()).items()):
    print(count, name)
print("held", flush=True)
turns, last = 0, False
while not last:
    last = bool(select.select([sys.stdin], [], [], 0)[0])
    for connection, found in turn(list(alive)):
        if isinstance(found, OSError):
            print("broken:", repr(found), flush=True)
        if found != alive[connection]:
            del alive[connection]
    turns += 1
    print("turn", turns, flush=True)
print("broken", n - len(alive), flush=True)
