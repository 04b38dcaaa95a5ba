"""again.py ADDRESS PORT FIRST N: opens a connection from each of N client ports from FIRST on,
prints `CLIENT-PORT NAME` for the server that answered, then `open`. For each line of its standard
input it drops the connections without telling the other end, like a client that loses power. It
then opens new ones from the same ports and prints the same again."""

import http.client
import socket
import sys

TCP_REPAIR = 19  # linux/tcp.h: a socket that is closed under repair sends nothing


def opened(port):
    connection = http.client.HTTPConnection(address, service, timeout=30, source_address=("", port))
    connection.connect()
    connection.request("GET", "/")
    print(port, connection.getresponse().read().decode().strip())
    return connection


address, service, first, n = sys.argv[1], *map(int, sys.argv[2:])
connections = [opened(port) for port in range(first, first + n)]
print("open", flush=True)
for _ in sys.stdin:
    for connection in connections:
        connection.sock.setsockopt(socket.SOL_TCP, TCP_REPAIR, 1)
        connection.close()
    connections = [opened(port) for port in range(first, first + n)]
    print("open", flush=True)
