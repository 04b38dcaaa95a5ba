"""deaf.py SOCKET: as user 4242, listens on SOCKET, fills its queue and takes no client. Prints
`full` then, and ends with its standard input."""
import os
import socket
import sys

os.setuid(4242)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen(0)
clients = []
while True:
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(sys.argv[1])
    except BlockingIOError:
        break
    clients.append(client)
print("full", flush=True)
sys.stdin.read()
