"""from_ports.py ADDRESS PORT FIRST N: fetches / over a connection from each of N client ports from
FIRST on, one after the other, and prints `CLIENT-PORT NAME` for the server that answered. Each
connection ends with a reset, so that its ports can be used again at once.
"""

import http.client
import socket
import struct
import sys

address, port, first, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for client_port in range(first, first + n):
    connection = http.client.HTTPConnection(
        address, port, timeout=30, source_address=("", client_port)
    )
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.request("GET", "/")
    print(client_port, connection.getresponse().read().decode().strip())
    connection.close()
