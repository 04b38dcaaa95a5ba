"""crowd.py SOCKET: as user 1000, opens 40 connections to a control socket, asks each for its
status, and prints `served N`; then repeats the requests on all of them until it is stopped, because
idle connections are closed."""

import os
import socket
import sys
import time

ASKS = b'{"version":1,"verb":"status"}\n'

os.setgroups([])
os.setgid(1000)
os.setuid(1000)
crowd, served = [], 0
for _ in range(40):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    try:
        one.sendall(ASKS)
        served += b"busy" not in one.recv(1000)
    except OSError:
        pass
    crowd.append(one)
print("served", served, flush=True)
while True:
    time.sleep(0.5)
    for one in crowd:
        try:
            one.sendall(ASKS)
            one.recv(1000)
        except OSError:
            pass
