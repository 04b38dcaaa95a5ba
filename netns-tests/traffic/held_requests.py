"""held_requests.py ADDRESS PORT N BYTES: opens N HTTP connections and prints `held` when each has
been used once. After a line on standard input it sends a request of BYTES on each, without waiting
for answers, and prints `sent`; then `alive N`, the connections that have answered."""

import sys

from web_client import REQUEST, Connection

address, port, n, length = sys.argv[1], *map(int, sys.argv[2:])
start, end = REQUEST[:-2] + b"X-Long: ", b"\r\n\r\n"
request = start + b"." * (length - len(start) - len(end)) + end
connections = [Connection(address, port) for _ in range(n)]
names = [connection.ask() for connection in connections]
print("held", flush=True)
sys.stdin.readline()
for connection in connections:
    connection.socket.sendall(request)
print("sent", flush=True)
print("alive", sum(connection.answer() == name for connection, name in zip(connections, names)))
